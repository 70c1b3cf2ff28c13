"""The local store as a source of images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.content.local_source import LocalSource
from wherry.content.protocols import Opened

if TYPE_CHECKING:
    import io

    from wherry.content.cancel import CancelToken
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.store.readable_store import ReadableStore


class StoreSource(LocalSource):
    """A store to read from; documents and configs are hashed again."""

    verified = True

    def __init__(self, store: ReadableStore) -> None:
        super().__init__(str(store.path))
        self._store = store

    def document(self, digest: Digest) -> Document:
        """Return a document; raises `NotFound`, `IntegrityError` and `InvalidDocument`."""
        return self._store.document(digest)

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a config, verified; raises `NotFound` and `IntegrityError`."""
        return self._store.read(descriptor.digest)

    def verify(self, descriptor: Descriptor, _cancel: CancelToken) -> None:
        """Hash a blob; raises `NotFound`, and `IntegrityError` where the file is damaged."""
        self._store.verify(descriptor.digest)

    def open(self, descriptor: Descriptor, offset: int, _cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``; raises `NotFound`."""
        file = self._store.open(descriptor.digest)
        file.seek(offset)
        return Opened(_FileStream(file), offset, os.fstat(file.fileno()).st_size)


class _FileStream:
    """An open file as a stream."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def read1(self, size: int) -> bytes:
        return self._file.read(size) or b""

    def close(self) -> None:
        self._file.close()
