"""Web pages that stand where a registry's answer should be: portals, logins, proxies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.errors import NetworkError
from wherry.model.mediatype import essence

if TYPE_CHECKING:
    from wherry.content.protocols import Stream
    from wherry.errors import Places
    from wherry.model.digest import Digest
    from wherry.registry.http.response import HttpResponse

MAX_PAGE = 2**20  # bytes of what begins as a page that are compared with a blob's digest
_TYPES = {"text/html", "application/xhtml+xml"}
_BLANK = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"  # byte order marks, UTF-16's zeros and white space
_TITLE = re.compile(rb"<title[^>]*>\s*(?:\d{3}\s+)?([^<]*)</title>", re.IGNORECASE)
_SAID = re.compile(rb"<message[^>]*>([^<]*)</message>", re.IGNORECASE)  # object storage's errors
_LOOKED_AT = 16 * 1024


def title(body: bytes) -> str:
    """Return a page's title without the status in it, or the message of an XML error."""
    start = body[:_LOOKED_AT].replace(b"\0", b"")
    found = _TITLE.search(start) or _SAID.search(start)
    if found is None:
        return ""
    import html

    text = found.group(1).decode(errors="replace")
    try:
        return html.unescape(text)
    except ValueError:  # a character's number of thousands of digits
        return text


def is_markup(body: bytes) -> bool:
    """Tell HTML and XML, by the first character, from JSON, tars and compressed data."""
    return body[:_LOOKED_AT].lstrip(_BLANK)[:1] == b"<"


def is_page(media_type: str, body: bytes) -> bool:
    """Tell whether a page was served for a document, by its type or its beginning.

    A proxy may serve JSON under a page's type: that is a document all the same.
    """
    start = body[:_LOOKED_AT].lstrip(_BLANK)[:1]
    return start == b"<" or (essence(media_type) in _TYPES and start not in {b"{", b"["})


def refuse_page(response: HttpResponse, body: bytes, where: Places, wanted: str) -> None:
    """Raise `NetworkError` for a page in the place of ``wanted`` (with its article)."""
    if is_page(response.header("Content-Type"), body):
        raise _page(response, body, where, wanted)


def _page(response: HttpResponse, body: bytes, where: Places, wanted: str) -> NetworkError:
    from wherry.registry.status_errors import one_line

    said = one_line(title(body))
    host = response.url.partition("://")[2].partition("/")[0]
    return NetworkError(
        f"{host} sent a web page, not {wanted}" + (f" ({said})" if said else ""),
        host=host,
        transient=False,
        hint="the login page of a network, or a proxy, may have answered for the registry:\n"
        f"open {response.url} in a browser",
    ).within(*where)


class PageWatch:
    """A blob's stream that raises `NetworkError` for a page in the place of the blob.

    What begins as a page is taken for one only if it does not match the digest: some blobs
    are pages.
    """

    def __init__(self, response: HttpResponse, digest: Digest, where: Places) -> None:
        self._stream: Stream = response
        self._response = response
        self._digest = digest
        self._where = where
        self._begun = False
        self._ahead = b""

    def read1(self, size: int, /) -> bytes:
        """Return what is there, as `HttpResponse.read1` does."""
        if not self._begun:
            self._begun = True
            self._ahead = self._look(size)
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._stream.read1(size)

    def _look(self, size: int) -> bytes:
        data = self._stream.read1(size)
        if not is_markup(data):
            return data
        while len(data) <= MAX_PAGE and (more := self._stream.read1(size)):
            data += more
        if len(data) <= MAX_PAGE and not self._digest.matches(data):
            raise _page(self._response, data, self._where, "the blob")
        return data

    def close(self) -> None:
        """Give up what has not been read."""
        self._stream.close()
