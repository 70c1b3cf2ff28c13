"""The size limit of an image: all its layers, compressed and decompressed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from wherry.content.protocols import Receipt
    from wherry.model.digest import Digest


class LayerSizes:
    """Counts the bytes of layers for each image that has them. Thread-safe.

    Args:
        images: The layers of each image.
        limit_bytes: Bytes that the layers of one image may have together.
    """

    def __init__(self, images: Iterable[AbstractSet[Digest]], limit_bytes: int) -> None:
        self._images: dict[Digest, list[ImageSize]] = {}
        for layers in images:
            size = ImageSize(limit_bytes)
            for layer in layers:
                self._images.setdefault(layer, []).append(size)

    def add_received(self, layer: Digest, count: int) -> None:
        """Record the received bytes of a layer; raises `IntegrityError` over the limit."""
        for size in self._images.get(layer, ()):
            size.add_received(layer, count)

    def add(self, layer: Digest, receipt: Receipt) -> None:
        """Record a stored layer; raises `IntegrityError` over the limit."""
        for size in self._images.get(layer, ()):
            size.add_received(layer, receipt.descriptor.size or 0)
            if receipt.raw_size is not None:
                size.add_decompressed(layer, receipt.raw_size)


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
