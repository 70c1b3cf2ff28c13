"""The HTTP server under the servers of this package, with recorded requests, faults and TLS."""

from __future__ import annotations

import socket
import socketserver
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from wherry.testing._messages import IncomingRequest, Reply, RequestRecord
from wherry.testing._request_body import RequestBody, RequestCut, linger
from wherry.testing._sending import hang_up, send_reply, shut
from wherry.testing.faults import Fault, fire

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_TLS_HANDSHAKE = b"\x16"
# The response of Go's net/http, which nearly all registries use, to plain HTTP on a TLS port.
_WANTS_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)


class HttpServer:
    """A server on 127.0.0.1; use it as a context manager. Subclasses implement `answer`.

    Args:
        tls: Files of a certificate chain and its key; None serves plain HTTP.
        client_ca: File of an authority; clients must then show a certificate that it signed.

    Attributes:
        requests: The requests in the order of their arrival.
        faults: The faults that `inject` added.
        connections: The number of accepted connections.
        peak: The largest number of requests that were answered at the same time.
        closing: Set when the server begins to close.
    """

    def __init__(
        self,
        *,
        tls: tuple[Path | str, Path | str] | None = None,
        client_ca: Path | str | None = None,
    ) -> None:
        self.requests: list[RequestRecord] = []
        self.faults: list[Fault] = []
        self.connections = 0
        self.peak = 0
        self.closing = threading.Event()
        self._busy = 0
        self._lock = threading.Lock()
        self._server = _TrackingServer(self, _tls_context(tls, client_ca))
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """Address and port, as they appear in a reference: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of the server, without a trailing slash."""
        return f"{'https' if self._server.tls else 'http'}://{self.host}"

    def inject(self, fault: Fault) -> Fault:
        """Add a fault for the requests from now on.

        Returns:
            The fault itself. Its ``count`` is the number of times that it fired.
        """
        with self._lock:
            self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove the recorded requests and the faults, and reset the counters."""
        with self._lock:
            self.requests.clear()
            self.faults.clear()
            self.connections = self.peak = 0

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply to a request; called from several threads."""
        raise NotImplementedError

    def start(self) -> None:
        """Start to serve in a thread; `__enter__` calls this."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="fake-server", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close the port and every connection; responses in progress end early."""
        self.closing.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.drop_connections()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def respond(self, request: IncomingRequest, record: RequestRecord) -> Reply:
        """Record a request, and return its reply with the faults applied."""
        with self._lock:
            self.requests.append(record)
            self._busy += 1
            self.peak = max(self.peak, self._busy)
            actions = fire(self.faults, request)
        for action in actions:
            action.bend(request)
        unwanted = any(action.answers for action in actions)
        reply = Reply(500) if unwanted else self.answer(request)
        for action in actions:
            action.shape(reply)
        return reply

    def done(self) -> None:
        """Record the end of a response."""
        with self._lock:
            self._busy -= 1

    def next_connection(self) -> int:
        """Count a connection; return its number, from 1."""
        with self._lock:
            self.connections += 1
            return self.connections


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and sends the replies of the server."""

    head_limit: int | None = None
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _TrackingServer

    def setup(self) -> None:
        super().setup()
        self.number = self.server.owner.next_connection()

    def __getattr__(self, name: str) -> Any:
        # http.server calls do_GET, do_HEAD and so on: every method is served alike.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def flush_headers(self) -> None:
        if self.head_limit is not None:
            lines: list[bytes] = self._headers_buffer  # type: ignore[has-type]
            self._headers_buffer = [b"".join(lines)[: self.head_limit]]
        super().flush_headers()

    def version_string(self) -> str:
        return "fake"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing: the requests are recorded."""

    def _serve(self) -> None:
        owner = self.server.owner
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        body = RequestBody(self.rfile, headers)
        path, _, query = self.path.partition("?")
        request = IncomingRequest(self.command, path, query, dict(headers), body)
        record = RequestRecord(self.command, self.path, headers, connection=self.number)
        try:
            reply = self._reply(owner, request, record)
            if reply is not None:
                self.head_limit = reply.head_cut_after
                send_reply(self, reply, record, owner.closing)
                if reply.early:
                    linger(self.connection)
        finally:
            owner.done()

    def _reply(
        self, owner: HttpServer, request: IncomingRequest, record: RequestRecord
    ) -> Reply | None:
        """Return the answer, or None after the connection has ended within the body."""
        body = request.stream
        try:
            reply = owner.respond(request, record)
            if reply.early:
                self.close_connection = True
            else:
                body.drain()
        except RequestCut:
            hang_up(self)
            return None
        finally:
            record.body, record.bytes_received = bytes(body.kept), body.received
        return reply


class _TrackingServer(ThreadingHTTPServer):
    """Accepts connections and keeps track of them, so that it can close at once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, owner: HttpServer, tls: ssl.SSLContext | None) -> None:
        self.owner = owner
        self.tls = tls
        self._open: dict[threading.Thread, socket.socket] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's method would ask the resolver for the name of the address.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Runs in the connection's own thread, so a slow handshake does not delay the others.
        thread = threading.current_thread()
        connection: socket.socket = request
        self._open[thread] = connection
        try:
            if self.tls is not None:
                wrapped = self._secured(connection, self.tls)
                if wrapped is None:
                    return
                connection = self._open[thread] = wrapped
                wrapped.do_handshake()
            if not self.owner.closing.is_set():
                _Handler(connection, client_address, self)
        finally:
            del self._open[thread]
            if connection is not request:
                connection.close()

    def _secured(self, connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket | None:
        first = connection.recv(1, socket.MSG_PEEK)
        if first and first != _TLS_HANDSHAKE:
            connection.recv(65536)  # to close with unread bytes would reset the connection
            connection.sendall(_WANTS_TLS)
        if first != _TLS_HANDSHAKE:
            return None
        return tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Tests cause these on purpose: clients that disconnect or refuse a certificate.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError | ValueError):
            super().handle_error(request, client_address)

    def drop_connections(self) -> None:
        """Shut down every connection and wait for its thread to end."""
        waiting = list(self._open.items())
        for _, connection in waiting:
            shut(connection)
        for thread, _ in waiting:
            thread.join(2)


def _tls_context(
    files: tuple[Path | str, Path | str] | None, client_ca: Path | str | None
) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context
