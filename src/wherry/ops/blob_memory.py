"""What a copy knows of blobs from earlier pulls and pushes, and what it adds to that."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.model.address import Where
from wherry.model.record import Record
from wherry.transfer.mount_candidates import mount_candidates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.model.address import Address
    from wherry.model.compression import Compression
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.ops.copy_source import CopySource
    from wherry.registry.upload_options import SavedSessions
    from wherry.store import LocalStore


class BlobMemory(Record):
    """Where blobs are known to be, and what layers become by a compression.

    Attributes:
        store: The store that is the source; None knows and keeps nothing.
        origin: The repository that is the source.
        destination: The repository that is the destination.
        sessions: The upload sessions that the store keeps.
    """

    store: LocalStore | None = None
    origin: Reference | None = None
    destination: Reference | None = None
    sessions: SavedSessions | None = None

    def repositories(self, blob: Descriptor) -> tuple[str, ...]:
        """Return repositories of the destination's registry that have a blob, best first."""
        if self.destination is None:
            return ()
        known: list[tuple[str, int]] = []
        if self.origin is not None:
            known = [(self.origin.name, 0)]
        elif self.store is not None:
            known = self.store.provenance_of([blob.digest]).get(blob.digest, [])
        found = mount_candidates(self.destination.name, blob.size, known)
        return tuple(filter(None, found))

    def packed(self, layer: Descriptor, compression: Compression) -> Descriptor | None:
        """Return the blob that a layer becomes, if an earlier copy has recorded it."""
        if self.store is None:
            return None
        found = self.store.find_packed(layer.digest, str(compression))
        if found is None:
            return None
        docker = layer.media_type.startswith("application/vnd.docker.")
        return found._replace(media_type=compression.layer_type(docker=docker))

    def is_from_registry(self, layer: Digest) -> bool:
        """Tell whether a layer came from a registry, or is known to be in one, as it is."""
        return self.store is not None and bool(self.store.provenance_of([layer]))

    def remember_packed(self, layer: Digest, compression: Compression, blob: Descriptor) -> None:
        """Record what a layer has become."""
        if self.store is not None:
            self.store.record_packed(layer, str(compression), blob)

    def remember_stored(self, digests: Sequence[Digest]) -> None:
        """Record the blobs that the destination has."""
        if self.store is not None and self.destination is not None:
            self.store.record_provenance(self.destination.name, digests)

    def forget_mount(self, blob: Digest, repository: str) -> None:
        """Drop the record of a repository that did not let a blob be mounted."""
        if self.store is not None and self.destination is not None:
            self.store.forget_provenance(f"{self.destination.domain}/{repository}", blob)


@contextlib.contextmanager
def open_memory(found: CopySource, destination: Address) -> Iterator[BlobMemory]:
    """Yield what is known for a copy from an opened source."""
    target = destination.reference if destination.where is Where.REGISTRY else None
    if found.store is None or target is None:
        yield BlobMemory(found.store, found.reference, target)
        return
    with found.store.upload_sessions() as sessions:
        yield BlobMemory(found.store, found.reference, target, sessions)
