"""A cache that is bounded in bytes and evicts the least recently used entries."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """A cache of at most ``limit`` bytes. Thread-safe.

    Callers state the size of each value; ``overhead`` is added for every entry. A value over a
    quarter of the limit is not cached, because it would evict too many others.
    """

    def __init__(self, limit: int, overhead: int = 0) -> None:
        self._limit = limit
        self._overhead = overhead
        self._lock = threading.Lock()
        self._entries: collections.OrderedDict[K, tuple[V, int]] = collections.OrderedDict()
        self.size = 0

    def get(self, key: K) -> V | None:
        """Return the value of ``key`` and mark it as used; None if there is none."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Cache ``value``, which takes ``size`` bytes."""
        size += self._overhead
        if size > self._limit // 4:
            return
        with self._lock:
            if key in self._entries:
                self.size -= self._entries.pop(key)[1]
            self._entries[key] = (value, size)
            self.size += size
            while self.size > self._limit:
                _, (_, freed) = self._entries.popitem(last=False)
                self.size -= freed
