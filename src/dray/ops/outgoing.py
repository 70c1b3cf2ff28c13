"""Content on its way out of a place: as it is or decompressed, verified as it passes."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from dray.content.codec import decompress, detect
from dray.content.events import Status
from dray.content.ports import Readable
from dray.content.verify import RawLimit, follow_diff_id
from dray.errors import DrayError, IntegrityError, InvalidDocument
from dray.model._fields import MAX_DOCUMENT
from dray.model.config import parse_config
from dray.ops.places import StorePlace
from dray.transfer.progress import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dray.archive.writing import Write
    from dray.content.cancel import CancelToken
    from dray.content.ports import Place
    from dray.model.config import ImageConfig
    from dray.model.descriptor import Descriptor
    from dray.model.digest import Digest
    from dray.transfer.progress import Emitter

_CHUNK = 256 * 1024
_CHECKED = {"gzip", "bzip2", "xz"}  # formats that hold checksums of their content


class Reports:
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


class AsIs:
    """Writes a blob as it is; raises `IntegrityError` if that is not what its digest names."""

    def __init__(self, place: Place, blob: Descriptor, reports: Reports) -> None:
        self._place = place
        self._blob = blob
        self._reports = reports

    def __call__(self, write: Write, cancel: CancelToken) -> None:
        """Read, hash and write."""
        blob, size = self._blob, 0
        hasher = blob.digest.hasher()
        stream = self._place.open(blob, 0, cancel).stream
        try:
            while data := stream.read1(_CHUNK):
                cancel.check()
                hasher.update(data)
                write(memoryview(data))
                size += len(data)
                self._reports.bytes(blob.digest, size, blob.size or size)
        finally:
            stream.close()
        with _blaming(self._place, blob):
            _compare(blob.digest, hasher.hexdigest(), "content does not match its digest")
        self._reports.done(blob.digest, size)


class Plain:
    """Writes a layer without its compression; raises `IntegrityError` for a damaged one.

    The DiffID is compared, which takes as long as decompressing. Where the content is
    ``verified``, in a store, and the compression has a checksum, that and the size will do.
    """

    def __init__(
        self,
        place: Place,
        layer: Descriptor,
        diff_id: Digest,
        size: int,
        reports: Reports,
        *,
        verified: bool,
    ) -> None:
        self._place = place
        self._layer = layer
        self._diff_id = diff_id
        self._size = size
        self._reports = reports
        self._verified = verified

    def __call__(self, write: Write, cancel: CancelToken) -> None:
        """Decompress and write."""
        stream = self._place.open(self._layer, 0, cancel).stream
        try:
            with _blaming(self._place, self._layer), _within(f"layer {self._layer.digest}"):
                self._copy(Readable(stream), write, cancel)
        finally:
            stream.close()
        self._reports.done(self._layer.digest, self._size)

    def _copy(self, source: Readable, write: Write, cancel: CancelToken) -> None:
        plain = decompress(source)
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
        if hasher is not None:
            _compare(self._diff_id, hasher.hexdigest(), "the content does not match its DiffID")


@contextlib.contextmanager
def _within(context: str) -> Iterator[None]:
    try:
        yield
    except DrayError as error:
        raise error.within(context) from None


@contextlib.contextmanager
def _blaming(place: Place, blob: Descriptor) -> Iterator[None]:
    """Tell content that is wrong from a copy of it in a store that is damaged."""
    try:
        yield
    except IntegrityError:
        if isinstance(place, StorePlace):
            place.verify(blob.digest)
        raise


def _compare(digest: Digest, found: str, message: str) -> None:
    if found != digest.hex:
        actual = f"{digest.algorithm}:{found}"
        raise IntegrityError(f"{message} (got {actual})", expected=str(digest), actual=actual)


def raw_size(place: Place, layer: Descriptor, cancel: CancelToken) -> int:
    """Return a layer's size in bytes without compression; which may take reading all of it."""
    stream = place.open(layer, 0, cancel).stream
    try:
        head = stream.read1(8)
    finally:
        stream.close()
    if layer.size is not None and detect(head) is None:
        return layer.size
    stream = place.open(layer, 0, cancel).stream
    try:
        with _blaming(place, layer):
            return follow_diff_id(Readable(stream), RawLimit().of(layer.size or 0), cancel)[1]
    finally:
        stream.close()


def config_of(place: Place, descriptor: Descriptor, cancel: CancelToken) -> ImageConfig:
    """Read an image's config and verify it."""
    if isinstance(place, StorePlace):
        return parse_config(place.read(descriptor.digest))
    raw = bytearray()
    stream = place.open(descriptor, 0, cancel).stream
    try:
        while len(raw) <= MAX_DOCUMENT and (data := stream.read1(_CHUNK)):
            raw += data
    finally:
        stream.close()
    if len(raw) > MAX_DOCUMENT:
        raise InvalidDocument(f"the config is over {MAX_DOCUMENT >> 20} MiB")
    hasher = descriptor.digest.hasher()
    hasher.update(raw)
    _compare(descriptor.digest, hasher.hexdigest(), "the config does not match its digest")
    return parse_config(bytes(raw))
