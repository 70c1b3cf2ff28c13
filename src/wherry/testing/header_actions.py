"""The actions of faults that change headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry.testing.fault_actions import Action

if TYPE_CHECKING:
    from wherry.testing._messages import IncomingRequest, Reply

__all__ = [
    "Chunked",
    "ContentLength",
    "ContentRange",
    "DropHeader",
    "IgnoreRange",
    "SetHeader",
]


@dataclass(frozen=True)
class IgnoreRange(Action):
    """Reply as if the request had no ``Range``."""

    def bend(self, request: IncomingRequest) -> None:
        """Remove the header."""
        request.headers.pop("range", None)


@dataclass(frozen=True)
class ContentRange(Action):
    """Change ``Content-Range`` of a reply with status 206.

    Attributes:
        value: The value of the header; None removes it.
    """

    value: str | None

    def shape(self, reply: Reply) -> None:
        """Change the header."""
        if reply.status == 206:
            reply.drop("content-range")
            if self.value is not None:
                reply.set("Content-Range", self.value)


@dataclass(frozen=True)
class ContentLength(Action):
    """Change ``Content-Length``, and close the connection after the true body.

    Attributes:
        value: The value of the header; None removes it.
    """

    value: int | str | None

    def shape(self, reply: Reply) -> None:
        """Set the length to send."""
        reply.length, reply.no_length = self.value, self.value is None


@dataclass(frozen=True)
class Chunked(Action):
    """Send the body with ``Transfer-Encoding: chunked`` and no ``Content-Length``."""

    def shape(self, reply: Reply) -> None:
        """Set the encoding."""
        reply.chunked = True


@dataclass(frozen=True)
class SetHeader(Action):
    """Set a header of the reply.

    Attributes:
        name: The name of the header.
        value: Its value.
    """

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
    """Remove a header from the reply; for Content-Length see `ContentLength`.

    Attributes:
        name: The name of the header.
    """

    name: str

    def kind(self) -> object:
        """Return the header's name: each header may have its own fault."""
        return ("header", self.name.lower())

    def shape(self, reply: Reply) -> None:
        """Drop the header."""
        reply.drop(self.name)
