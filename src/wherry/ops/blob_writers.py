"""Copy blobs of a source into archives, and verify them."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from wherry.content.codec import decompress, detect
from wherry.content.events import Status
from wherry.content.protocols import RangeRefused
from wherry.content.read_blob import read_blob
from wherry.content.streams import CountingReader, StreamReader
from wherry.content.verify import RawLimit, follow_growing
from wherry.errors import IntegrityError, WherryError
from wherry.model.config import parse_config
from wherry.model.digest import diff_id_mismatch, mismatch
from wherry.transfer.progress import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.archive.entry import Write
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source, Stream
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.progress import Emitter

_CHUNK = 256 * 1024
_CHECKSUMMED = {"gzip", "bzip2", "xz"}  # these formats hold a checksum of their content


class SaveProgress:
    """Report the blobs that are being written.

    Events of one blob keep a pause between them, even if the blob is written twice.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._lock = threading.Lock()
        self._reported: dict[Digest, float] = {}

    def bytes(self, digest: Digest, current: int, total: int) -> None:
        """Report the bytes of a blob that are written."""
        now = time.monotonic()
        with self._lock:
            if now - self._reported.get(digest, 0.0) < INTERVAL:
                return
            self._reported[digest] = now
        self._emitter.emit(Status.SAVING, digest, current=current, total=total)

    def done(self, digest: Digest, total: int) -> None:
        """Report that a blob is written."""
        self._emitter.emit(Status.SAVED, digest, current=total, total=total)


class BlobWriter:
    """Write a blob as it is; raises `IntegrityError` if its digest does not match."""

    def __init__(self, source: Source, blob: Descriptor, progress: SaveProgress) -> None:
        self._source = source
        self._blob = blob
        self._progress = progress

    def __call__(self, write: Write, cancel: CancelToken) -> None:
        """Read, hash and write."""
        blob = self._blob
        stream = self._source.open(blob, 0, cancel).stream
        try:
            with _blaming(self._source, blob, cancel):
                size = self._copy(stream, write, cancel)
        finally:
            stream.close()
        self._progress.done(blob.digest, size)

    def _copy(self, stream: Stream, write: Write, cancel: CancelToken) -> int:
        digest, size = self._blob.digest, 0
        hasher = digest.hasher()
        while data := stream.read1(_CHUNK):
            cancel.check()
            hasher.update(data)
            write(memoryview(data))
            size += len(data)
            self._progress.bytes(digest, size, self._blob.size or size)
        if hasher.hexdigest() != digest.hex:
            raise mismatch(digest, hasher.hexdigest())
        return size


class LayerWriter:
    """Write a layer without its compression.

    Raises `IntegrityError` for a damaged layer. The DiffID is compared, which takes as long as
    decompressing. A ``verified`` layer of a store is not hashed again if its compression has a
    checksum.
    """

    def __init__(
        self,
        source: Source,
        layer: Descriptor,
        diff_id: Digest,
        size: int,
        progress: SaveProgress,
        *,
        verified: bool,
    ) -> None:
        self._source = source
        self._layer = layer
        self._diff_id = diff_id
        self._size = size
        self._progress = progress
        self._verified = verified

    def __call__(self, write: Write, cancel: CancelToken) -> None:
        """Decompress and write."""
        stream = self._source.open(self._layer, 0, cancel).stream
        try:
            with (
                _blaming(self._source, self._layer, cancel),
                _within(f"layer {self._layer.digest}"),
            ):
                self._copy(StreamReader(stream), write, cancel)
        finally:
            stream.close()
        self._progress.done(self._layer.digest, self._size)

    def _copy(self, source: StreamReader, write: Write, cancel: CancelToken) -> None:
        plain = decompress(source, cancel.check)
        checked = self._verified and plain.compression in _CHECKSUMMED
        hasher = None if checked else self._diff_id.hasher()
        buffer = bytearray(_CHUNK)
        view, done = memoryview(buffer), 0
        while count := plain.readinto(buffer):
            cancel.check()
            if hasher is not None:
                hasher.update(view[:count])
            write(view[:count])
            done += count
            self._progress.bytes(self._layer.digest, done, self._size)
        if hasher is not None and hasher.hexdigest() != self._diff_id.hex:
            raise diff_id_mismatch(self._diff_id, hasher.hexdigest())


@contextlib.contextmanager
def _within(context: str) -> Iterator[None]:
    try:
        yield
    except WherryError as error:
        raise error.within(context) from None


@contextlib.contextmanager
def _blaming(source: Source, blob: Descriptor, cancel: CancelToken) -> Iterator[None]:
    """Tell wrong content from a damaged copy of good content.

    Only the copies of the store and of archives are hashed: a second download would cost as
    much as the first.
    """
    try:
        yield
    except IntegrityError as error:
        if source.remote:
            raise
        source.verify(blob, cancel)
        raise error.within(source.label) from error.__cause__


def find_size(source: Source, layer: Descriptor, cancel: CancelToken) -> Descriptor:
    """Return the descriptor with the true size of the layer.

    A manifest may state no size, or a wrong size. A response to a request for one byte has the
    size too.
    """
    try:
        if source.ranges:
            opened = source.open_range(layer, 0, 1, cancel)
            while opened.stream.read1(1):  # return the connection to the pool
                pass
        else:
            opened = source.open(layer, 0, cancel)
    except RangeRefused:
        opened = source.open(layer, 0, cancel)
    opened.stream.close()
    return layer if opened.total is None else layer._replace(size=opened.total)


def find_raw_size(source: Source, layer: Descriptor, cancel: CancelToken) -> int:
    """Return a layer's size in bytes without compression; reads a compressed layer."""
    opened = source.open(layer, 0, cancel)
    try:
        head = opened.stream.read1(8)
    finally:
        opened.stream.close()
    if opened.total is not None and detect(head) is None:
        return opened.total
    stream = source.open(layer, 0, cancel).stream
    try:
        with _blaming(source, layer, cancel), _within(f"layer {layer.digest}"):
            counted = CountingReader(StreamReader(stream))
            limit = RawLimit()
            return follow_growing(counted, lambda: limit.of(counted.size), cancel.check)[1]
    finally:
        stream.close()


def read_config(source: Source, descriptor: Descriptor) -> ImageConfig:
    """Read and verify an image's config."""
    return parse_config(read_blob(source, descriptor))
