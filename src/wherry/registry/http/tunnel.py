"""CONNECT tunnels through an HTTP proxy, and TLS inside TLS; loaded on first use."""

from __future__ import annotations

import io
import ssl
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from wherry.model.secret import SecretBytes
from wherry.registry.http.framing import StrictResponse
from wherry.registry.http.proxies import authorization_headers

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from typing_extensions import Buffer

    from wherry.registry.http.deadlines import Timeouts
    from wherry.registry.http.proxies import ProxyAddress

T = TypeVar("T")
_CHUNK = 32 * 1024  # bytes of one read, two TLS records
_OK = 200


class TunnelRefusal(OSError):
    """The proxy refused to connect; ``status`` is that of its response."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"the proxy answered {self.status}"


def open_tunnel(
    sock: socket.socket, host: str, port: int, proxy: ProxyAddress, timeouts: Timeouts
) -> None:
    """Have a proxy connect to a host (RFC 9110, 9.3.6), or raise `TunnelRefusal`."""
    sock.sendall(_request(host, port, proxy))
    response = StrictResponse(sock, method="CONNECT", timeouts=timeouts)
    try:
        response.begin()
        if response.status != _OK:
            raise TunnelRefusal(response.status)
    finally:
        response.close()


def _request(host: str, port: int, proxy: ProxyAddress) -> SecretBytes:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    lines += [f"{header}: {value}" for header, value in authorization_headers(proxy).items()]
    return SecretBytes("\r\n".join([*lines, "", ""]).encode("ascii"))


class InnerTls:
    """A socket for `http.client` with TLS to a host inside TLS to the proxy.

    The handshake may take ``seconds``. It raises the same errors as `ssl.SSLSocket`.
    """

    def __init__(
        self, outer: socket.socket, context: ssl.SSLContext, name: str, seconds: float
    ) -> None:
        self._outer = outer
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_hostname=name)
        self._is_open = True
        self._unsent = bytearray()  # encrypted bytes
        self._encrypted = 0  # bytes of the data of `send` that `_unsent` has
        self._readers = 0
        try:
            self._run(self._tls.do_handshake, monotonic() + seconds)
        except BaseException:
            outer.close()
            raise

    def _run(self, step: Callable[[], T], until: float | None = None) -> T:
        while True:
            if until is not None and monotonic() > until:
                raise TimeoutError
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError:
                self._flush()  # the alert for the peer
                raise
            else:
                self._flush()
                return done
            if data := self._outer.recv(_CHUNK):
                self._coming.write(data)
            else:
                self._coming.write_eof()

    def _flush(self) -> None:
        """Send what is encrypted; without waiting, as much of it as the peer takes."""
        self._unsent += self._going.read()
        try:
            while self._unsent:
                del self._unsent[: self._outer.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass  # the timeout is 0
        except OSError:
            self._unsent.clear()  # what the peer has sent before can still be read
            raise

    def sendall(self, data: bytes) -> None:
        """Send all bytes."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self.send(left) :]

    def send(self, data: Buffer) -> int:
        """Send the first bytes, and return how many.

        Raises:
            ssl.SSLWantWriteError: The peer takes no more bytes now. The next call has to be with
                the same data.
        """
        if not self._encrypted:
            self._encrypted = self._run(partial(self._tls.write, memoryview(data)[:_CHUNK]))
        else:
            self._flush()
        if self._unsent:
            raise ssl.SSLWantWriteError
        sent, self._encrypted = self._encrypted, 0
        return sent

    def recv(self, size: int) -> bytes:
        """Return available bytes, at least one; none at the end.

        Raises:
            ssl.SSLWantReadError: There are none, and the timeout is 0.
        """
        try:
            return self._run(partial(self._tls.read, size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def fileno(self) -> int:
        """Return the descriptor of the socket, for waiting until it is ready."""
        return self._outer.fileno()

    def recv_into(self, buffer: Any) -> int:
        """Read the available bytes into ``buffer``, at least one; return 0 at the end."""
        read: Callable[[], Any] = partial(self._tls.read, len(buffer), buffer)
        try:
            size: int = self._run(read)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        return size

    def pending(self) -> int:
        """Return the number of buffered bytes, encrypted or decrypted."""
        return self._tls.pending() + self._coming.pending

    def settimeout(self, seconds: float) -> None:
        """Set the seconds that the next byte may take; 0 does not wait."""
        self._outer.settimeout(seconds)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file to read from; the outer socket stays open until it is closed."""
        assert mode == "rb"  # noqa: S101 - `http.client` uses no other mode
        self._readers += 1
        return io.BufferedReader(_ReaderFile(self))

    def close(self) -> None:
        """Close the outer socket once every file is closed."""
        self._is_open = False
        self._close_if_unused()

    def release(self) -> None:
        """Note that a file has been closed."""
        self._readers -= 1
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._is_open and not self._readers:
            self._outer.close()


class _ReaderFile(io.RawIOBase):
    def __init__(self, source: InnerTls) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._source.release()
