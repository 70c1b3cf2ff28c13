"""DiffIDs: what layers are when decompressed, against what the config says."""

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
_BUFFERS = 3  # one is filled, one is hashed, one is on its way
_ALONE = 8 * 2**20  # bytes that are hashed before a thread is worth its start


class RawLimit(Record):
    """The most bytes that a layer may hold: the larger of ``least`` and ``ratio`` times its size.

    Beyond it somebody built a bomb: gzip cannot reach more than about 1,030 : 1.
    """

    least: int = 2**30
    ratio: int = 1100

    def of(self, compressed: int) -> int:
        """Return the limit in bytes for a layer of ``compressed`` bytes."""
        return max(self.least, self.ratio * compressed)


def follow_diff_id(source: RawStream, limit: int, cancel: CancelToken) -> tuple[Digest, int]:
    """Decompress ``source`` to its end and return its DiffID and size in bytes.

    Raises `IntegrityError` for a damaged stream and for one of more than ``limit`` bytes.
    """
    return follow_growing(source, lambda: limit, cancel.check)


def follow_growing(
    source: RawStream,
    limit: Callable[[], int],
    check: Callable[[], None],
    algorithm: str = "sha256",
) -> tuple[Digest, int]:
    """Decompress a source that may still grow; ``limit`` returns what it may hold by now.

    ``check`` is called at each step, and while memory for decompression is awaited; it may raise.
    Decompression and hashing run at the same time where there is much to do. ``algorithm`` is
    that of the DiffID. Otherwise as `follow_diff_id`.
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
                raise _too_large(limit())
            hasher.update(buffer, count)
    finally:
        hasher.stop()


class _SpareBuffer(threading.local):
    """One buffer for each thread: fresh ones cost a small layer more than hashing it."""

    _kept: bytearray | None = None

    def buffer(self) -> bytearray:
        kept, self._kept = self._kept, None
        return bytearray(_BUFFER) if kept is None else kept

    def give_back(self, buffer: bytearray) -> None:
        self._kept = buffer


_spare = _SpareBuffer()


class Hasher:
    """Hashes buffers that it gives out and takes back; large content in a thread of its own.

    Whoever has taken a `buffer` hands it to `update`, or gives it back; `stop` ends it.
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
        """Return a buffer that is not being hashed."""
        return self._free.get()

    def update(self, buffer: bytearray, count: int) -> None:
        """Hash the first ``count`` bytes of a buffer, now or later."""
        if self._thread is not None:
            self._full.put((buffer, count))
            return
        self._take(buffer, count)
        self._alone -= count
        if self._alone < 0:
            self._start()

    def give_back(self, buffer: bytearray) -> None:
        """Take back a buffer that has nothing in it."""
        self._free.put(buffer)

    def hexdigest(self) -> str:
        """Wait for what is being hashed and return the digest."""
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
    """A layer's decompressed bytes; reading to the end compares them with the DiffID.

    The last read raises `IntegrityError` instead of saying that this is the end. ``digest`` is
    the layer's own, for errors to name it.
    """

    def __init__(self, source: io.FileIO, diff_id: Digest, digest: Digest | None = None) -> None:
        self._source = source
        self._name = named(digest) if digest is not None else "the layer"
        self._stream = decompress(source)
        self._diff_id = diff_id
        self._hash = diff_id.hasher()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` as far as one step goes; 0 at the verified end."""
        try:
            count = self._stream.readinto(buffer)
        except IntegrityError as error:
            raise error.within(self._name) from error.__cause__
        self._hash.update(memoryview(buffer).cast("B")[:count])
        if not count and self._hash.hexdigest() != self._diff_id.hex:
            raise diff_id_mismatch(self._diff_id, self._hash.hexdigest()).within(self._name)
        return count

    def drain(self) -> None:
        """Read what is left, to have it verified."""
        buffer = bytearray(_BUFFER)
        while self.readinto(buffer):
            pass

    def close(self) -> None:
        """Close the source as well."""
        self._source.close()
        super().close()


def named(layer: Digest) -> str:
    """Return what errors call a layer."""
    return f"layer {layer.algorithm}:{layer.short}…"


def _too_large(limit: int) -> IntegrityError:
    return IntegrityError(
        f"it decompresses to more than {limit:,} bytes",
        expected=f"at most {limit} bytes",
        actual="more",
        hint="such layers are built to fill disks; in Python, Store(limits=...) allows more",
    )


def check_rootfs(config: ImageConfig, layers: Sequence[Receipt]) -> None:
    """Compare the DiffIDs of ``layers``, bottom first, with those that the config lists.

    A layer whose DiffID nobody computed, or not by the algorithm that the config uses, counts
    as equal. Raises `IntegrityError`.
    """
    mismatch = "layers from manifest don't match image configuration"
    if len(config.diff_ids) != len(layers):
        raise IntegrityError(
            f"{mismatch}: {len(layers)} layers, {len(config.diff_ids)} DiffIDs",
            expected=str(len(config.diff_ids)),
            actual=str(len(layers)),
        )
    for place, (diff_id, layer) in enumerate(zip(config.diff_ids, layers, strict=True)):
        if layer.diff_id is None or layer.diff_id.algorithm != diff_id.algorithm:
            continue
        if layer.diff_id != diff_id:
            raise IntegrityError(
                f"{mismatch}: layer {place} ({layer.descriptor.digest.short}) is {layer.diff_id}, "
                f"the config says {diff_id}",
                expected=str(diff_id),
                actual=str(layer.diff_id),
            )
