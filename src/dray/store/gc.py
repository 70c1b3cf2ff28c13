"""Garbage collection: what no name and no operation holds goes, whoever else is at work.

A mark is worth what the database says, so marking and unlinking happen in one transaction:
nobody can lease or name a blob between the two. To let others in, a transaction takes a batch
of blobs at most; the next one marks anew if anybody has written in the meantime.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from dray.store import leases, refs
from dray.store.graph import reachable
from dray.store.locks import lock_abandoned

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection
    from pathlib import Path

    from dray.store.blobs import BlobFiles
    from dray.store.db import Database

BATCH = 500  # blobs that one transaction unlinks
_DOCUMENT_KEYS = (("images", "manifest"), ("documents", "digest"), ("edges", "parent"))
_KEYS = (("blobs", "digest"), ("provenance", "digest"))


class Collected(NamedTuple):
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


class Collector:
    """One collection; ``lease`` is the name of the lease that it works under."""

    def __init__(self, root: Path, files: BlobFiles, db: Database, lease: str = "") -> None:
        self._leases = root / "leases"
        self._ingest = root / "ingest"
        self._files = files
        self._db = db
        self._lease = lease
        self.renamed = False  # whether names have gone
        self._digests: list[str] = []
        self._images: list[str] = []
        self._documents: set[str] = set()
        self._size = 0

    def collect(self, only: Collection[str] | None = None) -> Collected:
        """Remove what nothing holds, of ``only`` these digests or of everything.

        In the latter case names go too that held nothing by themselves and whose image is gone;
        in the former other images without a name stay whole, they wait for the latter.
        """
        candidates = self._everything() if only is None else set(only)
        garbage: list[str] = []
        seen = None
        while True:
            with self._db.write() as connection:
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != seen:  # somebody else has written since the last mark
                    for lease in leases.dead(connection, self._leases):
                        leases.release(connection, lease)
                    held = reachable(connection, only)
                    if only is None:
                        self.renamed |= refs.drop_loose(connection, held)
                    garbage = self._garbage(connection, candidates - held)
                    seen = version
                batch, garbage = garbage[:BATCH], garbage[BATCH:]
                if batch:
                    self._remove(connection, batch)
            if not garbage:
                return self._collected()
            candidates.difference_update(batch)

    def plan(self) -> Collected:
        """Return what `collect` would remove of everything; nothing is changed."""
        candidates = self._everything()
        with self._db.snapshot() as connection:
            held = reachable(connection, dead=leases.dead(connection, self._leases))
            garbage = self._garbage(connection, candidates - held)
            for start in range(0, len(garbage), BATCH):
                self._account(connection, garbage[start : start + BATCH])
        return self._collected()

    def _garbage(self, connection: sqlite3.Connection, garbage: set[str]) -> list[str]:
        """Put documents first: an image is unknown before its layers begin to go.

        In order, so that a batch concerns few pages of the database.
        """
        if not garbage:
            return []
        rows = connection.execute("SELECT digest FROM documents").fetchall()
        documents = garbage.intersection(digest for (digest,) in rows)
        self._documents |= documents
        return [*sorted(documents), *sorted(garbage - documents)]

    def _everything(self) -> set[str]:
        """Return all that could be collected: files, and rows whose files are gone."""
        found = self._files.all()
        with self._db.read() as connection:
            (rows,) = connection.execute("SELECT count(*) FROM blobs").fetchone()
            if rows > len(found):
                found.update(digest for (digest,) in connection.execute("SELECT digest FROM blobs"))
        return found

    def _collected(self) -> Collected:
        images = list(dict.fromkeys(self._images))
        return Collected(self._digests, self._size, images, frozenset(self._documents))

    def _account(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        many = ",".join("?" * len(batch))
        rows = connection.execute(f"SELECT digest, size FROM blobs WHERE digest IN ({many})", batch)  # noqa: S608 - only marks
        sizes = dict(rows.fetchall())
        self._size += sum(sizes.values())
        self._size += sum(self._files.size_of(digest) for digest in batch if digest not in sizes)
        if not self._documents.isdisjoint(batch):
            rows = connection.execute(f"SELECT id FROM images WHERE manifest IN ({many})", batch)  # noqa: S608 - as above
            self._images += [image_id for (image_id,) in rows]
        self._digests += batch

    def _remove(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        self._account(connection, batch)
        for digest in batch:
            self._files.unlink(digest)
        many = ",".join("?" * len(batch))
        for table, key in _KEYS if self._documents.isdisjoint(batch) else _DOCUMENT_KEYS + _KEYS:
            connection.execute(f"DELETE FROM {table} WHERE {key} IN ({many})", batch)  # noqa: S608 - only names and marks

    def run(self, *, dry_run: bool) -> Collected:
        """Remove all that nothing holds, and what dead operations left."""
        found = self.plan() if dry_run else self.collect()
        parts, size = self._sweep(dry_run=dry_run)
        return found._replace(parts=parts, part_size=size)

    def _sweep(self, *, dry_run: bool) -> tuple[int, int]:
        """Remove leases and parts of dead operations; count the parts, and their bytes.

        Parts stay while anybody adds to the store: a pull may be about to go on with them.
        """
        if not dry_run:
            leases.sweep(self._leases)
        count = size = 0
        if self._ingest.is_dir() and not leases.living(self._leases, self._lease):
            for path in sorted(self._ingest.iterdir()):
                lock = lock_abandoned(path)
                if lock is None:
                    continue
                count += 1
                size += os.fstat(lock).st_size
                if not dry_run:
                    path.unlink(missing_ok=True)
                os.close(lock)
        return count, size
