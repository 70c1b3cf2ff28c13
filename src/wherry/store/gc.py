"""Garbage collection: what no name and no operation holds goes, whoever else is at work.

A mark is worth what the database says, so marking and unlinking happen in one transaction:
nobody can lease or name a blob between the two. To let others in, a transaction takes a batch
of blobs at most; the next one marks anew if anybody has written in the meantime.

Files do not come back when a transaction does: who is killed in one must leave nothing that
speaks of what he has unlinked. So names and documents are forgotten first, in transactions of
their own, and then files go.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.errors import StoreFull
from wherry.model.record import Record
from wherry.store import leases, refs, reserve
from wherry.store.garbage import Garbage, Unlinker
from wherry.store.graph import Edges, reachable
from wherry.store.locks import lock_abandoned

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database

BATCH = 900  # blobs that one transaction unlinks; SQLite may take 999 parameters
_DOCUMENT_KEYS = (("images", "manifest"), ("documents", "digest"), ("edges", "parent"))
_BLOB_KEYS = (("blobs", "digest"), ("provenance", "digest"))


class GarbageReport(Record):
    """What was removed, or would be: digests of blobs as text, and the bytes that they took.

    ``images`` are the ids of the images that they made up, ``documents`` the manifests and
    indexes among them; ``parts`` counts downloads that nobody goes on with.
    """

    digests: list[str]
    size: int
    images: list[str]
    documents: frozenset[str] = frozenset()
    parts: int = 0
    part_size: int = 0

    @property
    def layers(self) -> list[str]:
        """What is neither a document nor the config of an image."""
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
    """Return all documents, those too that have come since somebody looked for candidates.

    None that nothing holds may stay: its layers go.
    """
    return {digest for (digest,) in connection.execute("SELECT digest FROM documents")}


class Collector:
    """One collection."""

    def __init__(self, files: BlobFiles, db: Database) -> None:
        self.root = files.root
        self._files = files
        self._db = db
        self.renamed = False  # whether names have gone
        self._digests: list[str] = []
        self._images: list[str] = []
        self._documents: set[str] = set()
        self._size = 0

    def collect(self, only: Collection[str] | None = None) -> GarbageReport:
        """Remove what nothing holds, of ``only`` these digests or of everything.

        In the latter case names go too that held nothing by themselves and whose image is gone;
        in the former other images without a name stay whole, they wait for the latter.
        """
        candidates = self._everything() if only is None else set(only)
        garbage, seen, most = Garbage((), ()), None, BATCH
        while True:
            counted = len(self._digests), self._size
            removed: list[str] = []
            try:
                with self._db.write() as connection:
                    # Of this connection: a fork makes another one, which counts anew.
                    version = (
                        connection,
                        connection.execute("PRAGMA data_version").fetchone()[0],
                    )
                    dropped = False
                    if version != seen:  # somebody else has written since the last mark
                        # Which files wait for which documents matters where room is scarce.
                        dropped, garbage = self._mark(connection, candidates, only, most < BATCH)
                        seen = version
                    if not dropped:
                        removed = self._step(connection, garbage, most)
            except StoreFull:
                if most == 1 and not reserve.give_up(self.root):
                    raise
                # The log of the database grows by what is removed; once more, in small steps.
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
        """Find the garbage; return whether names were dropped too, which has to be committed."""
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
        """Unlink some files, which are returned, or forget some documents.

        All documents first, so that files go in the order of all of them; files first where the
        room that they give back is wanted.
        """
        if garbage.documents and (most == BATCH or not garbage.files):
            self._forget(connection, garbage.take_documents(most))
            return []
        batch = garbage.take_files(most)
        self._remove(connection, batch)
        return batch

    def plan(self) -> GarbageReport:
        """Return what `collect` would remove of everything; nothing is changed."""
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
        """Return all that could be collected: files, and rows whose files are gone."""
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
        """Drop what the database says of documents."""
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
        """Unlink the files of blobs, and drop what is known of them."""
        self._account(connection, batch)
        unlinking = Unlinker(self._files, batch)
        try:
            unlinking.allow()
            _delete(connection, _BLOB_KEYS, batch)
        finally:
            unlinking.join()


def sweep(files: BlobFiles, *, dry_run: bool) -> tuple[int, int]:
    """Remove downloads that were broken off; return how many, and their bytes.

    They stay while anybody adds to the store: a pull may be about to go on with them.
    """
    count = size = 0
    parts = files.parts()
    if parts and not leases.living(files.root):
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
