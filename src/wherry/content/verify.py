"""DiffIDs: hashing decompressed layers and comparing them with the config."""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from typing import TYPE_CHECKING

from wherry.content.codec import decompress
from wherry.errors import IntegrityError
from wherry.model.digest import Digest, diff_id_mismatch
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RawStream, Receipt
    from wherry.model.config import ImageConfig

_BUFFER = 256 * 1024
_BUFFERS = 3  # one is filled, one is hashed, one is queued
_MISMATCH = "layers from manifest don't match image configuration"  # the words of engines
_ALONE = 8 * 2**20  # bytes after which starting a thread pays off


class RawLimit(Record):
    """The size limit of a decompressed layer, in bytes.

    It is ``least``, or ``ratio`` times the compressed size if that is more. A larger layer is a
    decompression bomb: gzip reaches a ratio of about 1,030 : 1.
    """

    least: int = 2**30
    ratio: int = 1100

    def of(self, compressed: int) -> int:
        """Return the limit in bytes for a layer of ``compressed`` bytes."""
        return max(self.least, self.ratio * compressed)


def follow_diff_id(source: RawStream, limit: int, cancel: CancelToken) -> tuple[Digest, int]:
    """Decompress ``source`` to its end and return its DiffID and size in bytes.

    Raises:
        IntegrityError: The stream is damaged, or has more than ``limit`` bytes.
    """
    return follow_growing(source, lambda: limit, cancel.check)


def follow_growing(
    source: RawStream,
    limit: Callable[[], int],
    check: Callable[[], None],
    algorithm: str = "sha256",
    on_content: Callable[[memoryview], None] = lambda _content: None,
) -> tuple[Digest, int]:
    """Decompress a source that may still grow; otherwise as `follow_diff_id`.

    Args:
        source: The compressed or uncompressed content.
        limit: Returns the size limit in bytes for the bytes that have arrived.
        check: Called at each step, and while waiting for decoder memory; it may raise.
        algorithm: The algorithm of the DiffID.
        on_content: Called with each piece of the decompressed content, while it is hashed.
    """
    stream = decompress(source, check)
    hasher = Hasher(algorithm)
    total = 0
    try:
        while True:
            check()
            buffer = hasher.buffer()
            count = stream.readinto(buffer)
            if not count:
                hasher.give_back(buffer)
                return Digest(f"{algorithm}:{hasher.hexdigest()}"), total
            total += count
            if total > limit():
                raise raw_limit_error(limit())
            hasher.update(buffer, count)
            on_content(memoryview(buffer)[:count])
    finally:
        hasher.stop()


class _SpareBuffer(threading.local):
    """A buffer for each thread; for a small layer, a new one costs more than hashing."""

    _kept: bytearray | None = None

    def buffer(self) -> bytearray:
        kept, self._kept = self._kept, None
        return bytearray(_BUFFER) if kept is None else kept

    def give_back(self, buffer: bytearray) -> None:
        self._kept = buffer


_spare = _SpareBuffer()


class Hasher:
    """Hashes content in buffers that it lends; large content in a thread of its own.

    A caller passes each `buffer` to `update` or `give_back`, and calls `stop` at the end.
    """

    def __init__(self, algorithm: str = "sha256") -> None:
        self._hash = hashlib.new(algorithm)
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[bytearray, int] | None] = queue.SimpleQueue()
        self._free.put(_spare.buffer())
        self._alone = _ALONE
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        for _ in range(_BUFFERS - 1):
            self._free.put(bytearray(_BUFFER))
        self._thread = threading.Thread(target=self._run, name="wherry-hash", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (item := self._full.get()) is not None:
            self._take(*item)

    def _take(self, buffer: bytearray, count: int) -> None:
        self._hash.update(memoryview(buffer)[:count])
        self._free.put(buffer)

    def buffer(self) -> bytearray:
        """Return a buffer that is free; waits for one."""
        return self._free.get()

    def update(self, buffer: bytearray, count: int) -> None:
        """Hash the first ``count`` bytes of a buffer, now or in the thread."""
        if self._thread is not None:
            self._full.put((buffer, count))
            return
        self._take(buffer, count)
        self._alone -= count
        if self._alone < 0:
            self._start()

    def give_back(self, buffer: bytearray) -> None:
        """Return an unused buffer."""
        self._free.put(buffer)

    def hexdigest(self) -> str:
        """Wait for the thread and return the digest in hex digits."""
        self.stop()
        return self._hash.hexdigest()

    def stop(self) -> None:
        """End the thread, if there is one."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
        elif not self._free.empty():
            _spare.give_back(self._free.get())


class VerifiedLayer(io.RawIOBase):
    """A stream of a decompressed layer that verifies the DiffID at its end.

    If the DiffID does not match, the last read raises `IntegrityError` instead of returning 0.
    ``digest`` is the digest of the layer, for errors.
    """

    def __init__(self, source: io.FileIO, diff_id: Digest, digest: Digest | None = None) -> None:
        self._source = source
        self._name = layer_name(digest) if digest is not None else "the layer"
        self._stream = decompress(source)
        self._diff_id = diff_id
        self._hash = diff_id.hasher()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read bytes into ``buffer``; returns their number, 0 at the verified end."""
        try:
            count = self._stream.readinto(buffer)
        except IntegrityError as error:
            raise error.within(self._name) from error.__cause__
        self._hash.update(memoryview(buffer).cast("B")[:count])
        if not count and self._hash.hexdigest() != self._diff_id.hex:
            raise diff_id_mismatch(self._diff_id, self._hash.hexdigest()).within(self._name)
        return count

    def drain(self) -> None:
        """Read and verify the rest of the layer."""
        buffer = bytearray(_BUFFER)
        while self.readinto(buffer):
            pass

    def close(self) -> None:
        """Close the stream and its source."""
        self._source.close()
        super().close()


def layer_name(layer: Digest) -> str:
    """Return the name of a layer for errors."""
    return f"layer {layer.algorithm}:{layer.short}…"


def raw_limit_error(limit: int) -> IntegrityError:
    """Make the error for a layer that decompresses to more than ``limit`` bytes."""
    return IntegrityError(
        f"it decompresses to more than {limit:,} bytes",
        expected=f"at most {limit} bytes",
        actual="more",
        hint="such layers are built to fill disks; in Python, Store(limits=...) allows more",
    )


def check_rootfs(config: ImageConfig, layers: Sequence[Receipt]) -> None:
    """Compare the DiffIDs of ``layers``, bottom first, with those in the config.

    A layer is skipped if its DiffID was not computed, or with another algorithm than in the
    config.

    Raises:
        IntegrityError: A DiffID or the number of layers does not match.
    """
    check_layer_count(config, len(layers))
    for place, (diff_id, layer) in enumerate(zip(config.diff_ids, layers, strict=True)):
        if layer.diff_id is None or layer.diff_id.algorithm != diff_id.algorithm:
            continue
        if layer.diff_id != diff_id:
            raise IntegrityError(
                f"{_MISMATCH}: layer {place} ({layer.descriptor.digest.short}) is {layer.diff_id}, "
                f"the config says {diff_id}",
                expected=str(diff_id),
                actual=str(layer.diff_id),
            )


def check_layer_count(config: ImageConfig, count: int) -> None:
    """Raise `IntegrityError` unless the config has a DiffID for each of ``count`` layers."""
    if len(config.diff_ids) != count:
        raise IntegrityError(
            f"{_MISMATCH}: {count} layers, {len(config.diff_ids)} DiffIDs",
            expected=str(len(config.diff_ids)),
            actual=str(count),
        )
