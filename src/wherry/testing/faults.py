"""Faults for the servers of this package: what goes wrong, with which requests, how often.

A `Fault` joins one action with the requests that it is for::

    registry.inject(Fault(Cut(after=1000), path="/blobs/", times=1))

Every fault that matches a request fires, but only one for each kind of action (and header name):
of two that could, the later one waits its turn.  So answers can be queued: twice 503, then 429.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wherry.testing._messages import IncomingRequest, Reply

__all__ = [
    "Action",
    "Chunked",
    "ContentLength",
    "ContentRange",
    "Corrupt",
    "Cut",
    "CutHead",
    "Delay",
    "DropHeader",
    "Fault",
    "FixedReply",
    "HangUp",
    "IgnoreRange",
    "Replace",
    "SetHeader",
    "Stall",
    "Trickle",
]


class Action:
    """What goes wrong: changes the request before it is answered, or the reply before it is sent.

    Positions (`after`, `at`) count the body bytes of the one answer, not of the blob.
    """

    rank: ClassVar[int] = 2  # actions that make a body come before those that change it
    answers: ClassVar[bool] = False  # True: the server's own answer is not wanted

    def kind(self) -> object:
        """Return what only one fault for each request may have."""
        return type(self)

    def bend(self, request: IncomingRequest) -> None:
        """Change the request."""

    def shape(self, reply: Reply) -> None:
        """Change the reply."""


@dataclass(frozen=True)
class FixedReply(Action):
    """Answer this, and do not look at the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    rank: ClassVar[int] = 0
    answers: ClassVar[bool] = True

    def shape(self, reply: Reply) -> None:
        """Put this answer in the place of the reply."""
        reply.status, reply.headers, reply.body = self.status, dict(self.headers), self.body
        reply.start, reply.stop = 0, None


@dataclass(frozen=True)
class HangUp(Action):
    """Read the request, then close the connection without an answer."""

    reset: bool = False
    answers: ClassVar[bool] = True

    def shape(self, reply: Reply) -> None:
        """Mark the reply as one that is not sent."""
        reply.hang_up, reply.reset = True, self.reset


@dataclass(frozen=True)
class Replace(Action):
    """Send another body, of the right length for itself, under the headers of the true one."""

    data: bytes
    rank: ClassVar[int] = 1

    def shape(self, reply: Reply) -> None:
        """Exchange the body."""
        reply.body, reply.start, reply.stop = self.data, 0, None


@dataclass(frozen=True)
class Cut(Action):
    """Close the connection after so many body bytes; with `reset` by RST, else by FIN.

    After a RST the client may lose bytes that were sent, so only FIN gives exact numbers.
    """

    after: int = 0
    reset: bool = False

    def shape(self, reply: Reply) -> None:
        """Set where to cut."""
        reply.cut_after, reply.reset = self.after, self.reset


@dataclass(frozen=True)
class CutHead(Action):
    """Close the connection after so many bytes of status line and headers."""

    after: int = 0

    def shape(self, reply: Reply) -> None:
        """Set where to cut."""
        reply.head_cut_after = self.after


@dataclass(frozen=True)
class Stall(Action):
    """Stop sending after so many body bytes, for so many seconds; then go on."""

    after: int = 0
    seconds: float = 3600.0

    def shape(self, reply: Reply) -> None:
        """Set where to stop for how long."""
        reply.stall_after, reply.stall_seconds = self.after, self.seconds


@dataclass(frozen=True)
class Delay(Action):
    """Wait before the status line."""

    seconds: float

    def shape(self, reply: Reply) -> None:
        """Set the time to wait."""
        reply.delay = self.seconds


@dataclass(frozen=True)
class Trickle(Action):
    """Send the body at this many bytes a second."""

    bytes_per_second: float

    def shape(self, reply: Reply) -> None:
        """Set the rate."""
        reply.rate = self.bytes_per_second


@dataclass(frozen=True)
class Corrupt(Action):
    """Invert the body byte at this position."""

    at: int = 0

    def shape(self, reply: Reply) -> None:
        """Set which byte to invert."""
        reply.flip_at = self.at


@dataclass(frozen=True)
class IgnoreRange(Action):
    """Answer as if the request had no ``Range``."""

    def bend(self, request: IncomingRequest) -> None:
        """Take the header away."""
        request.headers.pop("range", None)


@dataclass(frozen=True)
class ContentRange(Action):
    """Say this in ``Content-Range`` of a 206 (None: leave it out); other answers stay."""

    value: str | None

    def shape(self, reply: Reply) -> None:
        """Exchange the header."""
        if reply.status == 206:
            reply.drop("content-range")
            if self.value is not None:
                reply.set("Content-Range", self.value)


@dataclass(frozen=True)
class ContentLength(Action):
    """Say this in ``Content-Length`` (None: leave it out), and close after the true body."""

    value: int | str | None

    def shape(self, reply: Reply) -> None:
        """Set what to say."""
        reply.length, reply.no_length = self.value, self.value is None


@dataclass(frozen=True)
class Chunked(Action):
    """Send the body with ``Transfer-Encoding: chunked`` and no ``Content-Length``."""

    def shape(self, reply: Reply) -> None:
        """Choose the encoding."""
        reply.chunked = True


@dataclass(frozen=True)
class SetHeader(Action):
    """Add or exchange a header of the answer."""

    name: str
    value: str

    def kind(self) -> object:
        """Return the header's name: each header may have its own fault."""
        return ("header", self.name.lower())

    def shape(self, reply: Reply) -> None:
        """Set the header."""
        reply.set(self.name, self.value)


@dataclass(frozen=True)
class DropHeader(Action):
    """Leave a header out of the answer; for Content-Length see `ContentLength`."""

    name: str

    def kind(self) -> object:
        """Return the header's name: each header may have its own fault."""
        return ("header", self.name.lower())

    def shape(self, reply: Reply) -> None:
        """Drop the header."""
        reply.drop(self.name)


@dataclass(eq=False)
class Fault:
    """An action and the requests that it is for.

    `method` None means any; `path` is a regular expression searched in the path with its query;
    the first `skip` matching requests pass unharmed, the next `times` (None: all) do not.
    `count` tells how often the fault has fired.
    """

    action: Action
    method: str | None = field(default=None, kw_only=True)
    path: str = field(default="", kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    skip: int = field(default=0, kw_only=True)
    count: int = field(default=0, init=False)
    passed: int = field(default=0, init=False)

    def matches(self, request: IncomingRequest) -> bool:
        """Tell whether the fault is for this request and not used up."""
        return (
            self.method in {None, request.method}
            and (self.times is None or self.count < self.times)
            and re.search(self.path, request.target) is not None
        )


def fire(faults: Iterable[Fault], request: IncomingRequest) -> list[Action]:
    """Return the actions for this request in the order to apply them, and count them.

    Not thread-safe: the server calls it under its lock.
    """
    actions: dict[object, Action] = {}
    for fault in faults:
        if fault.action.kind() in actions or not fault.matches(request):
            continue
        if fault.passed < fault.skip:
            fault.passed += 1
            continue
        fault.count += 1
        actions[fault.action.kind()] = fault.action
    return sorted(actions.values(), key=lambda action: action.rank)
