"""A response whose body has not been read yet."""

from __future__ import annotations

import contextlib
import io
from http.client import HTTPException
from typing import TYPE_CHECKING

from wherry.errors import NetworkError
from wherry.model.record import Record
from wherry.model.secret import SecretBytes
from wherry.registry.http.request import public_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.content.rate import RateLimit
    from wherry.registry.http.operation import Operation
    from wherry.registry.http.pool import PooledResponse
    from wherry.registry.http.request import HttpRequest

_BLANK = " \t\r\n"  # `str.strip` would also remove bytes of UTF-8 that Latin-1 has as blanks
_DRAINED = 64 * 1024  # bytes; reading them takes less time than a new connection


class Exchange(Record):
    """A request and its response for ``on_request``; ``url`` has no secrets.

    ``seconds`` is the time until the head of the response. ``rate_limit`` is the value of
    ``RateLimit-Remaining``.
    """

    method: str
    url: str
    status: int
    seconds: float
    rate_limit: str = ""


class HttpResponse:
    """A response whose body is still to be read; `close` releases the connection."""

    def __init__(
        self,
        request: HttpRequest,
        pooled: PooledResponse,
        operation: Operation,
        limit: RateLimit | None = None,
    ) -> None:
        self.request = request
        self.status: int = pooled.response.status
        self._pooled = pooled
        self._operation = operation
        self._limit = limit

    @property
    def url(self) -> str:
        """The URL without its secrets."""
        return public_url(self.request.url)

    @property
    def peer(self) -> str:
        """The address of the peer; empty behind a proxy."""
        return self._pooled.connection.peer

    @property
    def is_framed(self) -> bool:
        """Whether a truncated body differs from a complete one (RFC 9112, 6.3)."""
        is_chunked = self.header("Transfer-Encoding").lower().endswith("chunked")
        return is_chunked or bool(self.header("Content-Length"))

    def header(self, name: str) -> str:
        """Return a header, its values joined (RFC 9110, 5.3), or an empty string."""
        return ", ".join(self.headers(name))

    def headers(self, name: str) -> Sequence[str]:
        """Return all values of a header without the blanks around them (RFC 9110, 5.5)."""
        values = self._pooled.response.headers.get_all(name) or []
        return [value.strip(_BLANK) for value in values]

    def read1(self, size: int) -> bytes:
        """Return the available bytes, at least one and at most ``size``; none at the end."""
        if self._limit is not None:
            size = min(size, self._limit.step)
        try:
            data = self._pooled.response.read1(size)
        except (HTTPException, OSError) as error:
            self.close()
            from wherry.registry.http.error_messages import network_error

            raise network_error(error, self.request, self._operation.cancel, None) from error
        if not data:
            self._end()
        elif self._limit is not None:
            self._limit.take(len(data), self._operation.cancel)
        return data

    def _end(self) -> None:
        """Finish the response, unless a cancellation caused the end of the body."""
        if self._operation.cancel.cancelled:
            self.close()
            self._operation.cancel.check()
        self._operation.finish()
        self._pooled.finish()

    def expect_document(self) -> None:
        """Require the body to arrive as fast as a document has to, not as a blob."""
        self._pooled.response.expect_document()

    def read(self, limit: int) -> bytes:
        """Return the body, or ``limit + 1`` bytes of a longer one."""
        self.expect_document()
        body = io.BytesIO()  # unlike a local variable of bytes, its repr shows no content
        left = limit + 1
        while left and (count := body.write(self.read1(left))):
            left -= count
        self.close()
        return body.getvalue()

    def read_secret(self, limit: int) -> SecretBytes:
        """Return a body as `read` does; the server may have repeated secrets in it."""
        return SecretBytes(self.read(limit))

    def drain(self) -> None:
        """Discard the response body and return the connection to the pool."""
        length = self.header("Content-Length")
        if self.request.method == "HEAD" or _is_small(length):
            with contextlib.suppress(NetworkError):
                self.read(_DRAINED)
        self.close()

    def close(self) -> None:
        """Release the connection; close it if the body has not been read to its end."""
        self._operation.finish()
        self._pooled.abandon()


def _is_small(length: str) -> bool:
    return length.isascii() and length.isdigit() and int(length[:9]) <= _DRAINED
