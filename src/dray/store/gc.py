"""Garbage collection: what no name and no operation holds goes, whoever else is at work.

A mark is worth what the database says, so marking and unlinking happen in one transaction:
nobody can lease or name a blob between the two. To let others in, a transaction takes a batch
of blobs at most; the next one marks anew if anybody has written in the meantime.

Files do not come back when a transaction does: who is killed in one must leave nothing that
speaks of what he has unlinked. So names and documents are forgotten first, in transactions of
their own, and then files go.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from dray.store import leases, refs
from dray.store.graph import reachable
from dray.store.locks import lock_abandoned

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from dray.store.blobs import BlobFiles
    from dray.store.db import Database

BATCH = 900  # blobs that one transaction unlinks; SQLite may take 999 parameters
_UNLINKERS = 2  # threads that do it: half of the time is the system's, which works in parallel


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


class _Garbage(NamedTuple):
    """What is to go: documents to be forgotten, and then all files; taken from the end.

    In order, so that a batch concerns few pages of the database.
    """

    documents: list[str]
    files: list[str]


def _garbage(connection: sqlite3.Connection, candidates: set[str], held: set[str]) -> _Garbage:
    """Return which ``candidates`` are not ``held``, and all documents that are not.

    Those too that have come since somebody looked for candidates: none may stay without its
    layers.
    """
    documents = {digest for (digest,) in connection.execute("SELECT digest FROM documents")}
    return _Garbage(sorted(documents - held), sorted(candidates - held))


def _take(some: list[str]) -> list[str]:
    batch = some[-BATCH:]
    del some[-BATCH:]
    return batch


def _marks(batch: Sequence[str]) -> str:
    return ",".join("?" * len(batch))


def _delete(
    connection: sqlite3.Connection, keys: Sequence[tuple[str, str]], batch: Sequence[str]
) -> None:
    for table, key in keys:
        connection.execute(f"DELETE FROM {table} WHERE {key} IN ({_marks(batch)})", batch)  # noqa: S608 - only names and marks


@contextlib.contextmanager
def _unlinking(files: BlobFiles, digests: Sequence[str]) -> Iterator[None]:
    """Remove files while the block runs, all of them before it is left."""
    failed: list[Exception] = []

    def unlink(some: Sequence[str]) -> None:
        try:
            files.unlink(some)
        except Exception as error:  # noqa: BLE001 - raised again where the block ends
            failed.append(error)

    shares = [digests[start::_UNLINKERS] for start in range(_UNLINKERS)]
    threads = [threading.Thread(target=unlink, args=(share,)) for share in shares if share]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        _join(threads)
    if failed:
        raise failed[0]


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for threads, whatever interrupts: they must not outlive the transaction."""
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        _join(threads)
        raise


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
        garbage = _Garbage([], [])
        seen = None
        while True:
            with self._db.write() as connection:
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                dropped = False
                if version != seen:  # somebody else has written since the last mark
                    for lease in leases.dead(connection, self._leases):
                        leases.release(connection, lease)
                    held = reachable(connection, only)
                    if only is None:
                        dropped = refs.drop_loose(connection, held)
                        self.renamed |= dropped
                    garbage = _garbage(connection, candidates, held)
                    seen = version
                if garbage.documents:
                    self._forget(connection, _take(garbage.documents))
                elif garbage.files and not dropped:
                    batch = _take(garbage.files)
                    self._remove(connection, batch)
                    candidates.difference_update(batch)
            if not garbage.documents and not garbage.files:
                return self._collected()

    def plan(self) -> Collected:
        """Return what `collect` would remove of everything; nothing is changed."""
        candidates = self._everything()
        with self._db.snapshot() as connection:
            held = reachable(connection, dead=leases.dead(connection, self._leases))
            garbage = _garbage(connection, candidates, held)
            while garbage.documents:
                self._account_documents(connection, _take(garbage.documents))
            while garbage.files:
                self._account(connection, _take(garbage.files))
        return self._collected()

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

    def _account_documents(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        query = f"SELECT id FROM images WHERE manifest IN ({_marks(batch)})"  # noqa: S608 - only marks
        self._images += [image_id for (image_id,) in connection.execute(query, batch)]
        self._documents.update(batch)

    def _forget(self, connection: sqlite3.Connection, batch: list[str]) -> None:
        """Drop what the database says of documents."""
        self._account_documents(connection, batch)
        keys = (("images", "manifest"), ("documents", "digest"), ("edges", "parent"))
        _delete(connection, keys, batch)

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
        with _unlinking(self._files, batch):
            _delete(connection, (("blobs", "digest"), ("provenance", "digest")), batch)

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
