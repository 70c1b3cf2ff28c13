"""Pages of lists, by the parameters ``n`` and ``last`` and the header ``Link``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from wherry.serve.answers import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_ENTRIES = 10_000  # of one page


class Page(NamedTuple):
    """The part of a list that a client asks for.

    Attributes:
        last: The entry before the first one; empty for the beginning.
        size: The most entries.
        has_limit: Whether the client gave the size.
    """

    last: str
    size: int
    has_limit: bool

    @classmethod
    def of(cls, request: Request) -> Page:
        """Return the page of a request; raises `ApiError`."""
        text = request.query_params.get("n", "")
        last = request.query_params.get("last", "")
        if not text:
            return cls(last, MAX_ENTRIES, has_limit=False)
        if not text.isascii() or not text.isdecimal():
            raise ApiError("PAGINATION_NUMBER_INVALID", "n is not a number of 0 or more")
        return cls(last, min(int(text[:10]), MAX_ENTRIES), has_limit=True)

    def next_link(self, path: str, last: str, **others: str) -> dict[str, str]:
        """Return the header that leads to the page after the entry ``last``."""
        size = {"n": str(self.size)} if self.has_limit else {}
        query = urlencode({**others, **size, "last": last})
        return {"link": f'<{quote(path)}?{query}>; rel="next"'}
