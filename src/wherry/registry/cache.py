"""What is kept for later calls: so many bytes of it, what was used longest ago goes first."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """A bounded memory. Thread-safe.

    ``limit`` is in bytes, as those who put things in count them, and ``each`` for every thing;
    what is larger than a quarter of it is not kept, for it would drive out too much else.
    """

    def __init__(self, limit: int, each: int = 0) -> None:
        self._limit = limit
        self._each = each
        self._lock = threading.Lock()
        self._found: collections.OrderedDict[K, tuple[V, int]] = collections.OrderedDict()
        self.size = 0

    def get(self, key: K) -> V | None:
        """Return what is kept under ``key``, and keep it for longer."""
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep ``value``, which takes ``size`` bytes."""
        size += self._each
        if size > self._limit // 4:
            return
        with self._lock:
            if key in self._found:
                self.size -= self._found.pop(key)[1]
            self._found[key] = (value, size)
            self.size += size
            while self.size > self._limit:
                _, (_, freed) = self._found.popitem(last=False)
                self.size -= freed
