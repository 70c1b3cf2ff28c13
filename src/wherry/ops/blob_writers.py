"""Content on its way out of a place: as it is or decompressed, verified as it passes."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from wherry.content.codec import decompress, detect
from wherry.content.events import Status
from wherry.content.protocols import Counted, RangeRefused, Readable
from wherry.content.read_blob import read_blob
from wherry.content.verify import RawLimit, follow_growing
from wherry.errors import IntegrityError, WherryError
from wherry.model.config import parse_config
from wherry.model.digest import diff_id_mismatch, mismatch
from wherry.transfer.progress import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.archive.writer import Write
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source, Stream
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.progress import Emitter

_CHUNK = 256 * 1024
_CHECKED = {"gzip", "bzip2", "xz"}  # formats that hold checksums of their content


class SaveProgress:
    """Reports blobs that are being written, not too often; each once, though it is saved twice."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._lock = threading.Lock()
        self._reported: dict[Digest, float] = {}

    def bytes(self, digest: Digest, current: int, total: int) -> None:
        """Report how far a blob is."""
        now = time.monotonic()
        with self._lock:
            if now - self._reported.get(digest, 0.0) < INTERVAL:
                return
            self._reported[digest] = now
        self._emitter.emit(Status.SAVING, digest, current=current, total=total)

    def done(self, digest: Digest, total: int) -> None:
        """Report a blob that is written."""
        self._emitter.emit(Status.SAVED, digest, current=total, total=total)


class BlobWriter:
    """Writes a blob as it is; raises `IntegrityError` if that is not what its digest names."""

    def __init__(self, source: Source, blob: Descriptor, reports: SaveProgress) -> None:
        self._source = source
        self._blob = blob
        self._reports = reports

    def __call__(self, write: Write, cancel: CancelToken) -> None:
        """Read, hash and write."""
        blob = self._blob
        stream = self._source.open(blob, 0, cancel).stream
        try:
            with _blaming(self._source, blob, cancel):
                size = self._copy(stream, write, cancel)
        finally:
            stream.close()
        self._reports.done(blob.digest, size)

    def _copy(self, stream: Stream, write: Write, cancel: CancelToken) -> int:
        digest, size = self._blob.digest, 0
        hasher = digest.hasher()
        while data := stream.read1(_CHUNK):
            cancel.check()
            hasher.update(data)
            write(memoryview(data))
            size += len(data)
            self._reports.bytes(digest, size, self._blob.size or size)
        if hasher.hexdigest() != digest.hex:
            raise mismatch(digest, hasher.hexdigest())
        return size


class LayerWriter:
    """Writes a layer without its compression; raises `IntegrityError` for a damaged one.

    The DiffID is compared, which takes as long as decompressing. Where the content is
    ``verified``, in a store, and the compression has a checksum, that and the size will do.
    """

    def __init__(
        self,
        source: Source,
        layer: Descriptor,
        diff_id: Digest,
        size: int,
        reports: SaveProgress,
        *,
        verified: bool,
    ) -> None:
        self._source = source
        self._layer = layer
        self._diff_id = diff_id
        self._size = size
        self._reports = reports
        self._verified = verified

    def __call__(self, write: Write, cancel: CancelToken) -> None:
        """Decompress and write."""
        stream = self._source.open(self._layer, 0, cancel).stream
        try:
            with (
                _blaming(self._source, self._layer, cancel),
                _within(f"layer {self._layer.digest}"),
            ):
                self._copy(Readable(stream), write, cancel)
        finally:
            stream.close()
        self._reports.done(self._layer.digest, self._size)

    def _copy(self, source: Readable, write: Write, cancel: CancelToken) -> None:
        plain = decompress(source, cancel.check)
        checked = self._verified and plain.compression in _CHECKED
        hasher = None if checked else self._diff_id.hasher()
        buffer = bytearray(_CHUNK)
        view, done = memoryview(buffer), 0
        while count := plain.readinto(buffer):
            cancel.check()
            if hasher is not None:
                hasher.update(view[:count])
            write(view[:count])
            done += count
            self._reports.bytes(self._layer.digest, done, self._size)
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
    """Tell content that is wrong from a copy of it that is damaged, in a store or archive."""
    try:
        yield
    except IntegrityError as error:
        if source.remote:  # a second download would not tell more
            raise
        source.verify(blob, cancel)
        raise error.within(source.label) from error.__cause__


def sized(source: Source, layer: Descriptor, cancel: CancelToken) -> Descriptor:
    """Return the descriptor with the layer's true size, which the manifest may not give.

    A registry is asked for the first byte, since that answer has the size too.
    """
    try:
        if source.ranges:
            opened = source.open_range(layer, 0, 1, cancel)
            while opened.stream.read1(1):  # to its end, so that the connection can be used again
                pass
        else:
            opened = source.open(layer, 0, cancel)
    except RangeRefused:
        opened = source.open(layer, 0, cancel)
    opened.stream.close()
    return layer if opened.total is None else layer._replace(size=opened.total)


def raw_size(source: Source, layer: Descriptor, cancel: CancelToken) -> int:
    """Return a layer's size in bytes without compression; which may take reading all of it."""
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
            counted = Counted(Readable(stream))
            limit = RawLimit()
            return follow_growing(counted, lambda: limit.of(counted.size), cancel.check)[1]
    finally:
        stream.close()


def config_of(source: Source, descriptor: Descriptor) -> ImageConfig:
    """Read an image's config and verify it."""
    return parse_config(read_blob(source, descriptor))
