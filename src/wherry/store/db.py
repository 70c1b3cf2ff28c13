"""The store's database: names, documents, images, leases and facts about blobs, in SQLite."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from wherry.content import fork
from wherry.errors import StoreError
from wherry.store.database_file import TIMEOUT_SECONDS, DatabaseFile, exclusive
from wherry.store.gate import GATE, ThreadConnections
from wherry.store.schema import STEPS, VERSION, too_new_error
from wherry.store.sqlite_errors import cannot_open, is_busy, is_interrupt, store_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.store.database_copy import DatabaseCopy
    from wherry.store.directory import Directory
    from wherry.store.gate import Use

_ATTEMPT_SECONDS = 0.1  # that SQLite waits for a lock before `close` can end the wait


class Database:
    """One SQLite file with one connection a thread; created or migrated when it is opened.

    With ``read_only`` nothing is written, not even a lock. ``locked`` says that the caller
    already holds `exclusive`.
    """

    def __init__(
        self, root: Directory, name: str, *, read_only: bool = False, locked: bool = False
    ) -> None:
        self._file = DatabaseFile(root, name)
        self.path = self._file.path
        self.read_only = read_only
        self._opened = self.path  # what SQLite opens: the file or a copy of it
        self._copy: DatabaseCopy | None = None
        self._query = ""  # parameters of SQLite's URI
        self._connections = ThreadConnections()
        self._writing = threading.Lock()
        self._closing = False
        GATE.add(self)
        fork.watch(self, Database._after_fork)
        if read_only:
            self._prepare_to_read()
        else:
            with contextlib.nullcontext() if locked else exclusive(root, name):
                self._file.create()
                self._migrate()
        self._identity = self._file.identity()

    def _after_fork(self) -> None:
        """Start afresh in a child; `GATE` deals with the connections of the parent."""
        self._connections.reset()
        self._writing = threading.Lock()

    @property
    def is_current(self) -> bool:
        """Whether the file at the path is still the one that was opened."""
        return self._identity == self._file.identity()

    # The use of connections

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for queries that need no common snapshot."""
        with self._used():
            yield self._connect()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection whose queries all see the same state."""
        with self._used() as use:
            connection = self._connect()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if GATE.has(use):
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a write transaction: commit the block, or roll it back.

        A transaction that is not ``durable`` may be lost in a power failure until a durable one
        follows. That suffices for leases, which end with their process, and for facts that can
        be computed again from the files.
        """
        # A lock wakes the next thread at once; SQLite would sleep between its attempts.
        with self._writing, self._used() as use:
            try:
                connection = self._begin(use, "FULL" if durable else "NORMAL")
                yield connection
                self._check_use(use)
                connection.execute("COMMIT")
            except BaseException:
                # A full disk ends the transaction; an interrupt may come before it begins.
                owned = self._connections.own()
                if owned is not None and owned.in_transaction and GATE.has(use):
                    owned.execute("ROLLBACK")
                raise

    def _begin(self, use: Use, synchronous: str) -> sqlite3.Connection:
        """Begin a write transaction, waiting for other processes.

        IMMEDIATE, because two deferred transactions that both turn to writing would fail.
        SQLite waits in short attempts, so that `close` and forks need not wait for long.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            connection = self._connect()
            connection.execute(f"PRAGMA busy_timeout={int(_ATTEMPT_SECONDS * 1000)}")
            try:
                connection.execute(f"PRAGMA synchronous={synchronous}")
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error) or self._closing or time.monotonic() > deadline:
                    raise
            else:
                return connection
            finally:
                connection.execute(f"PRAGMA busy_timeout={int(TIMEOUT_SECONDS * 1000)}")
            GATE.give_way(use)

    def checkpoint(self) -> None:
        """Move the log into the database and free its space, unless others use the log."""
        with contextlib.suppress(StoreError), self.read() as connection:
            connection.execute("PRAGMA busy_timeout=0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.execute(f"PRAGMA busy_timeout={int(TIMEOUT_SECONDS * 1000)}")

    def settle(self) -> None:
        """Move the whole log into the database; raises `StoreError` if another process reads it."""
        with self.read() as connection:
            busy, left, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy or left > 0:
            message = "the log cannot be emptied, another process reads it"
            raise StoreError(message).within(self.path)

    def close(self) -> None:
        """Close all connections; threads may only be waiting for a transaction."""
        self._closing = True  # ends the wait of a thread that was left behind
        with self._writing, self._used():
            self._connections.clear()
        self._closing = False
        if self._copy is not None:
            self._copy.remove()
            self._copy = None

    # What the gate asks (see `ConnectionOwner`)

    def file(self) -> tuple[int, int] | None:
        """Return device and inode of the file that SQLite opens."""
        return self._file.identity() if self._copy is None else self._copy.identity()

    def connections(self) -> list[sqlite3.Connection]:
        """Return the open connections."""
        return self._connections.all()

    def disconnect(self) -> None:
        """Close all connections, none of which may be in use; the next use opens a new one."""
        self._connections.close_all()

    # Opening

    def _connect(self) -> sqlite3.Connection:
        """Return the connection of the calling thread, opening it if need be."""
        found = self._connections.own()
        if found is not None:
            return found
        if GATE.is_carried(self.file()):
            raise self._forked_error()
        with self._translate_sqlite_errors():
            connection = self._open()
        self._connections.add(connection)
        return connection

    def _open(self) -> sqlite3.Connection:
        # A copy is in a directory of its own, which no other user can write to.
        before = self._file.check() if self._copy is None else None
        # `close` may run in another thread: hence no check of the thread. SQLite must not
        # create the file (``mode=rw``); `DatabaseFile.create` does, after its checks.
        connection = sqlite3.connect(
            f"{self._opened.as_uri()}{self._query or '?mode=rw'}",
            uri=True,
            timeout=TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if self._copy is None:
                self._file.check_opened(connection, before)
            if not self._query:
                connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare_to_read(self) -> None:
        """Choose how to read a file that cannot be written.

        A database with a log is in use, or its last process was killed. Reading the file alone
        would miss the content of the log. If SQLite cannot share the log, because it has to
        write the log's index, a copy of both is read.
        """
        self._query = "?immutable=1"
        if self._file.has_log():
            self._query = "?mode=ro"
            try:
                self._version()
            except StoreError:
                self.close()
                self._take_copy()
        if self._check_version() < VERSION:
            # Only a process that may write to the store can migrate it in place.
            self.close()
            self._take_copy()
            self._migrate()

    def _take_copy(self) -> None:
        from wherry.store.database_copy import DatabaseCopy

        self._copy = DatabaseCopy(self._file.root, self._file.name)
        self._opened = self._copy.path
        self._query = ""

    def _version(self) -> int:
        with self.read() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self) -> int:
        found = self._version()
        if found > VERSION:
            self.close()
            raise too_new_error(self.path, found)
        return found

    def _migrate(self) -> None:
        found = self._check_version()
        if found == VERSION:
            return
        with self.read() as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # stored in the file
        with self.write() as connection:
            for step in STEPS[found:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")

    # Errors

    @contextlib.contextmanager
    def _used(self) -> Iterator[Use]:
        """Hold back forks and translate errors while the block may use a connection."""
        use = GATE.enter(self)
        try:
            with self._translate_sqlite_errors():
                yield use
        finally:
            GATE.leave(use)

    @contextlib.contextmanager
    def _translate_sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_interrupt(error):  # by `GATE`, in a forked child
                raise self._forked_error() from error
            if cannot_open(error) and (reason := self._file.open_error()):
                raise reason from error
            raise store_error(error, self.path) from error

    def _check_use(self, use: Use) -> None:
        if not GATE.has(use):
            raise self._forked_error()

    def _forked_error(self) -> StoreError:
        return StoreError(
            "this process was forked while a thread was reading the database",
            hint="fork outside of loops over the store, or use `spawn` or `forkserver`",
        ).within(self.path)
