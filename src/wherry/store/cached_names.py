"""What the server of a store knows of other registries: their tags, manifests and blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.store import cached, graph, refs, repository_blobs

if TYPE_CHECKING:
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.store.cached import CachedName
    from wherry.store.store_handle import StoreHandle


class CachedNames:
    """Looks up and changes what is known of other registries. Thread-safe."""

    def __init__(self, handle: StoreHandle) -> None:
        self._handle = handle

    def find(self, reference: Reference) -> CachedName | None:
        """Look up a tag or a digest."""
        db = self._handle.database()
        if db is None:
            return None
        with db.read() as connection:
            return cached.find(connection, reference)

    def confirm(self, reference: Reference, root: Digest) -> None:
        """Record that the registry has just confirmed a tag or a digest."""
        with self._handle.writable_database().write(durable=False) as connection:
            cached.record(connection, reference, root)

    def touch(self, reference: Reference) -> None:
        """Record that a client has asked for a tag or a digest."""
        with self._handle.writable_database().write(durable=False) as connection:
            cached.touch(connection, reference)

    def forget(self, reference: Reference) -> None:
        """Record that the registry does not have a tag any more. Idempotent."""
        with self._handle.writable_database().write(durable=False) as connection:
            cached.remove(connection, [reference])

    def has(self, repository: str, digest: Digest) -> bool:
        """Tell whether a repository (``host/path``) is known to have a blob or a document."""
        db = self._handle.database()
        if db is None:
            return False
        with db.read() as connection:
            return bool(cached.names_above(connection, repository, digest)) or repository_blobs.has(
                connection, repository, digest
            )

    def names_above(self, repository: str, digest: Digest) -> list[tuple[Reference, Digest]]:
        """Return the names of a repository that lead to a digest, with their roots."""
        db = self._handle.database()
        if db is None:
            return []
        with db.read() as connection:
            return cached.names_above(connection, repository, digest)

    def parents(self, digest: Digest) -> list[Digest]:
        """Return the documents that list a blob."""
        db = self._handle.database()
        if db is None:
            return []
        with db.read() as connection:
            return graph.parents_of(connection, digest)

    def add_blob(self, repository: str, digest: Digest) -> None:
        """Record that a repository has a blob, unless a known manifest there lists it."""
        with self._handle.writable_database().write(durable=False) as connection:
            if not cached.names_above(connection, repository, digest):
                repository_blobs.add(connection, repository, [digest])

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository that are known, in order."""
        db = self._handle.database()
        if db is None:
            return []
        with db.read() as connection:
            found = {*cached.tags(connection, repository), *refs.tags(connection, repository)}
        return sorted(found)
