"""Give up requests whose body stalls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STALL_SECONDS = 60.0
_DISCONNECT: Message = {"type": "http.disconnect"}


class StallGuard:
    """Treat a client that sends nothing for a while in the middle of a body as gone.

    Args:
        app: The application.
        seconds: How long to wait for the next byte.
    """

    def __init__(self, app: ASGIApp, seconds: float = STALL_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        more, gone = True, False

        async def guarded() -> Message:
            nonlocal more, gone
            if not more:  # the application waits for the client to disconnect
                return _DISCONNECT if gone else await receive()
            try:
                message = await asyncio.wait_for(receive(), self._seconds)
            except TimeoutError:
                gone, message = True, _DISCONNECT
            more = message.get("more_body", False)
            return message

        await self._app(scope, guarded, send)
