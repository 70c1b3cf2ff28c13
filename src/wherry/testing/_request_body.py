"""The body of a request, read from its connection when the server asks for it."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping

__all__ = ["KEPT_BYTES", "RequestBody", "RequestCut"]

KEPT_BYTES = 64 * 1024  # bytes of a body that are kept for the record of its request
_CHUNK = 256 * 1024
_LINGER = 1.0  # seconds for a client to read a response that was sent before the end of its body


class RequestCut(ConnectionError):
    """The connection ended or was cut by a fault before the whole body arrived."""


class RequestBody:
    """A body with ``Content-Length`` or in chunks (RFC 9112, section 6); read only once.

    Attributes:
        cut_after: The number of bytes after which the connection is cut, or None.
        received: The number of bytes that have arrived.
        kept: The first of them, at most `KEPT_BYTES`.
    """

    def __init__(self, file: io.BufferedIOBase, headers: Mapping[str, str]) -> None:
        self._file = file
        self._is_chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = 0 if self._is_chunked else int(headers.get("content-length", "0"))
        self._has_more_chunks = self._is_chunked
        self.cut_after: int | None = None
        self.received = 0
        self.kept = bytearray()

    @property
    def is_read(self) -> bool:
        """Whether the whole body has been read."""
        return not self._left and not self._has_more_chunks

    def read1(self, size: int = _CHUNK) -> bytes:
        """Return available bytes, at least one and at most ``size``, or b"" at the end.

        Raises:
            RequestCut: The connection ended before the body did.
        """
        if self.cut_after is not None and self.received >= self.cut_after:
            raise RequestCut("cut by a fault")
        if not self._left and self._has_more_chunks:
            self._start_chunk()
        size = min(size, self._left)
        if self.cut_after is not None:
            size = min(size, self.cut_after - self.received)
        if not size:
            return b""
        data = self._file.read1(size)
        if not data:
            raise RequestCut("the client closed the connection")
        self._left -= len(data)
        self.received += len(data)
        self.kept += data[: KEPT_BYTES - len(self.kept)]
        if self._is_chunked and not self._left:
            self._file.readline(16)  # the end of the line after a chunk
        return bytes(data)

    def _start_chunk(self) -> None:
        line = self._file.readline(1024)
        if not line.endswith(b"\n"):
            raise RequestCut("the client closed the connection")
        self._left = int(line.partition(b";")[0], 16)
        if not self._left:
            self._has_more_chunks = False
            while self._file.readline(1024) not in {b"\r\n", b"\n", b""}:
                pass  # a trailer

    def read(self, limit: int) -> bytes:
        """Return the whole body; raises ValueError if it has more than ``limit`` bytes."""
        parts = bytearray(self.kept)
        if len(parts) < self.received:
            raise ValueError("the body has been read already")
        while data := self.read1():
            parts += data
            if len(parts) > limit:
                raise ValueError(f"the body of a request has more than {limit} bytes")
        return bytes(parts)

    def drain(self) -> None:
        """Read the rest of the body and discard it."""
        while self.read1():
            pass


def linger(connection: socket.socket) -> None:
    """Give a client time to read a response that was sent before the end of its body.

    A connection that is closed while data arrives ends by RST, and the response may be lost.
    """
    until = time.monotonic() + _LINGER
    with contextlib.suppress(OSError, ValueError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        connection.settimeout(_LINGER)
        while time.monotonic() < until and connection.recv(_CHUNK):
            pass
