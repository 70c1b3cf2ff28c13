"""Garbage collection: remove what no name and no running operation keeps.

Marking and unlinking happen in one write transaction, so that no other process can lease or name
a blob between the two. A transaction removes one batch of blobs, to let other writers in. The
next one marks again if another connection has written in the meantime.

A rollback does not bring back unlinked files. A process that is killed must not leave rows of
files that it has unlinked. So the rows of names and documents are deleted first, in transactions
of their own, and the files after that.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from wherry.errors import StoreFull
from wherry.model.record import Record
from wherry.store import cached, incoming_files, leases, refs, reserve
from wherry.store.garbage import Garbage, Unlinker
from wherry.store.graph import Edges, reachable
from wherry.store.locks import lock_abandoned

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database

BATCH = 900  # blobs that one transaction unlinks; SQLite may take 999 parameters
_DOCUMENT_KEYS = (
    ("images", "manifest"),
    ("documents", "digest"),
    ("edges", "parent"),
    ("subjects", "document"),
)
_BLOB_KEYS = (
    ("blobs", "digest"),
    ("provenance", "digest"),
    ("packed", "source"),
    ("v1_ids", "layer"),
    ("repository_blobs", "digest"),
)
_EXPIRY_SECONDS = 30 * 86_400  # of facts about blobs that are not stored


class GarbageReport(Record):
    """What a collection removed, or would remove.

    Attributes:
        digests: The digests of the blobs, as text.
        size: Bytes of the blobs together.
        images: The ids of the images that the blobs belonged to.
        documents: The manifests and indexes among the blobs.
        parts: The number of interrupted downloads and expired uploads.
        part_size: Their bytes together.
        unpacked: The number of unpacked layers.
        unpacked_size: Their bytes together.
    """

    digests: list[str]
    size: int
    images: list[str]
    documents: frozenset[str] = frozenset()
    parts: int = 0
    part_size: int = 0
    unpacked: int = 0
    unpacked_size: int = 0

    @property
    def layers(self) -> list[str]:
        """The blobs that are neither documents nor configs of images."""
        others = self.documents.union(self.images)
        return [digest for digest in self.digests if digest not in others]


def _marks(batch: Sequence[str]) -> str:
    return ",".join("?" * len(batch))


def _delete(
    connection: sqlite3.Connection, keys: Sequence[tuple[str, str]], batch: Sequence[str]
) -> None:
    for table, key in keys:
        connection.execute(f"DELETE FROM {table} WHERE {key} IN ({_marks(batch)})", batch)  # noqa: S608 - only names and marks


def _documents(connection: sqlite3.Connection) -> set[str]:
    """Return all documents, including those added since the candidates were chosen.

    A document that nothing keeps must not stay, because its layers are removed.
    """
    return {digest for (digest,) in connection.execute("SELECT digest FROM documents")}


def drop_outdated(connection: sqlite3.Connection) -> None:
    """Remove old facts about blobs that are not stored, such as those of layers packed anew.

    The facts about a stored blob are removed with its file.
    """
    cached.drop_unused(connection)
    before = int(time.time()) - _EXPIRY_SECONDS
    connection.execute(
        "DELETE FROM packed WHERE seen < ? AND source NOT IN (SELECT digest FROM blobs)", (before,)
    )
    connection.execute(
        "DELETE FROM provenance WHERE seen < ? AND digest NOT IN"
        " (SELECT digest FROM blobs UNION SELECT digest FROM packed)",
        (before,),
    )
    connection.execute(
        "DELETE FROM v1_ids WHERE seen < ? AND layer NOT IN (SELECT digest FROM blobs)", (before,)
    )


class Collector:
    """One collection."""

    def __init__(self, files: BlobFiles, db: Database) -> None:
        self.root = files.root
        self._files = files
        self._db = db
        self.renamed = False  # whether names were removed
        self._digests: list[str] = []
        self._images: list[str] = []
        self._documents: set[str] = set()
        self._size = 0

    def collect(self, only: Collection[str] | None = None) -> GarbageReport:
        """Remove what nothing keeps, among all blobs or among ``only`` these digests.

        A collection of all blobs also removes the names that keep nothing by themselves and
        whose image is gone. With ``only``, other images without a name stay complete.
        """
        candidates = self._everything() if only is None else set(only)
        garbage, seen, most = Garbage((), ()), None, BATCH
        while True:
            counted = len(self._digests), self._size
            removed: list[str] = []
            try:
                with self._db.write() as connection:
                    # The counter belongs to the connection, which a fork replaces.
                    version = (
                        connection,
                        connection.execute("PRAGMA data_version").fetchone()[0],
                    )
                    dropped = False
                    if version != seen:  # another connection has written since the last mark
                        # On a full disk, files have to go as soon as their documents do.
                        dropped, garbage = self._mark(connection, candidates, only, most < BATCH)
                        seen = version
                    if not dropped:
                        removed = self._step(connection, garbage, most)
            except StoreFull:
                if most == 1 and not reserve.give_up(self.root):
                    raise
                # The database's log grows with each removal: try again in smaller steps.
                seen, most, removed = None, max(1, most // 30), []
                del self._digests[counted[0] :]
                self._size = counted[1]
            candidates.difference_update(removed)
            if most < BATCH:
                self._db.checkpoint()
                most = min(BATCH, 2 * most) if removed else most
            if seen is not None and not garbage.documents and not garbage.files:
                return self._collected()

    def _mark(
        self,
        connection: sqlite3.Connection,
        candidates: set[str],
        only: Collection[str] | None,
        in_turns: bool,  # noqa: FBT001 - handed on
    ) -> tuple[bool, Garbage]:
        """Find the garbage; also return whether names were removed, which needs a commit."""
        for lease in leases.dead(connection, self.root):
            leases.release(connection, lease)
        edges = Edges(connection)
        held = reachable(connection, edges, only)
        dropped = only is None and refs.drop_loose(connection, held)
        self.renamed |= dropped
        documents = _documents(connection) - held
        candidates |= documents
        children = edges.children if in_turns else None
        return dropped, Garbage(documents, candidates - held, children)

    def _step(self, connection: sqlite3.Connection, garbage: Garbage, most: int) -> list[str]:
        """Unlink some files and return them, or delete the rows of some documents.

        Usually all documents come first, so that the files go in the order of their digests. On
        a full disk files come first, because they free space.
        """
        if garbage.documents and (most == BATCH or not garbage.files):
            self._forget(connection, garbage.take_documents(most))
            return []
        batch = garbage.take_files(most)
        self._remove(connection, batch)
        return batch

    def plan(self) -> GarbageReport:
        """Return what `collect` would remove among all blobs; changes nothing."""
        candidates = self._everything()
        with self._db.snapshot() as connection:
            edges = Edges(connection)
            dead = leases.dead(connection, self.root)
            held = reachable(connection, edges, dead=dead)
            garbage = Garbage(_documents(connection) - held, candidates - held)
            while garbage.documents:
                self._account_documents(connection, garbage.take_documents(BATCH))
            while garbage.files:
                self._account(connection, garbage.take_files(BATCH))
        return self._collected()

    def _everything(self) -> set[str]:
        """Return all candidates: files, and rows whose files are gone."""
        found = self._files.all()
        with self._db.read() as connection:
            (rows,) = connection.execute("SELECT count(*) FROM blobs").fetchone()
            if rows > len(found):
                found.update(digest for (digest,) in connection.execute("SELECT digest FROM blobs"))
        return found

    def _collected(self) -> GarbageReport:
        images = list(dict.fromkeys(self._images))
        return GarbageReport(self._digests, self._size, images, frozenset(self._documents))

    def _account_documents(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        query = f"SELECT id FROM images WHERE manifest IN ({_marks(batch)})"  # noqa: S608 - only marks
        self._images += [image_id for (image_id,) in connection.execute(query, batch)]
        self._documents.update(batch)

    def _forget(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        """Delete the rows of documents."""
        self._account_documents(connection, batch)
        _delete(connection, _DOCUMENT_KEYS, batch)

    def _account(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        recorded = f"FROM blobs WHERE digest IN ({_marks(batch)})"
        count, size = connection.execute(f"SELECT count(*), sum(size) {recorded}", batch).fetchone()
        self._size += size or 0
        if count < len(batch):
            rows = connection.execute(f"SELECT digest {recorded}", batch)
            lost = set(batch).difference(digest for (digest,) in rows)
            self._size += sum(map(self._files.size_of, lost))
        self._digests += batch

    def _remove(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        """Unlink the files of blobs and delete their rows."""
        self._account(connection, batch)
        unlinker = Unlinker(self._files, batch)
        try:
            unlinker.allow()
            _delete(connection, _BLOB_KEYS, batch)
        finally:
            unlinker.join()


def sweep(files: BlobFiles, *, dry_run: bool) -> tuple[int, int]:
    """Remove interrupted downloads and expired uploads; return their number and their bytes.

    Downloads stay while any operation adds to the store: a pull may be about to resume one.
    """
    count, size = incoming_files.sweep(files, dry_run=dry_run)
    parts = files.parts()
    if parts and not leases.is_any_alive(files.root):
        for name in parts:
            lock = lock_abandoned(files.ingest, name)
            if lock is None:
                continue
            count += 1
            size += os.fstat(lock.descriptor).st_size
            if not dry_run:
                files.ingest.unlink(name)
            lock.release()
    return count, size
