"""One operation's hold on a store: what it puts or finds there, and what it names, at the end."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from wherry.errors import NotFound, StoreError
from wherry.store import graph, images, leases, refs
from wherry.store.blob_receiver import BlobReceiver
from wherry.store.os_errors import translated

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence
    from types import TracebackType

    from wherry.content.cancel import CancelToken
    from wherry.content.pipeline import Limits
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database
    from wherry.store.images import ImageRecord

_UNFINISHED = "names.new"  # a copy of the names whose writer may have died


class Ingest(BlobReceiver):
    """What adds to a store under one lease: blobs, then documents, and names last.

    Use as a context manager; methods may be called from any thread.
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
        """Copy the names beside the database; what has been done is done if that fails."""
        from wherry.store import backup

        with contextlib.suppress(OSError, StoreError):
            backup.save(self.db, self._files.root)

    def hold_below(self, root: Digest) -> None:
        """Keep what is stored of an image, all that is below ``root``, until the lease ends."""
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
        """Store a manifest or index and its edges: each child, and whether it is wanted.

        A child that was wanted once stays so: platforms of an index add up. ``known_as`` is
        the digest that registries call it by where that is not the bytes'. Idempotent.
        """
        self.put_bytes(descriptor, raw, cancel)
        with self.db.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
                (
                    str(descriptor.digest),
                    str(known_as or descriptor.digest),
                    descriptor.media_type,
                ),
            )
            connection.executemany(
                "INSERT INTO edges VALUES (?, ?, ?) ON CONFLICT (parent, child)"
                " DO UPDATE SET wanted = max(wanted, excluded.wanted)",
                [(str(descriptor.digest), str(child), int(wanted)) for child, wanted in children],
            )

    def commit(
        self,
        records: Sequence[ImageRecord],
        manifest: Digest,
        root: Digest,
        names: Collection[Reference],
        provenance: tuple[str, Collection[Digest]] | None = None,
    ) -> None:
        """Record complete images and pin ``names`` on ``root``, all at once, at the end.

        ``manifest`` is that of the image which the names show. A digest beside a tag of the same
        repository goes with it; alone it is a name like any other.
        ``provenance`` is a repository (``host/path``) and the blobs that it is known to have.
        Raises `NotFound` if some of an image is missing: leases hold nothing that is damaged and
        being mended.
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
                repository, digests = provenance
                now = int(time.time())
                connection.executemany(
                    "INSERT OR REPLACE INTO provenance VALUES (?, ?, ?)",
                    [(str(digest), repository, now) for digest in digests],
                )

    def pin(self, reference: Reference, root: Digest, manifest: Digest) -> None:
        """Give a stored image one more name, or move the name to it. Idempotent.

        Raises `NotFound` if some of the image is missing, and leaves the name as it was.
        """
        self._sync()
        with self.db.write() as connection:
            # Collected since the caller saw it? Files may be there, about to go or coming back.
            if images.find_image(connection, manifest) is None:
                raise _incomplete(manifest)
            if not graph.is_known(connection, str(root)):
                raise _incomplete(root)
            self._require(connection, root, manifest)
            self.renamed |= refs.set_ref(connection, reference, root, manifest)

    def _require(self, connection: sqlite3.Connection, root: Digest, manifest: Digest) -> None:
        """Raise `NotFound` unless all of an image is there; in the transaction that names it."""
        for digest in sorted(graph.needed(connection, str(root), str(manifest))):
            if not self._files.has(digest):
                raise _incomplete(digest)

    def drop(self, connection: sqlite3.Connection, references: Collection[Reference]) -> None:
        """Drop names in a transaction of the caller's; images stay until they are collected."""
        refs.remove(connection, references)
        self.renamed |= bool(references)

    def _sync(self) -> None:
        """Make the names of blobs that others stored survive a loss of power, as ours do.

        They may have been renamed by an operation that has not come to its fsync yet.
        """
        with translated(self.db.path):
            for algorithm in sorted(self._unsynced):
                self._files.sync(algorithm)
        self._unsynced.clear()


def _incomplete(missing: object) -> NotFound:
    return NotFound(f"{missing} is missing from the image", hint="pull the image again to mend it")
