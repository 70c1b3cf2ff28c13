"""Packing a layer anew, or unpacking it: it is read once and verified."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from wherry.content.codec import LONGEST_MAGIC, decompress, detect
from wherry.content.pipeline import Limits
from wherry.content.protocols import Blob, Opened
from wherry.content.verify import follow_growing, layer_name, raw_limit_error
from wherry.errors import IntegrityError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest, diff_id_mismatch, mismatch
from wherry.model.record import Record
from wherry.transfer.spool import PackedSpool

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from wherry.content.cancel import CancelToken
    from wherry.content.codec import DecompressedStream
    from wherry.model.compression import Compression

T = TypeVar("T")
_DAMAGED = "nothing was named at the destination; the source is damaged, or has changed"
_LIMITS = Limits()
_CHUNK = 256 * 1024


class Packed(Record):
    """A layer that was packed anew.

    Attributes:
        descriptor: The digest and size of the packed layer, with OCI's type for it, which
            `transfer.rewrite` turns into docker's where it is needed.
        diff_id: The digest of the decompressed layer.
        raw_size: Its size in bytes.
    """

    descriptor: Descriptor
    diff_id: Digest
    raw_size: int


def pack_layer(
    layer: Blob,
    compression: Compression,
    diff_id: Digest | None,
    spool: BinaryIO,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
    *,
    on_content: Callable[[memoryview], None] = lambda _content: None,
    limits: Limits = _LIMITS,
) -> Packed:
    """Decompress a layer, verify it, and write it to ``spool`` in another compression.

    The same layer and compression give the same bytes. Memory does not grow with the layer.

    Args:
        layer: The layer, in any compression.
        compression: Every kind except ``keep``.
        diff_id: The expected DiffID; None if it is not known.
        spool: An empty file with a buffer. `spool.spooled_blob` reads it.
        cancel: Stops the call.
        on_bytes: Called often with the number of bytes of the layer that have been read.
        on_content: Called with each piece of the decompressed layer.
        limits: Size limits for the layer.

    Raises:
        IntegrityError: The layer does not match its digest or its DiffID, is damaged, or is
            larger than the limits.
        ValueError: The compression is ``keep``.
        StoreError: The spool file cannot be written.
    """
    media_type = compression.layer_type(docker=False)
    target = PackedSpool(spool, compression)

    def add(content: memoryview) -> None:
        target.add(content)
        on_content(content)

    found, raw_size = verify_layer(layer, diff_id, cancel, on_bytes, add, limits=limits)
    return Packed(target.finish(media_type), found, raw_size)


def verify_layer(
    layer: Blob,
    diff_id: Digest | None,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
    on_content: Callable[[memoryview], None],
    *,
    limits: Limits = _LIMITS,
) -> tuple[Digest, int]:
    """Decompress a layer, verify it, and return its DiffID and decompressed size in bytes.

    Arguments and errors are those of `pack_layer`.
    """
    name = layer_name(layer.descriptor.digest)
    try:
        with contextlib.closing(_LayerReader(layer, limits.blob, cancel, on_bytes)) as source:
            algorithm = "sha256" if diff_id is None else diff_id.algorithm
            found, raw_size = source.verified(
                lambda: _follow(source, algorithm, on_content, limits, cancel)
            )
    except IntegrityError as error:
        raise error.within(name) from error.__cause__
    if diff_id is not None and found != diff_id:
        raise diff_id_mismatch(diff_id, found.hex).within(name)
    return found, raw_size


def _follow(
    source: _LayerReader,
    algorithm: str,
    add: Callable[[memoryview], None],
    limits: Limits,
    cancel: CancelToken,
) -> tuple[Digest, int]:
    """Decompress a layer to its end; return its DiffID and size in bytes.

    The digest of a layer that is not compressed is its DiffID, so it is hashed once.
    """
    if detect(source.peek()) is not None or source.digest.algorithm != algorithm:
        return follow_growing(
            source, lambda: limits.raw.of(source.size), cancel.check, algorithm, add
        )
    while data := source.take(_CHUNK):
        add(memoryview(data))
    return source.digest, source.size


class _LayerReader(io.RawIOBase):
    """Reads and hashes the bytes of a layer as they are; ``size`` of them have been read.

    ``digest`` is the digest that the layer has to have.
    """

    def __init__(
        self, layer: Blob, most: int, cancel: CancelToken, on_bytes: Callable[[int], None]
    ) -> None:
        self.digest = layer.descriptor.digest
        self._most = most
        self._cancel = cancel
        self._on_bytes = on_bytes
        self._hash = self.digest.hasher()
        self._stream = layer.open(0, self._is_whole).stream
        self._peeked = b""
        self.size = 0

    def readable(self) -> bool:
        return True

    def peek(self) -> bytes:
        """Return the first bytes, without taking them."""
        while len(self._peeked) < LONGEST_MAGIC and (data := self._read(_CHUNK)):
            self._peeked += data
        return self._peeked[:LONGEST_MAGIC]

    def take(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; none at the end."""
        if not self._peeked:
            return self._read(size)
        data, self._peeked = self._peeked[:size], self._peeked[size:]
        return data

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.take(len(view))
        view[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        self._cancel.check()
        data = self._stream.read1(size)
        self._hash.update(data)
        self.size += len(data)
        if self.size > self._most:
            raise IntegrityError(
                f"it has more than {self._most:,} bytes, which is the limit",
                expected=f"at most {self._most} bytes",
                actual="more",
            )
        self._on_bytes(self.size)
        return data

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def verified(self, call: Callable[[], T]) -> T:
        """Return the result of a call that reads the layer, and check the digest of the layer.

        A wrong digest is raised in place of an `IntegrityError` of the call, since it explains it.
        """
        try:
            result = call()
        except IntegrityError:
            self.check_rest()
            raise
        self.check_rest()
        return result

    def check_rest(self) -> None:
        """Read what a decoder leaves, and compare the digest."""
        buffer = bytearray(_CHUNK)
        while self.readinto(buffer):
            pass
        if not self._is_whole():
            raise mismatch(self.digest, self._hash.hexdigest(), hint=_DAMAGED)

    def _is_whole(self) -> bool:
        return self._hash.hexdigest() == self.digest.hex


def unpacked_blob(
    layer: Blob, diff_id: Digest, cancel: CancelToken, *, limits: Limits = _LIMITS
) -> Blob:
    """Return a layer without its compression, under its DiffID, as a blob of unknown size.

    It is decompressed while it is read, always from the start. Its stream raises `IntegrityError`
    for a damaged layer, and for one that is larger than the limits. The reader of the stream has
    to compare the DiffID.
    """
    plain = Descriptor("", diff_id)
    return Blob(plain, lambda _offset, _is_whole: Opened(_UnpackedStream(layer, cancel, limits)))


class _UnpackedStream:
    """The decompressed content of a layer, whose packed bytes are verified at the end."""

    def __init__(self, layer: Blob, cancel: CancelToken, limits: Limits) -> None:
        self._source = _LayerReader(layer, limits.blob, cancel, lambda _: None)
        self._cancel = cancel
        self._limit = limits.raw
        self._plain: DecompressedStream | None = None
        self._size = 0

    def read1(self, size: int) -> bytes:
        buffer = bytearray(size)
        try:
            if self._plain is None:
                self._plain = decompress(self._source, self._cancel.check)
            count = self._plain.readinto(buffer)
            self._size += count
            limit = self._limit.of(self._source.size)
            if self._size > limit:
                raise raw_limit_error(limit)
        except IntegrityError:
            self._source.check_rest()
            raise
        if not count:
            self._source.check_rest()
        return bytes(memoryview(buffer)[:count])

    def close(self) -> None:
        self._source.close()
