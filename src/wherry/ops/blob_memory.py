"""What a copy knows of blobs from earlier pulls and pushes, and what it adds to that."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.model.address import Where
from wherry.model.record import Record

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

    def repositories(self, _blob: Descriptor) -> tuple[str, ...]:
        """Return repositories of the destination's registry that have a blob, best first."""
        if self.destination is None or self.origin is None:
            return ()
        same = self.origin.domain == self.destination.domain
        return (self.origin.path,) if same and self.origin.name != self.destination.name else ()

    def packed(self, _layer: Descriptor, _compression: Compression) -> Descriptor | None:
        """Return the blob that a layer becomes, if an earlier copy has recorded it."""
        return None

    def is_from_registry(self, _layer: Digest) -> bool:
        """Tell whether a layer came from a registry, or is known to be in one, as it is."""
        return False

    def remember_packed(self, layer: Digest, compression: Compression, blob: Descriptor) -> None:
        """Record what a layer has become."""

    def remember_stored(self, digests: Sequence[Digest]) -> None:
        """Record the blobs that the destination has."""

    def forget_mount(self, blob: Digest, repository: str) -> None:
        """Drop the record of a repository that did not let a blob be mounted."""


@contextlib.contextmanager
def open_memory(found: CopySource, destination: Address) -> Iterator[BlobMemory]:
    """Yield what is known for a copy from an opened source."""
    target = destination.reference if destination.where is Where.REGISTRY else None
    yield BlobMemory(found.store, found.reference, target)
