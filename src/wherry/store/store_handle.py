"""The directory and the database of a store, opened when they are needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.content import fork
from wherry.errors import StoreError, StoreFull
from wherry.store import reserve
from wherry.store.blobs import BlobFiles
from wherry.store.database_file import exclusive, lock_name
from wherry.store.db import Database
from wherry.store.os_errors import FULL, REBUILD, translate_os_errors
from wherry.store.root_directory import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.store.directory import Directory

DATABASE = "wherry.db"


class StoreHandle:
    """The open files of the store at a path; may be used from any thread.

    Another process may remove, replace or rebuild the store at any time. So each call compares
    what is open with what is at the path, and opens it again if that has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = BlobFiles(str(path.absolute()))
        self._lock = threading.Lock()
        self._db: Database | None = None
        fork.watch(self, StoreHandle._after_fork)

    def _after_fork(self) -> None:
        """Open the database again in a child."""
        self._lock = threading.Lock()
        self._db = None

    @property
    def files(self) -> BlobFiles:
        """The files of the store, as the last call found them."""
        return self._files

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def root(self) -> Directory | None:
        """Return the directory that is at the path now, or None."""
        with self._lock:
            return self._root()

    def database(self) -> Database | None:
        """Return the database for reading, or None if there is no store yet.

        Raises:
            StoreError: The database is gone while there are blobs, or cannot be opened.
        """
        with self._lock, translate_os_errors(self.path):
            root = self._root()
            if root is None:
                self._db = None  # threads close their connections
                return None
            if self._db is not None and self._is_outdated(self._db, root):
                self._db = None
            if self._db is None and not _has_database(root) and root.exists("blobs"):
                self._check_gone(root)
            if self._db is None and root.check(DATABASE) is not None:
                self._db = self._open(root)
            return self._db

    def check_writable(self) -> None:
        """Make the directory; raises `StoreError` if the store cannot be written."""
        with self._lock, translate_os_errors(self.path):
            make_store(str(self.path.absolute()))
            root = self._root()
            if root is None or not _is_writable(root):
                raise StoreError(
                    "the store cannot be written",
                    hint="choose another place with --store or WHERRY_STORE",
                ).within(self.path)

    def writable_database(self) -> Database:
        """Return the database for writing, and create the store if there is none.

        Raises:
            StoreFull: The disk is full.
            StoreError: The store cannot be written or opened.
        """
        self.check_writable()
        db = self.database()
        if db is not None and db.read_only:
            raise StoreFull("no space left on device", hint=FULL).within(self.path)
        with self._lock, translate_os_errors(self.path):
            if db is None:
                db = self._db = self._db or Database(self._files.root, DATABASE)
                reserve.lay(self._files.root)
        return db

    def _root(self) -> Directory | None:
        if not self._files.is_current:  # an operation under way keeps the files it began with
            self._files, self._db = BlobFiles(str(self.path.absolute())), None
        try:
            return self._files.root
        except FileNotFoundError:
            return None

    def _is_outdated(self, db: Database, root: Directory) -> bool:
        """Tell whether a database was removed or replaced, or has become writable."""
        return not db.is_current or (db.read_only and _is_writable(root))

    def _open(self, root: Directory) -> Database:
        """Open the database, read-only if it cannot be written or the disk is full."""
        try:
            return Database(root, DATABASE, read_only=not _is_writable(root))
        except StoreFull:
            return Database(root, DATABASE, read_only=True)

    def _check_gone(self, root: Directory) -> None:
        """Refuse to treat a store as a new one because its database is gone."""
        if _is_writable(root):
            with exclusive(root, DATABASE):  # another process may be rebuilding it right now
                pass
        if not _has_database(root):
            raise StoreError(
                "the store's database is gone",
                hint=REBUILD,
            ).within(self.path / DATABASE)


def _is_writable(root: Directory) -> bool:
    """Tell whether the directory, the database and its lock can be written."""
    files = (DATABASE, lock_name(DATABASE))
    for name in files:
        root.check(name)
    return all(root.is_writable(name) for name in (".", *files))


def _has_database(root: Directory) -> bool:
    """Tell whether there is a database; a crash or a full disk may leave an empty file."""
    found = root.check(DATABASE)
    return found is not None and found.st_size > 0
