"""Web pages instead of registry responses, from portals and proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import NetworkError
from wherry.registry.server_text import is_markup, is_page, one_line, title

if TYPE_CHECKING:
    from wherry.content.protocols import Stream
    from wherry.errors import Places
    from wherry.model.digest import Digest
    from wherry.registry.http.response import HttpResponse

MAX_PAGE = 2**20  # bytes of a possible page that are compared with a blob's digest


def refuse_page(response: HttpResponse, body: bytes, where: Places, wanted: str) -> None:
    """Raise `NetworkError` if the body is a page and not ``wanted``.

    ``wanted`` is a noun with its article, for the message.
    """
    if is_page(response.header("Content-Type"), body):
        raise _page_error(response, body, where, wanted)


def _page_error(response: HttpResponse, body: bytes, where: Places, wanted: str) -> NetworkError:
    said = one_line(title(body))
    host = response.url.partition("://")[2].partition("/")[0]
    return NetworkError(
        f"{host} sent a web page, not {wanted}" + (f" ({said})" if said else ""),
        host=host,
        transient=False,
        answered=True,
        hint="the login page of a network, or a proxy, may have answered for the registry:\n"
        f"open {response.url} in a browser",
    ).within(*where)


class PageWatch:
    """A blob's stream that raises `NetworkError` for a web page instead.

    Some blobs are web pages, so a page is an error only if it does not match the digest. Layers
    of version 1 have none (``digest`` is None), and are never web pages.
    """

    def __init__(self, response: HttpResponse, digest: Digest | None, where: Places) -> None:
        self._stream: Stream = response
        self._response = response
        self._digest = digest
        self._where = where
        self._has_begun = False
        self._ahead = b""

    def read1(self, size: int, /) -> bytes:
        """Return the available bytes, as `HttpResponse.read1` does."""
        if not self._has_begun:
            self._has_begun = True
            self._ahead = self._read_start(size)
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._stream.read1(size)

    def _read_start(self, size: int) -> bytes:
        data = self._stream.read1(size)
        if not is_markup(data):
            return data
        while len(data) <= MAX_PAGE and (more := self._stream.read1(size)):
            data += more
        if len(data) <= MAX_PAGE and (self._digest is None or not self._digest.matches(data)):
            raise _page_error(self._response, data, self._where, "the blob")
        return data

    def close(self) -> None:
        """Close the stream, whether or not it has been read to its end."""
        self._stream.close()
