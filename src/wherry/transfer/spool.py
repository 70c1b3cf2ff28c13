"""Temporary files of layers that are packed anew, or kept until they are sent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO

from wherry.content.compress import compressor
from wherry.content.protocols import Blob, Opened
from wherry.errors import StoreError, StoreFull
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from wherry.content.protocols import Stream
    from wherry.model.compression import Compression

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PackedSpool:
    """Packs content into a file, and hashes the packed bytes."""

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        self._file = file
        self._compressor = compressor(compression)
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, content: memoryview) -> None:
        """Pack the next bytes of the content."""
        self._write(self._compressor.compress(content))

    def finish(self, media_type: str) -> Descriptor:
        """Write the end, and return the descriptor of the packed bytes."""
        self._write(self._compressor.flush())
        with _translate_os_errors():
            self._file.flush()
        return Descriptor(media_type, Digest(f"sha256:{self._hash.hexdigest()}"), self._size)

    def _write(self, packed: Buffer) -> None:
        with _translate_os_errors():
            self._file.write(packed)
        self._hash.update(packed)
        self._size += memoryview(packed).nbytes


class CopyingSpool:
    """Keeps the bytes of a layer in a file while the layer is read from its start."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0

    def source(self, layer: Blob) -> Blob:
        """Return a layer whose bytes are kept as they are read."""

        def open_at(offset: int, is_whole: Callable[[], bool]) -> Opened:
            opened = layer.open(offset, is_whole)
            return opened.replace(stream=_CopyingStream(opened.stream, self._add))

        return layer.replace(open=open_at)

    def finish(self, layer: Blob) -> Blob:
        """Return the layer as it was kept, with its true size."""
        with _translate_os_errors():
            self._file.flush()
        return spooled_blob(self._file, layer.descriptor._replace(size=self._size))

    def _add(self, data: bytes) -> None:
        with _translate_os_errors():
            self._file.write(data)
        self._size += len(data)


class _CopyingStream:
    """A stream that passes on what is read from it."""

    def __init__(self, stream: Stream, add: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._add = add

    def read1(self, size: int) -> bytes:
        data = self._stream.read1(size)
        self._add(data)
        return data

    def close(self) -> None:
        self._stream.close()


def spooled_blob(spool: BinaryIO, descriptor: Descriptor) -> Blob:
    """Return the blob in a spool file, for as long as the file is open.

    Several streams can be read at the same time.
    """
    file, size = spool.fileno(), descriptor.size
    return Blob(descriptor, lambda offset, _: Opened(_SpoolStream(file, offset), offset, size))


class _SpoolStream:
    """The bytes of a file from an offset on; the file has no position that streams share."""

    def __init__(self, file: int, offset: int) -> None:
        self._file = file
        self._at = offset

    def read1(self, size: int) -> bytes:
        with _translate_os_errors():
            data = os.pread(self._file, size, self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Do nothing: the file belongs to the caller."""


@contextlib.contextmanager
def _translate_os_errors() -> Iterator[None]:
    """Raise `StoreError` or `StoreFull` for an `OSError` about a spool file."""
    try:
        yield
    except OSError as error:
        message = f"the temporary file of a layer: {error.strerror or error}"
        if error.errno in _FULL:
            hint = "layers are kept in temporary files; make room, or set TMPDIR"
            raise StoreFull(message, hint=hint) from error
        raise StoreError(message) from error
