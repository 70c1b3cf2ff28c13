"""Rebuild a lost or damaged database from the blobs and the copy of the names.

The blobs contain the documents and configs, and so the images. Their names come from
`wherry.store.backup`. DiffIDs are computed again when they are needed. The names by digest tell
from which repositories the blobs came.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from typing import TYPE_CHECKING

from wherry.errors import NotFound, StoreError, WherryError
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, digest_of, parse
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.store import images, leases, restore_names, subjects
from wherry.store.database_file import check_replaceable, exclusive
from wherry.store.db import Database
from wherry.store.stored_images import listed_digests, read_image, required_blobs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import TypeAlias

    from wherry.model.manifest import Document
    from wherry.model.schema1 import Schema1
    from wherry.store.blobs import BlobFiles
    from wherry.store.directory import Directory

    _Rows: TypeAlias = dict[str, tuple[int, str]]

_LOGS = ("-wal", "-shm", "-journal")
_TABLES = ("blobs", "documents", "edges", "images", "refs", "provenance", "subjects")


class RebuildReport(Record):
    """The result of a rebuild.

    Attributes:
        images: The number of complete images.
        names: The number of names.
        lost: The short names whose images are not complete, at most 10,000.
        unreadable: Damaged rows of the copy of the names, as text.
        more_lost: The number of lost names that ``lost`` leaves out.
    """

    images: int
    names: int
    lost: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    more_lost: int = 0


def rebuild(files: BlobFiles, name: str) -> RebuildReport:
    """Build a new database; the old one is kept beside it, as ``….damaged``.

    The new file is written, closed, read again and compared before it takes its place. A failure
    changes nothing.

    Raises:
        StoreError: Another process is adding to the store, the database has a newer version,
            the copy of the names or a document cannot be read, or the new file cannot be
            written.
    """
    root, new = files.root, f"{name}.new"
    with exclusive(root, name), _set_aside(root, name) as old:
        # After the move: before it, an operation could begin between the check and the move.
        if leases.is_any_alive(root):
            raise StoreError(
                "another process is adding to the store",
                hint="try again when it is done",
            ).within(root.path)
        _remove(root, new)
        try:
            found, written = _make(root, new, files, old)
            _check(root, new, written)
            for suffix in _LOGS:  # empty by now
                root.unlink(new + suffix)
            root.rename(new, name)
        except BaseException:
            with contextlib.suppress(OSError):
                _remove(root, new)
            raise
        root.sync()
        return found


def _make(root: Directory, new: str, files: BlobFiles, old: str) -> tuple[RebuildReport, _Rows]:
    """Write a new database and empty its log; return the report and a summary of its rows."""
    db = Database(root, new, locked=True)
    try:
        found = _Rebuild(db, files).run(old)
        with db.read() as connection:
            written = _rows(connection)
        db.settle()
    finally:
        db.close()
    return found, written


def _check(root: Directory, new: str, written: _Rows) -> None:
    """Raise `StoreError` unless the file, without its log, has the rows that were written."""
    log = root.check(f"{new}-wal")
    if log is not None and log.st_size:
        raise StoreError("the log was not emptied into the new database").within(root.where(new))
    db = Database(root, new, read_only=True)
    try:
        with db.read() as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise StoreError(f"the new database is damaged ({answer})").within(db.path)
            if _rows(connection) != written:
                raise StoreError("the new database lacks what was written to it").within(db.path)
    finally:
        db.close()


def _rows(connection: sqlite3.Connection) -> _Rows:
    """Return the number of rows and their hash for each table."""
    found = {}
    for table in _TABLES:
        count, hasher = 0, hashlib.sha256()
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):  # noqa: S608
            count += 1
            hasher.update(repr(row).encode())
        found[table] = count, hasher.hexdigest()
    return found


@contextlib.contextmanager
def _set_aside(root: Directory, name: str) -> Iterator[str]:
    """Move the database and its logs aside during the block, and back if the block fails.

    Yields their name during the block. The database that an earlier rebuild kept is replaced
    only after the block has succeeded.
    """
    check_replaceable(root, name)
    kept, aside = f"{name}.damaged", f"{name}.aside"
    if root.exists(aside):  # an earlier attempt was killed
        _move(root, aside, kept if root.exists(name) else name)
    there = [suffix for suffix in ("", *_LOGS) if root.exists(name + suffix)]
    old = aside if "" in there else kept  # logs without a database belong to the kept one
    moved: list[str] = []
    try:
        for suffix in there:
            root.rename(name + suffix, old + suffix)
            moved.append(suffix)
        yield old
    except BaseException:
        # The file last: a process killed here must not leave the database without its log.
        for suffix in reversed(moved):
            root.rename(old + suffix, name + suffix)
        raise
    if old == aside:
        _move(root, aside, kept)


def _move(root: Directory, name: str, new: str) -> None:
    """Rename a database and its logs, and replace those that have the new name.

    The next process can continue after one that was killed here. While a database has the new
    name, the logs beside it are its own. After it is removed, they belong to the moved one.
    """
    if root.exists(new):
        for suffix in (*_LOGS, ""):
            root.unlink(new + suffix)
    for suffix in (*_LOGS, ""):
        if root.exists(name + suffix):
            root.rename(name + suffix, new + suffix)


def _remove(root: Directory, name: str) -> None:
    for suffix in ("", *_LOGS):
        root.unlink(name + suffix)


class _Rebuild:
    """Fills a new database from the blobs."""

    def __init__(self, db: Database, files: BlobFiles) -> None:
        self._db = db
        self._files = files
        self._sizes = {digest: files.size_of(digest) for digest in files.all()}
        self._by_layers: dict[tuple[str, ...], list[str]] = {}

    def run(self, old: str) -> RebuildReport:
        """Fill the new database; ``old`` is the name of the old one."""
        with self._db.write() as connection:
            unreadable = restore_names.put_names(connection, self._files.root, old)
            connection.executemany(
                "INSERT INTO blobs (digest, size) VALUES (?, ?)", self._sizes.items()
            )
            signed: list[tuple[str, Schema1]] = []
            count = 0
            for own, document in self._documents():
                if isinstance(document, Manifest):
                    count += self._add_manifest(connection, own, document)
                elif isinstance(document, Index):
                    children = [str(entry.digest) for entry in document.manifests]
                    self._add(connection, own, own, document, children)
                    restore_names.add_whole(connection, own)
                else:
                    signed.append((own, document))
            for own, schema1 in signed:
                self._add_schema1(connection, own, schema1)
            lost = restore_names.take_lost(connection)
            restore_names.add_provenance(connection)
            (names,) = connection.execute("SELECT count(*) FROM refs").fetchone()
        return RebuildReport(count, names, lost.listed, tuple(unreadable), lost.more)

    def _documents(self) -> Iterator[tuple[str, Document]]:
        """Yield each blob that is a manifest or index, by its digest as text."""
        for own, size in self._sizes.items():
            if size > MAX_DOCUMENT:
                continue
            raw = self._read(own, only=b"{")
            if Digest.parse(own).matches(raw):
                with contextlib.suppress(WherryError):  # JSON, but no manifest
                    yield own, parse(raw, "")

    def _read(self, own: str, only: bytes = b"") -> bytes:
        """Read a document or config; return b"" if it is gone or does not begin with ``only``.

        Raises:
            StoreError: The file cannot be read. To skip it would silently lose an image.
        """
        try:
            with self._files.open(own) as file:
                head = file.read(1)
                return head + file.read(MAX_DOCUMENT) if head.startswith(only) else b""
        except FileNotFoundError:
            return b""
        except OSError as error:
            path = self._files.root.where(f"blobs/{own.replace(':', '/')}")
            raise StoreError(
                f"{error.strerror or error}",
                hint="the old database is left as it was; remove this file to do without it",
            ).within(path) from error

    def _add(
        self,
        connection: sqlite3.Connection,
        own: str,
        known_as: str,
        document: Document,
        children: list[str],
    ) -> None:
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?)", (own, known_as, document.media_type)
        )
        subjects.record(connection, Digest.parse(own), document.raw)
        # A stored child of an index was wanted once. The others may never have been wanted, nor
        # may foreign layers.
        required = {*required_blobs(document)}
        connection.executemany(
            "INSERT OR IGNORE INTO edges VALUES (?, ?, ?)",
            [(own, child, int(child in required or child in self._sizes)) for child in children],
        )

    def _add_manifest(self, connection: sqlite3.Connection, own: str, manifest: Manifest) -> bool:
        layers = tuple(str(layer.digest) for layer in manifest.layers)
        listed = [str(digest) for digest in listed_digests(manifest)]
        self._add(connection, own, own, manifest, listed)
        self._by_layers.setdefault(layers, []).append(own)
        record = read_image(Digest.parse(own), manifest, self._read, self._size)
        if record is not None:
            images.add_image(connection, record)
        elif self._sizes.keys() >= {*required_blobs(manifest)}:
            restore_names.add_whole(connection, own)  # an artifact, or it has foreign layers
        return record is not None

    def _size(self, digest: str) -> int:
        if digest not in self._sizes:
            raise NotFound(f"{digest} is missing")
        return self._sizes[digest]

    def _add_schema1(
        self,
        connection: sqlite3.Connection,
        own: str,
        signed: Schema1,
    ) -> None:
        """Find the manifest that was converted from a schema1 one, by a name or by its layers."""
        known_as = digest_of(signed)
        layers = tuple(
            str(layer.blob_sum) for layer in reversed(signed.layers) if not layer.throwaway
        )
        named = restore_names.manifests_of(connection, str(known_as))
        made = itertools.chain(named, self._by_layers.get(layers, []))
        found = itertools.islice(filter(self._sizes.__contains__, made), 1)
        self._add(connection, own, str(known_as), signed, list(found))
