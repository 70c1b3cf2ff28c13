"""Limits for a walk over the documents of an image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

MAX_DOCUMENTS = 1000
MAX_SIZE = 32 * 2**20  # bytes of all documents; parsed documents take up to five times that
MAX_SECONDS = 3600.0


class BudgetExceeded(Unsupported):
    """A walk over documents exceeded its budget."""


class Budget:
    """Limits the documents of one walk, their bytes, and the seconds to fetch them."""

    def __init__(
        self,
        documents: int = MAX_DOCUMENTS,
        size: int = MAX_SIZE,
        seconds: float = MAX_SECONDS,
    ) -> None:
        self._documents, self._documents_left = documents, documents
        self._size, self._size_left = size, size
        self._seconds, self._seconds_left = seconds, seconds

    def limit(self, fetch: Callable[[Digest], Document]) -> Callable[[Digest], Document]:
        """Return ``fetch`` with this budget; it raises `BudgetExceeded` before it fetches."""

        def fetch_within(digest: Digest) -> Document:
            self.check()
            started = time.monotonic()
            document = fetch(digest)
            self.spend(len(document.raw), time.monotonic() - started)
            return document

        return fetch_within

    def check(self, documents: int = 1) -> None:
        """Raise `BudgetExceeded` if the budget has no room for more ``documents``."""
        if documents > self._documents_left:
            raise BudgetExceeded(
                f"it leads to over {self._documents:,} documents, which are not followed"
            )
        if self._size_left < 0:
            raise BudgetExceeded(f"its documents have over {self._size >> 20:,} MiB together")
        if self._seconds_left < 0:
            raise BudgetExceeded(f"its documents take over {self._seconds:g} seconds together")

    def spend(self, size: int, seconds: float = 0.0) -> None:
        """Count a document of ``size`` bytes."""
        self._documents_left -= 1
        self._size_left -= size
        self._seconds_left -= seconds
