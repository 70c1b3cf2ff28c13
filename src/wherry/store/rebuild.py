"""A database made anew from the blobs, for a store whose own is lost or damaged.

What images there are stands in the blobs, what they are called in the copy of the names that
the store keeps. What else the database knew is learned again as it is needed: DiffIDs are
computed when somebody asks, and where blobs came from is told by the names by digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import TYPE_CHECKING

from wherry.errors import StoreError, WherryError
from wherry.model._fields import MAX_DOCUMENT
from wherry.model.config import parse_config
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, digest_of, parse
from wherry.model.record import Record
from wherry.store import backup, images, leases, refs
from wherry.store.db import Database, alone, check_replaceable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import TypeAlias

    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.model.schema1 import Schema1
    from wherry.store.blobs import BlobFiles
    from wherry.store.directory import Directory

    _Rows: TypeAlias = dict[str, tuple[int, str]]

_LOGS = ("-wal", "-shm", "-journal")
_TABLES = ("blobs", "documents", "edges", "images", "refs", "provenance")


class RebuildReport(Record):
    """What is back: images, names; and the names whose images are not whole, as people write.

    ``unreadable`` is what is damaged in the copy of the names, as it stands there.
    """

    images: int
    names: int
    lost: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


def rebuild(files: BlobFiles, name: str) -> RebuildReport:
    """Make the database anew; what is there is kept beside it, as ``….damaged``.

    The new file is written, closed, read again and compared before it takes its place. Raises
    `StoreError` while anybody is adding to the store, for a database of a newer version, for a
    copy of the names or a document that cannot be read, and where the new file cannot be
    written; and leaves all as it was.
    """
    root, new = files.root, f"{name}.new"
    with alone(root, name), _set_aside(root, name) as old:
        # The other way round an operation could begin between the look and the move.
        if leases.living(root):
            raise StoreError(
                f"{root.path}: another process is adding to the store",
                hint="try again when it is done",
            )
        names, unreadable = _names(root, old)
        _remove(root, new)
        try:
            found, written = _make(root, new, files, names)
            _check(root, new, written)
            for suffix in _LOGS:  # empty by now
                root.unlink(new + suffix)
            root.rename(new, name)
        except BaseException:
            with contextlib.suppress(OSError):
                _remove(root, new)
            raise
        root.sync()
        return found.replace(unreadable=tuple(unreadable))


def _names(root: Directory, old: str) -> tuple[list[backup.SavedName], list[str]]:
    """Return the names of the copy, with those that only the old database has.

    The copy may be behind. Where they differ, a database that is whole is right.
    """
    names, unreadable = backup.load(root)
    copied = {name.reference: name for name in names}
    known: dict[Reference, backup.SavedName] = {}
    whole = False
    with contextlib.suppress(StoreError, FileNotFoundError):
        db = Database(root, old, read_only=True)
        try:
            with db.read() as connection:
                known = {name.reference: name for name in backup.names(connection)}
                whole = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        finally:
            db.close()
    merged = copied | known if whole else known | copied
    return [merged[key] for key in sorted(merged, key=str)], unreadable


def _make(
    root: Directory, new: str, files: BlobFiles, names: list[backup.SavedName]
) -> tuple[RebuildReport, _Rows]:
    """Write a new database, without a log beside it; return what is back, and its rows."""
    db = Database(root, new, locked=True)
    try:
        found = _Rebuild(db, files).run(names)
        with db.read() as connection:
            written = _rows(connection)
        db.settle()
    finally:
        db.close()
    return found, written


def _check(root: Directory, new: str, written: _Rows) -> None:
    """Raise `StoreError` unless the file alone holds what was written to the database."""
    log = root.check(f"{new}-wal")
    if log is not None and log.st_size:
        raise StoreError(f"{root.where(new)}: the log was not emptied into the new database")
    db = Database(root, new, read_only=True)
    try:
        with db.read() as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise StoreError(f"{db.path}: the new database is damaged ({answer})")
            if _rows(connection) != written:
                raise StoreError(f"{db.path}: the new database lacks what was written to it")
    finally:
        db.close()


def _rows(connection: sqlite3.Connection) -> _Rows:
    """Return the number of rows of each table, and a hash over them."""
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
    """Move the database and its logs out of the way, and back if the block fails.

    Yields the name that they have meanwhile. What an earlier rebuild kept stays until the block
    has succeeded.
    """
    check_replaceable(root, name)
    kept, aside = f"{name}.damaged", f"{name}.aside"
    if root.exists(aside):  # an earlier attempt was killed
        _move(root, aside, kept if root.exists(name) else name)
    there = [suffix for suffix in ("", *_LOGS) if root.exists(name + suffix)]
    old = aside if "" in there else kept  # logs alone belong to what is kept
    moved: list[str] = []
    try:
        for suffix in there:
            root.rename(name + suffix, old + suffix)
            moved.append(suffix)
        yield old
    except BaseException:
        # The file last: a process that is killed in between must not leave it without its log.
        for suffix in reversed(moved):
            root.rename(old + suffix, name + suffix)
        raise
    if old == aside:
        _move(root, aside, kept)


def _move(root: Directory, name: str, new: str) -> None:
    """Give a database another name, with its logs; what has that name goes.

    If a process is killed in between, the next one goes on: as long as there is a file of the
    new name, the logs beside it are its own, and after that they are those of the moved one.
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
    def __init__(self, db: Database, files: BlobFiles) -> None:
        self._db = db
        self._files = files
        self._sizes = {digest: files.size_of(digest) for digest in files.all()}
        self._by_layers: dict[tuple[str, ...], list[str]] = {}
        self._names: dict[str, str] = {}

    def run(self, names: list[backup.SavedName]) -> RebuildReport:
        with self._db.write() as connection:
            connection.executemany(
                "INSERT INTO blobs (digest, size) VALUES (?, ?)", self._sizes.items()
            )
            old: list[tuple[str, Schema1]] = []
            count = 0
            for own, document in self._documents():
                if isinstance(document, Manifest):
                    count += self._add_manifest(connection, own, document)
                elif isinstance(document, Index):
                    children = [str(entry.digest) for entry in document.manifests]
                    self._add(connection, own, own, document, children)
                else:
                    old.append((own, document))
            named: dict[Digest, list[str]] = {}
            for name in names:
                named.setdefault(name.root, []).append(str(name.manifest))
            for own, signed in old:
                self._add_schema1(connection, own, signed, named)
            lost = [name for name in names if not self._set_name(connection, name)]
        missed = tuple(name.reference.familiar for name in lost)
        return RebuildReport(count, len(names) - len(lost), missed)

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
        """Read a document or config; nothing if it is gone or begins with anything but ``only``.

        Raises `StoreError` where it cannot be read: an image would be lost without a word.
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
                f"{path}: {error.strerror or error}",
                hint="the old database is left as it was; remove this file to do without it",
            ) from error

    def _add(
        self,
        connection: sqlite3.Connection,
        own: str,
        known_as: str,
        document: Document,
        children: list[str],
    ) -> None:
        self._names[known_as] = own
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?)", (own, known_as, document.media_type)
        )
        # What an index lists and is there was wanted once; the rest may never have been.
        connection.executemany(
            "INSERT OR IGNORE INTO edges VALUES (?, ?, ?)",
            [
                (own, child, int(isinstance(document, Manifest) or child in self._sizes))
                for child in children
            ],
        )

    def _add_manifest(self, connection: sqlite3.Connection, own: str, manifest: Manifest) -> bool:
        layers = [str(layer.digest) for layer in manifest.layers]
        config = str(manifest.config.digest)
        self._add(connection, own, own, manifest, [config, *layers])
        self._by_layers.setdefault(tuple(layers), []).append(own)
        needed = {config, *layers}
        if manifest.artifact is not None or not needed <= self._sizes.keys():
            return False
        try:
            parsed = parse_config(self._read(config))
        except WherryError as error:
            if isinstance(error, StoreError):
                raise
            return False
        record = images.ImageRecord(
            manifest=Digest.parse(own),
            id=manifest.config.digest,
            platform=str(parsed.platform.normalized()),
            created=parsed.created,
            size=sum(self._sizes[digest] for digest in needed),
        )
        images.add_image(connection, record)
        return True

    def _add_schema1(
        self,
        connection: sqlite3.Connection,
        own: str,
        signed: Schema1,
        named: dict[Digest, list[str]],
    ) -> None:
        """Find the manifest that was made of a schema1 document: a name says so, or its layers."""
        known_as = digest_of(signed)
        layers = tuple(
            str(layer.blob_sum) for layer in reversed(signed.layers) if not layer.throwaway
        )
        made = [*named.get(known_as, []), *self._by_layers.get(layers, [])]
        found = [manifest for manifest in made if manifest in self._sizes][:1]
        self._add(connection, own, str(known_as), signed, found)

    def _set_name(self, connection: sqlite3.Connection, name: backup.SavedName) -> bool:
        """Give a name back if its image is whole."""
        whole = images.find_image(connection, name.manifest) is not None
        if not whole or str(name.root) not in self._names:
            return False
        refs.set_ref(connection, name.reference, name.root, name.manifest, kept=name.kept)
        if name.reference.digest is not None:
            self._set_provenance(connection, name)
        return True

    def _set_provenance(self, connection: sqlite3.Connection, name: backup.SavedName) -> None:
        """Note where an image's blobs came from: a name by digest is one that was pulled."""
        now = int(time.time())
        rows = connection.execute("SELECT child FROM edges WHERE parent = ?", (str(name.manifest),))
        connection.executemany(
            "INSERT OR REPLACE INTO provenance VALUES (?, ?, ?)",
            [(child, name.reference.name, now) for (child,) in rows.fetchall()],
        )
