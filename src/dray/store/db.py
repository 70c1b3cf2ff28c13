"""The store's database: what must change together, and facts about what is in the files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING

from dray.errors import StoreError
from dray.store.locks import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1  # of the schema below, kept in the file as user_version
TIMEOUT = 30.0  # seconds that a writer waits for another
PAUSE = 0.01  # seconds between two looks at a lock

_SCHEMA = """
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    diff_id TEXT,
    raw_size INTEGER
) WITHOUT ROWID;
CREATE TABLE documents (
    digest TEXT PRIMARY KEY,
    known_as TEXT NOT NULL,
    media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX documents_by_name ON documents (known_as);
CREATE TABLE edges (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    wanted INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE TABLE images (
    manifest TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    platform TEXT NOT NULL,
    created TEXT NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_by_id ON images (id);
CREATE TABLE refs (
    name TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    manifest TEXT NOT NULL,
    updated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX refs_by_root ON refs (root);
CREATE TABLE provenance (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE TABLE leases (
    lease TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (lease, digest)
) WITHOUT ROWID;
"""


class _Owned:
    """A thread's connection, closed when the thread is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """One SQLite file, one connection a thread.

    With ``read_only`` the file is taken as it is, without locks, which works in a directory
    that cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._local = threading.local()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._owned: weakref.WeakSet[_Owned] = weakref.WeakSet()
        if read_only:
            self._check_version()
        else:
            with self._alone():
                self._migrate()

    def _connect(self) -> sqlite3.Connection:
        owned: _Owned | None = getattr(self._local, "owned", None)
        if owned is not None:
            return owned.connection
        mode = "?immutable=1" if self._read_only else ""
        with self._translated():
            # Closed by `close`, which may be another thread: hence no check of the thread.
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}{mode}",
                uri=True,
                timeout=TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            if not self._read_only:
                connection.execute("PRAGMA synchronous=FULL")
        self._local.owned = owned = _Owned(connection)
        with self._lock:
            self._owned.add(owned)
        return connection

    def close(self) -> None:
        """Close all connections; no thread may be using one."""
        with self._lock:
            for owned in list(self._owned):
                owned.connection.close()
            self._owned.clear()
        self._local = threading.local()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for queries that need no common snapshot."""
        with self._translated():
            yield self._connect()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside a write transaction: all of the block happens or nothing."""
        # Between threads a lock wakes the next one at once; SQLite would have it sleep and look.
        with self._translated(), self._writing:
            connection = self._connect()
            # Deferred transactions fail at once when two turn into writers; this one waits.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _version(self) -> int:
        with self.read() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from making or migrating the file at the same time.

        Turning a new file to WAL does not wait for others as transactions do.
        """
        path, waited = self.path.with_suffix(".lock"), 0.0
        while (descriptor := lock_file(path)) is None:
            time.sleep(PAUSE)
            waited += PAUSE
            if waited > TIMEOUT:
                raise StoreError(f"{path}: another process holds it for too long")
        try:
            yield
        finally:
            os.close(descriptor)

    def _check_version(self) -> int:
        found = self._version()
        if found > VERSION:
            self.close()
            raise StoreError(
                f"{self.path}: the store has version {found}, this dray knows up to {VERSION}",
                hint="use a newer dray, or another --store",
            )
        return found

    def _migrate(self) -> None:
        if self._check_version() == VERSION:
            return
        with self.read() as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # the file keeps it
        with self.write() as connection:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")
