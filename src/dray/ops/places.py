"""Where images are read from: the store and registries behind one face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dray.content.ports import Opened
from dray.registry.hosts import endpoints
from dray.registry.repository import Repository

if TYPE_CHECKING:
    import io

    from dray.content.cancel import CancelToken
    from dray.model.descriptor import Descriptor
    from dray.model.digest import Digest
    from dray.model.manifest import Document
    from dray.model.reference import Reference
    from dray.registry.session import Session
    from dray.store import LocalStore
    from dray.transfer.progress import Emitter


def repository(
    session: Session,
    reference: Reference,
    emitter: Emitter,
    cancel: CancelToken,
    *,
    insecure: bool = False,
) -> Repository:
    """Return a repository that tells ``emitter`` of warnings and retries."""
    return Repository(
        session,
        reference,
        endpoints(reference, insecure=insecure),
        cancel,
        warn=emitter.warn,
        on_retry=emitter.retrying,
    )


class StorePlace:
    """A store as a place to read from; documents are hashed again."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def document(self, digest: Digest) -> Document:
        """Return a document; raises `NotFound`, `IntegrityError` and `InvalidDocument`."""
        return self._store.document(digest)

    def open(self, descriptor: Descriptor, offset: int, _cancel: CancelToken) -> Opened:
        """Open a blob; raises `NotFound`."""
        file = self._store.open(descriptor.digest)
        file.seek(offset)
        return Opened(_File(file), offset, descriptor.size)


class _File:
    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def read1(self, size: int) -> bytes:
        return self._file.read(size) or b""

    def close(self) -> None:
        self._file.close()
