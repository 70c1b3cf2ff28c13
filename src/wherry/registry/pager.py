"""Paging through a registry's list, bounded in pages, entries and time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from wherry.errors import Denied, NetworkError, NotFound, RegistryError, Unauthorized, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.errors import Places

MAX_LISTED = 500_000  # entries of all pages
MAX_BLANK = 100  # empty pages in a row; some registries filter page by page
MAX_PAGES = 200  # pages of a list, plus one for each `_LEAST_PAGE` distinct entries
_LEAST_PAGE = 10  # entries of a page, on average
MAX_SECONDS = 3600.0  # time that the registry may take for all pages
_REFUSALS = (Denied, NetworkError, NotFound, RegistryError, Unauthorized)

K = TypeVar("K")
V = TypeVar("V")


class Page(NamedTuple, Generic[K, V]):
    """The entries of a page and the target of the next page; None after the last page."""

    entries: dict[K, V]
    following: str | None


class Pager(Generic[K, V]):
    """Reads the pages of one list; ``fetch`` returns the page at a target.

    Errors call the list ``what`` at the place ``where``.

    ``last`` is the page that was read last, ``target`` its target. ``is_complete`` says that no
    page follows a page without a link.
    """

    def __init__(
        self,
        fetch: Callable[[str], Page[K, V]],
        where: Places,
        what: str,
        seconds: float = MAX_SECONDS,
    ) -> None:
        self._fetch = fetch
        self._where = where
        self._what = what
        self._seconds_left = seconds
        self._fetched: set[str] = set()
        self._seen: set[K] = set()
        self.last: dict[K, V] = {}
        self.target = ""
        self.is_complete = False

    def read(self, target: str, *, is_guess: bool = False) -> Iterator[dict[K, V]]:
        """Yield the new entries of the page at ``target`` and of each page that follows.

        If ``target`` is a guess, a refusal or a page without new entries completes the list.

        Raises:
            RegistryError: The links form a circle or lead to too many pages.
            Unsupported: The list has too many entries.
        """
        following: str | None = target
        blank = 0
        while following is not None:
            if following in self._fetched:
                raise self._endless("leads back to a page that was read before")
            self._fetched.add(following)
            self._check_pages()
            try:
                page = self._timed_fetch(following)
            except _REFUSALS as error:
                if is_guess and not error.transient:
                    self.is_complete = True
                    return
                raise
            self.last, self.target = page.entries, following
            fresh = self._remember(page.entries)
            if is_guess and not fresh:
                self.is_complete = True
                return
            if page.entries and not fresh:
                raise self._endless("repeats a page instead of the next one")
            blank = 0 if page.entries else blank + 1
            if blank > MAX_BLANK:
                raise self._endless(f"has over {MAX_BLANK} empty pages in a row")
            yield fresh
            following, is_guess = page.following, False
            # A registry that links to one page links to every page.
            self.is_complete = self.is_complete or following is not None

    def _timed_fetch(self, target: str) -> Page[K, V]:
        started = time.monotonic()
        page = self._fetch(target)
        self._seconds_left -= time.monotonic() - started
        return page

    def _check_pages(self) -> None:
        """Raise `RegistryError` if there are too many pages for the entries on them."""
        pages = len(self._fetched)
        if pages > MAX_PAGES + len(self._seen) // _LEAST_PAGE:
            raise self._endless(f"has over {pages - 1:,} pages, of few entries each")
        if self._seconds_left < 0:
            raise self._endless(f"does not end (after {pages - 1:,} pages)")

    def _remember(self, entries: dict[K, V]) -> dict[K, V]:
        """Return the entries that no earlier page had."""
        fresh = {key: value for key, value in entries.items() if key not in self._seen}
        self._seen.update(fresh)
        if len(self._seen) > MAX_LISTED:
            message = f"{self._what} has over {MAX_LISTED:,} entries"
            raise Unsupported(message).within(*self._where)
        return fresh

    def _endless(self, problem: str) -> RegistryError:
        message = f"{self._what} {problem}"
        error = RegistryError(message, status=200, method="GET", url=self.target)
        return error.within(*self._where)
