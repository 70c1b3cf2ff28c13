"""Range requests for blobs, and checking that a response has the range asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.content.protocols import Opened, RangeRefused
from wherry.model.record import Record
from wherry.registry.status_errors import MAX_ERROR, error_for_response
from wherry.registry.web_page import PageWatch

if TYPE_CHECKING:
    from wherry.errors import Places
    from wherry.model.digest import Digest
    from wherry.registry.http.response import HttpResponse

_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_CONTENT_RANGE = r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)"


class BlobSizes(Record):
    """A blob's size in bytes, ``stated`` by its descriptor or ``served``.

    A stated size may be wrong. So the sizes are compared with a response only if one of them
    has been served.
    """

    stated: int | None = None
    served: int | None = None

    @property
    def known(self) -> set[int]:
        """The sizes that the blob may have."""
        return {size for size in (self.stated, self.served) if size is not None}


class _ContentRange(NamedTuple):
    """The range of a response in bytes; ``total`` is None if not stated."""

    start: int
    stop: int
    total: int | None


def range_header(offset: int, stop: int | None) -> dict[str, str]:
    """Return the ``Range`` header for ``offset`` up to ``stop`` or the end."""
    if stop is not None:
        return {"Range": f"bytes={offset}-{stop - 1}"}
    return {"Range": f"bytes={offset}-"} if offset else {}


def check_status(response: HttpResponse, where: Places, host: str) -> None:
    """Raise the error for a response without success; ``where`` is what was requested."""
    if response.status not in {_OK, _PARTIAL}:
        raise error_for_response(response, response.read_secret(MAX_ERROR), where, host)


def open_response(
    response: HttpResponse,
    digest: Digest | None,
    where: Places,
    host: str,
    sizes: BlobSizes,
    offset: int,
    stop: int | None,
) -> Opened:
    """Check the response to a request with `range_header` and return its body.

    Args:
        response: The response, its body unread.
        digest: The blob's digest, by which a web page is told from a blob; None for a layer of
            version 1, which has none.
        where: What was requested, for errors.
        host: The registry's name, for errors.
        sizes: What is known about the blob's size.
        offset: The first byte of the range.
        stop: The end of the range, or None for the end of the blob.

    Raises:
        RangeRefused: The server ignored or changed the range, or the blob has another size. A
            response from byte 0 on is accepted if ``stop`` is None.
    """
    if (offset > 0 or stop is not None) and response.status == _UNSATISFIABLE:
        response.close()  # without reading the body: some servers state a wrong length
        raise RangeRefused
    check_status(response, where, host)
    if response.status != _PARTIAL and stop is None:
        length = content_length(response)
        if length in sizes.known:  # a web page hardly has the blob's size
            return Opened(response, 0, length)
        return Opened(PageWatch(response, digest, where), 0, length)
    found = _content_range(response)
    if found is not None and found.start == offset and _has_expected_stop(found, stop):
        size = found.stop if found.total is None and stop is None else found.total
        if stop is not None or sizes.served is None or size in sizes.known:
            return Opened(response, offset, size)
    response.close()
    raise RangeRefused


def _content_range(response: HttpResponse) -> _ContentRange | None:
    """Parse ``Content-Range`` (RFC 9110, 14.4); None without a valid one."""
    partial = response.header("Content-Range") if response.status == _PARTIAL else ""
    found = re.fullmatch(_CONTENT_RANGE, partial.strip())
    if found is None:
        return None
    total = None if found.group(3) == "*" else int(found.group(3))
    return _ContentRange(int(found.group(1)), int(found.group(2)) + 1, total)


def _has_expected_stop(found: _ContentRange, stop: int | None) -> bool:
    """Return whether a range ends at ``stop`` or, if earlier, at the blob's end."""
    if found.total is None:
        return stop is None or found.stop == stop
    return found.stop == (found.total if stop is None else min(stop, found.total))


def content_length(response: HttpResponse) -> int | None:
    """Return the ``Content-Length`` of a response; None without a valid one."""
    length = response.header("Content-Length")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
