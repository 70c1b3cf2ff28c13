"""Documents in memory. Their digests tell their content, so none of them is ever outdated."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.model.digest import Digest

MAX_BYTES = 32 * 2**20


class DocumentCache:
    """Verified documents by digest; the least recently used ones leave first. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._documents: OrderedDict[Digest, bytes] = OrderedDict()
        self._size = 0

    def get(self, digest: Digest) -> bytes | None:
        """Return a document, or None."""
        with self._lock:
            raw = self._documents.get(digest)
            if raw is not None:
                self._documents.move_to_end(digest)
            return raw

    def put(self, digest: Digest, raw: bytes) -> None:
        """Keep a verified document."""
        with self._lock:
            self._size += len(raw) - len(self._documents.pop(digest, b""))
            self._documents[digest] = raw
            while self._size > self._max_bytes:
                _, gone = self._documents.popitem(last=False)
                self._size -= len(gone)
