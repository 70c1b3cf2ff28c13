"""Watch the requests of an application: their status, their bytes, how long they take."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

USER = "wherry.user"  # key of a request's scope: the user that was authenticated
PROXY = "wherry.proxy"  # key of a request's scope: "hit", or "miss" if it was fetched


class Exchange(NamedTuple):
    """A request and its response.

    Attributes:
        scope: The request as ASGI has it.
        status: The status of the response; 500 if the application failed before it.
        received: Bytes of the request's body that were read.
        sent: Bytes of the response's body; a file counts as a whole.
        seconds: From the head of the request until the application returned.
    """

    scope: Scope
    status: int
    received: int
    sent: int
    seconds: float


class Observed:
    """Tell observers of each exchange of an application.

    Args:
        app: The application.
        observers: Called after the exchange in the event loop; they must not block.
    """

    def __init__(self, app: ASGIApp, observers: Sequence[Callable[[Exchange], None]]) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        count = _Count(receive, send)
        begin = time.perf_counter()
        try:
            await self._app(scope, count.receive, count.send)
        except ConnectionAbortedError:
            raise  # the response is cut on purpose
        except Exception:
            shown = f"{scope['method']} {scope['path']}"
            logging.getLogger("wherry").exception("internal error: %r", shown)
            raise
        finally:
            seconds = time.perf_counter() - begin
            exchange = Exchange(scope, count.status, count.received, count.sent, seconds)
            for observer in self._observers:
                observer(exchange)


class _Count:
    """Counts what passes between the server and the application."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.status, self.received, self.sent = 500, 0, 0
        self._length = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self.status = message["status"]
                lengths = (value for key, value in message["headers"] if key == b"content-length")
                self._length = int(next(lengths, b"0"))
            case "http.response.pathsend":
                self.sent = self._length
            case _:
                self.sent += len(message.get("body", b""))
        await self._send(message)
