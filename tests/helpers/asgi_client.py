"""Requests to an ASGI application without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

App = Callable[..., Awaitable[None]]


@dataclass
class Answer:
    """A response; header names are in lower case, repeated headers are joined by commas."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def codes(self) -> list[str]:
        """The codes of an error answer."""
        import json

        return [error["code"] for error in json.loads(self.body)["errors"]]


class AsgiClient:
    """Call an application as a server does, one request at a time."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        leaves: bool = False,
    ) -> Answer:
        """Send a request and return its response.

        `target` is the path with its query. The pieces of `body` arrive one by one; bytes get
        a Content-Length. A client that `leaves` closes the connection after them, so that the
        body is not complete.
        """
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if isinstance(body, bytes):
            given.setdefault("content-length", str(len(body)))
            body = [body] if body else []
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 5000),
            "state": {},
        }
        return asyncio.run(_call(self.app, scope, body, leaves=leaves))


async def _call(
    app: App, scope: Mapping[str, Any], body: Iterable[bytes], *, leaves: bool
) -> Answer:
    answer = Answer()
    pieces = iter([*filter(None, body), None])

    async def receive() -> Mapping[str, Any]:
        piece = next(pieces, b"")
        if piece == b"" and not leaves:
            await asyncio.Event().wait()  # as long as the client waits for the response
        if piece == b"" or (piece is None and leaves):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            for name, value in message["headers"]:
                key = name.decode().lower()
                before = f"{answer.headers[key]}, " if key in answer.headers else ""
                answer.headers[key] = before + value.decode()
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
