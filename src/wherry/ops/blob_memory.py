"""What a copy knows of blobs from earlier pulls and pushes, and what it adds to that."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.errors import StoreError
from wherry.model.address import Where
from wherry.model.record import Record
from wherry.transfer.mount_candidates import mount_candidates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry.model.address import Address
    from wherry.model.compression import Compression
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.ops.copy_source import CopySource
    from wherry.ops.open_source import Access
    from wherry.registry.upload_options import SavedSessions
    from wherry.store import LocalStore


class BlobMemory(Record):
    """Where blobs are known to be, and what layers become by a compression.

    Attributes:
        store: The store that is the source; None knows nothing.
        origin: The repository that is the source.
        destination: The repository that is the destination.
        receiver: The store that is the destination.
        sessions: The upload sessions that the store keeps.
        has_same_credentials: Tells whether the credentials for a repository (``host/path``) are
            those for the destination.
    """

    store: LocalStore | None = None
    origin: Reference | None = None
    destination: Reference | None = None
    receiver: LocalStore | None = None
    sessions: SavedSessions | None = None
    has_same_credentials: Callable[[str], bool] = lambda _: True

    def repositories(self, blob: Descriptor) -> tuple[str, ...]:
        """Return repositories of the destination's registry that have a blob, best first."""
        if self.destination is None:
            return ()
        known: list[tuple[str, int]] = []
        if self.origin is not None:
            known = [(self.origin.name, 0)]
        elif self.store is not None:
            known = self.store.provenance_of([blob.digest]).get(blob.digest, [])
        name, same = self.destination.name, self.has_same_credentials
        return mount_candidates(name, blob.size, known, same)

    def packed(self, layer: Descriptor, compression: Compression) -> Descriptor | None:
        """Return the blob that a layer becomes, if an earlier copy has recorded it."""
        if self.store is None:
            return None
        found = self.store.find_packed(layer.digest, str(compression))
        if found is None:
            return None
        return found._replace(media_type=compression.layer_type(docker=False))

    def is_from_registry(self, layer: Digest) -> bool:
        """Tell whether a layer came from a registry, or is known to be in one, as it is."""
        return self.store is not None and bool(self.store.provenance_of([layer]))

    def remember_packed(self, layer: Digest, compression: Compression, blob: Descriptor) -> None:
        """Record what a layer has become."""
        if self.store is not None:
            self.store.record_packed(layer, str(compression), blob)

    def remember_stored(self, blobs: Mapping[Digest, Digest]) -> None:
        """Record which blobs a registry has, if one end of the copy is a store.

        Args:
            blobs: Blobs of the source, with what they are at the destination.
        """
        if self.store is not None and self.destination is not None:
            self.store.record_provenance(self.destination.name, list(blobs.values()))
        elif self.receiver is not None and self.origin is not None:
            same = [digest for digest, target in blobs.items() if digest == target]
            self.receiver.record_provenance(self.origin.name, same)

    def forget_mount(self, blob: Digest, repository: str) -> None:
        """Drop the record of a repository that did not let a blob be mounted."""
        if self.store is not None and self.destination is not None:
            self.store.forget_provenance(f"{self.destination.domain}/{repository}", blob)


@contextlib.contextmanager
def open_memory(found: CopySource, destination: Address, access: Access) -> Iterator[BlobMemory]:
    """Yield what is known for a copy from an opened source."""
    target = destination.reference if destination.where is Where.REGISTRY else None
    if target is None:
        receiver = access.target() if destination.where is Where.STORE else None
        yield BlobMemory(found.store, found.reference, receiver=receiver)
        return
    with contextlib.closing(_LazySessions(access.target)) as sessions:
        same = _credentials_check(target, access)
        yield BlobMemory(
            found.store,
            found.reference,
            target,
            sessions=sessions,
            has_same_credentials=same,
        )


def _credentials_check(target: Reference, access: Access) -> Callable[[str], bool]:
    """Return a function that compares credentials with those for the destination."""

    def has_same(repository: str) -> bool:
        find, cancel = access.session().credentials.find, access.cancel
        path = repository.removeprefix(f"{target.domain}/")
        own = find(target.domain, target.path, cancel=cancel)
        return find(target.domain, path, cancel=cancel) == own

    return has_same


class _LazySessions:
    """The upload sessions of a store, which is opened for the first large blob.

    A copy between registries needs no store otherwise.
    """

    def __init__(self, store: Callable[[], LocalStore]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()
        self._sessions: SavedSessions | None = None

    def load(self, repository: str, digest: Digest) -> str | None:
        found = self._open()
        return None if found is None else found.load(repository, digest)

    def save(self, repository: str, digest: Digest, url: str) -> None:
        found = self._open()
        if found is not None:
            found.save(repository, digest, url)

    def forget(self, repository: str, digest: Digest) -> None:
        if self._sessions is not None:
            self._sessions.forget(repository, digest)

    def close(self) -> None:
        self._opened.close()

    def _open(self) -> SavedSessions | None:
        with self._lock, contextlib.suppress(StoreError):
            if self._sessions is None:
                self._sessions = self._opened.enter_context(self._store().upload_sessions())
        return self._sessions
