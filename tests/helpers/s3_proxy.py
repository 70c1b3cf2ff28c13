"""A proxy in front of an S3 server, which records requests and answers some of them itself."""

from __future__ import annotations

import re
import socket
import threading
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    Act = Callable[["S3Proxy"], object]

_HOP = {"connection", "transfer-encoding", "keep-alive"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Print nothing about clients that have gone."""


class S3Proxy:
    """Forward a port of 127.0.0.1; use it as a context manager.

    Attributes:
        requests: The requests, as ``METHOD /path?query``.
    """

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        self._target = port
        self._faults: list[tuple[re.Pattern[str], list[int | Callable[[], object]]]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_port}"

    def fail(self, pattern: str, *actions: int | Callable[[], object]) -> None:
        """Let the next requests that match fail, one for each action.

        An action is a status, 0 to cut the connection in the middle of the request's body, or a
        function to call before the request is forwarded.
        """
        self._faults.append((re.compile(pattern), list(actions)))

    def count(self, pattern: str) -> int:
        """Return how many requests match."""
        return sum(re.search(pattern, each) is not None for each in self.requests)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _next(self, request: str) -> int | Callable[[], object] | None:
        with self._lock:
            self.requests.append(request)
            for pattern, actions in self._faults:
                if actions and pattern.search(request):
                    return actions.pop(0)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                action = proxy._next(f"{self.command} {self.path}")
                if action == 0:
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = self.rfile.read(length)
                if isinstance(action, int):
                    self.send_response(action)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if action is not None:
                    action()
                self._forward(body)

            def _forward(self, body: bytes) -> None:
                server = HTTPConnection("127.0.0.1", proxy._target, timeout=20)
                try:
                    server.request(self.command, self.path, body, dict(self.headers))
                    found = server.getresponse()
                    data = found.read()
                except (OSError, HTTPException):
                    self.close_connection = True
                    return
                finally:
                    server.close()
                self.send_response(found.status)
                length = found.getheader("Content-Length", str(len(data)))
                for name, value in found.getheaders():
                    if name.lower() not in _HOP | {"content-length", "date", "server"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        return Handler
