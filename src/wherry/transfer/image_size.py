"""The size limit of an image: all its layers, compressed and decompressed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from wherry.model.digest import Digest


class ImageSize:
    """Counts the bytes of an image's layers, each once. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._arrived: dict[Digest, int] = {}
        self._raw: dict[Digest, int] = {}
        self._total = 0

    def add_received(self, layer: Digest, count: int) -> None:
        """Record the received bytes of a layer; raises `IntegrityError` over the limit."""
        with self._lock:
            self._total += count - self._arrived.get(layer, 0)
            self._arrived[layer] = count
        if self._total > self._limit:
            raise self._too_large("have")

    def add_decompressed(self, layer: Digest, count: int) -> None:
        """Record a layer's decompressed bytes; raises `IntegrityError` over the limit."""
        with self._lock:
            self._raw[layer] = count
            total = sum(self._raw.values())
        if total > self._limit:
            raise self._too_large("decompress to")

    def _too_large(self, verb: str) -> IntegrityError:
        return IntegrityError(
            f"the layers of the image {verb} more than {self._limit:,} bytes together",
            expected=f"at most {self._limit} bytes",
            actual="more",
            hint="in Python, Store(limits=...) allows more",
        )
