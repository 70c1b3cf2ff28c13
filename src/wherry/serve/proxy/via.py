"""The header ``Via``, by which a server sees its own requests (RFC 9110, 7.6.3).

A server whose registries.conf names itself as a mirror would else wait for itself.
"""

from __future__ import annotations

import contextvars
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

_LONGEST = 1024  # characters; a longer header is taken for a loop
_received: contextvars.ContextVar[str] = contextvars.ContextVar("via", default="")


def note(request: Request) -> None:
    """Remember through which servers the request of this task has come."""
    _received.set(request.headers.get("Via", ""))


class Via:
    """The name of one server in ``Via``."""

    def __init__(self) -> None:
        self._own = f"1.1 wherry-{secrets.token_hex(8)}"

    @property
    def is_loop(self) -> bool:
        """Whether the request of this task has come through this server before."""
        received = _received.get()
        return self._own in received or len(received) > _LONGEST

    @property
    def header(self) -> str:
        """The header of requests to other servers."""
        received = _received.get()
        return f"{received}, {self._own}" if received else self._own
