"""The actions of faults: what goes wrong with a request or its reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.testing._messages import IncomingRequest, Reply

__all__ = [
    "Action",
    "Corrupt",
    "Cut",
    "CutHead",
    "CutRequest",
    "Delay",
    "EarlyReply",
    "FixedReply",
    "HangUp",
    "Replace",
    "Stall",
    "Trickle",
]


class Action:
    """A change of a request before it is answered, or of a reply before it is sent.

    Positions (``after``, ``at``) count the body bytes of one reply, not those of the blob.
    """

    rank: ClassVar[int] = 2  # actions that replace a body come before those that change it
    answers: ClassVar[bool] = False  # True if the action needs no reply from the server

    def kind(self) -> object:
        """Return a key; only one fault with the same key fires for a request."""
        return type(self)

    def bend(self, request: IncomingRequest) -> None:
        """Change the request."""

    def shape(self, reply: Reply) -> None:
        """Change the reply."""


@dataclass(frozen=True)
class FixedReply(Action):
    """Reply the same to every request.

    Attributes:
        status: The status.
        headers: The headers; ``Content-Length`` is added.
        body: The body.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    rank: ClassVar[int] = 0
    answers: ClassVar[bool] = True

    def shape(self, reply: Reply) -> None:
        """Replace the reply."""
        reply.status, reply.headers, reply.body = self.status, dict(self.headers), self.body
        reply.start, reply.stop = 0, None


@dataclass(frozen=True)
class HangUp(Action):
    """Read the request, then close the connection without a reply.

    Attributes:
        reset: Whether to close by RST instead of FIN.
    """

    reset: bool = False
    answers: ClassVar[bool] = True

    def shape(self, reply: Reply) -> None:
        """Mark the reply as not to be sent."""
        reply.hang_up, reply.reset = True, self.reset


@dataclass(frozen=True)
class CutRequest(Action):
    """Close the connection in the middle of a request's body, without a reply.

    The server handles the bytes that have arrived as those of an upload that breaks.

    Attributes:
        after: The number of body bytes that are read.
    """

    after: int = 0

    def bend(self, request: IncomingRequest) -> None:
        """Set where to cut."""
        request.stream.cut_after = self.after


@dataclass(frozen=True)
class EarlyReply(Action):
    """Reply before the whole body of a request has been read, then close the connection.

    Attributes:
        status: The status.
        headers: The headers; ``Content-Length`` is added.
        body: The body of the reply.
        after: The number of bytes of the request's body that are read before.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int = 0
    rank: ClassVar[int] = 0
    answers: ClassVar[bool] = True

    def bend(self, request: IncomingRequest) -> None:
        """Read the first bytes of the body."""
        while request.stream.received < self.after and request.stream.read1(self.after):
            pass

    def shape(self, reply: Reply) -> None:
        """Replace the reply."""
        reply.status, reply.headers, reply.body = self.status, dict(self.headers), self.body
        reply.start, reply.stop, reply.early = 0, None, True


@dataclass(frozen=True)
class Replace(Action):
    """Send another body, with its own ``Content-Length`` and the other headers unchanged.

    Attributes:
        data: The body.
    """

    data: bytes
    rank: ClassVar[int] = 1

    def shape(self, reply: Reply) -> None:
        """Replace the body."""
        reply.body, reply.start, reply.stop = self.data, 0, None


@dataclass(frozen=True)
class Cut(Action):
    """Close the connection in the middle of the body.

    Attributes:
        after: The number of body bytes that are sent.
        reset: Whether to close by RST instead of FIN. A client that receives RST may lose bytes
            that were sent, so only FIN gives exact numbers.
    """

    after: int = 0
    reset: bool = False

    def shape(self, reply: Reply) -> None:
        """Set where to cut."""
        reply.cut_after, reply.reset = self.after, self.reset


@dataclass(frozen=True)
class CutHead(Action):
    """Close the connection in the middle of the head.

    Attributes:
        after: The number of bytes of status line and headers that are sent.
    """

    after: int = 0

    def shape(self, reply: Reply) -> None:
        """Set where to cut."""
        reply.head_cut_after = self.after


@dataclass(frozen=True)
class Stall(Action):
    """Pause in the middle of the body.

    Attributes:
        after: The number of body bytes before the pause.
        seconds: The length of the pause.
    """

    after: int = 0
    seconds: float = 3600.0

    def shape(self, reply: Reply) -> None:
        """Set the pause."""
        reply.stall_after, reply.stall_seconds = self.after, self.seconds


@dataclass(frozen=True)
class Delay(Action):
    """Wait before the status line.

    Attributes:
        seconds: How long to wait.
    """

    seconds: float

    def shape(self, reply: Reply) -> None:
        """Set the time to wait."""
        reply.delay = self.seconds


@dataclass(frozen=True)
class Trickle(Action):
    """Send the body slowly.

    Attributes:
        bytes_per_second: The rate.
    """

    bytes_per_second: float

    def shape(self, reply: Reply) -> None:
        """Set the rate."""
        reply.rate = self.bytes_per_second


@dataclass(frozen=True)
class Corrupt(Action):
    """Invert one byte of the body.

    Attributes:
        at: The position of the byte, from 0.
    """

    at: int = 0

    def shape(self, reply: Reply) -> None:
        """Set which byte to invert."""
        reply.flip_at = self.at
