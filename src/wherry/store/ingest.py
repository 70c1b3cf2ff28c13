"""An operation that adds to a store: blobs first, then documents, then names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.errors import NotFound, StoreError
from wherry.store import documents, graph, images, leases, refs, subjects
from wherry.store import provenance as origins
from wherry.store.os_errors import translate_os_errors
from wherry.store.v1_layers import V1LayerReceiver

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence
    from types import TracebackType

    from wherry.content.cancel import CancelToken
    from wherry.content.pipeline import Limits
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.platform import Platform
    from wherry.model.reference import Reference
    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database
    from wherry.store.images import ImageRecord
    from wherry.store.repository_changes import RepositoryChanges

_UNFINISHED = "names.new"  # a copy of the names whose writer may have been killed


class Ingest(V1LayerReceiver):
    """Adds blobs, documents and names to a store, under one lease.

    Use it as a context manager. Methods may be called from any thread.
    """

    def __init__(self, files: BlobFiles, db: Database, limits: Limits) -> None:
        super().__init__(files, db, limits)
        self.renamed = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            lease = self._lease
            unfinished = self.renamed or self._files.root.exists(_UNFINISHED)
            if lease is not None and lease.is_ours and unfinished:
                self._save_names()
        finally:
            super().__exit__(kind, error, trace)

    def _save_names(self) -> None:
        """Copy the names beside the database; a failure does not undo the operation."""
        from wherry.store import backup

        with contextlib.suppress(OSError, StoreError):
            backup.save(self.db, self._files.root)

    def hold_below(self, root: Digest) -> None:
        """Keep every stored blob below ``root`` until the lease ends."""
        with self.db.write(durable=False) as connection:
            for digest in graph.closure(connection, [str(root)]):
                if self._files.has(digest):
                    leases.hold(connection, self.name, digest)

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
        known_as: Digest | None = None,
    ) -> None:
        """Store a manifest or index and its edges. Idempotent.

        A child that was wanted once stays wanted, so the platforms of an index add up.

        Args:
            descriptor: The digest of the bytes and the media type.
            raw: The bytes of the document.
            children: The digests that the document lists, and whether each is wanted.
            cancel: Ends the wait for another writer of the same document.
            known_as: The digest under which registries serve the document, if it is not that of
                the bytes, as with signed schema1.
        """
        self.put_bytes(descriptor, raw, cancel)
        with self.db.write() as connection:
            documents.add(
                connection,
                descriptor.digest,
                known_as or descriptor.digest,
                descriptor.media_type,
                children,
            )
            subjects.record(connection, descriptor.digest, raw)

    @contextlib.contextmanager
    def change_repository(
        self, name: Reference, host: Platform, needed: Collection[Digest] = ()
    ) -> Iterator[RepositoryChanges]:
        """Yield the changes of a repository, in one write transaction.

        Args:
            name: The repository.
            host: The platform of the image that a name of an index shows.
            needed: Blobs below what gets a name. The caller checks that they are stored.
        """
        from wherry.store.repository_changes import RepositoryChanges

        if needed:
            self.hold(needed)
        self._sync()
        with self.db.write() as connection:
            changes = RepositoryChanges(connection, self._files, name, host)
            yield changes
        self.renamed |= changes.renamed

    def commit(
        self,
        records: Sequence[ImageRecord],
        manifest: Digest,
        root: Digest,
        names: Collection[Reference],
        provenance: tuple[str, Collection[Digest]] | None = None,
    ) -> None:
        """Record complete images and pin ``names`` on ``root``, in one transaction.

        Args:
            records: The images that are complete.
            manifest: The manifest of the image that the names show.
            root: The document that the names stand for.
            names: Tags and digests. A digest beside a tag of the same repository is removed
                together with the tag; a digest alone is a name like any other.
            provenance: A repository (``host/path``) and the blobs that it is known to have.

        Raises:
            NotFound: Some of an image is missing. A lease does not keep a damaged file that
                another process removes to repair it.
        """
        self._sync()
        tagged = {name.name for name in names if name.tag is not None}
        with self.db.write() as connection:
            for record in records:
                self._require(connection, root, record.manifest)
                images.add_image(connection, record)
            for name in names:
                kept = name.tag is not None or name.name not in tagged
                self.renamed |= refs.set_ref(connection, name, root, manifest, kept=kept)
            if provenance is not None:
                origins.record(connection, *provenance)

    def pin(self, reference: Reference, root: Digest, manifest: Digest) -> None:
        """Give a stored image one more name, or move the name to it. Idempotent.

        Raises:
            NotFound: Some of the image is missing; the name stays as it was.
        """
        self._sync()
        with self.db.write() as connection:
            # The image may have been collected since the caller saw it. The files alone do not
            # tell: they may be about to go, or to come back.
            if images.find_image(connection, manifest) is None:
                raise _incomplete(manifest)
            if not graph.is_known(connection, str(root)):
                raise _incomplete(root)
            self._require(connection, root, manifest)
            self.renamed |= refs.set_ref(connection, reference, root, manifest)

    def _require(self, connection: sqlite3.Connection, root: Digest, manifest: Digest) -> None:
        """Raise `NotFound` unless all of an image is stored.

        Call it in the transaction that names the image.
        """
        for digest in sorted(graph.needed(connection, str(root), str(manifest))):
            if not self._files.has(digest):
                raise _incomplete(digest)

    def drop(self, connection: sqlite3.Connection, references: Collection[Reference]) -> None:
        """Remove names in the caller's transaction; the images stay until they are collected."""
        refs.remove(connection, references)
        self.renamed |= bool(references)

    def _sync(self) -> None:
        """Flush the names of blobs that other operations stored.

        Such an operation may not have reached its own fsync yet.
        """
        with translate_os_errors(self.db.path):
            for algorithm in sorted(self._unsynced):
                self._files.sync(algorithm)
        self._unsynced.clear()


def _incomplete(missing: object) -> NotFound:
    return NotFound(
        f"{missing} is missing from the image", hint="pull the image again to repair it"
    )
