"""The store's database: what must change together, and facts about what is in the files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content import fork
from wherry.errors import StoreError, StoreFull
from wherry.store.directory import unsafe
from wherry.store.gate import GATE
from wherry.store.locks import lock_file
from wherry.store.schema import STEPS, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.store.directory import Directory
    from wherry.store.gate import Use

TIMEOUT = 30.0  # seconds that a writer waits for another
REBUILD = "`wherry fsck --rebuild` makes it anew from what is in the store"
_NO_ACCESS = "whoever owns the store can give access; or choose another one with --store"
FULL = (
    "what has arrived is kept; make room (`wherry gc` removes what no name holds),\n"
    "or choose another place with --store"
)
# What SQLite says where there is no room, which it calls an I/O error where it is about a write
# or about the index of the log.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
# Somebody writes; or was killed at it, and the log is just being read anew.
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}
_LOOK = 0.1  # seconds of it after which it is looked whether somebody wants it to stop
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names another one
PAUSE = 0.01  # seconds between two looks at a lock


class _ThreadConnection:
    """A thread's connection, closed when the thread is gone; None once it is closed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection: sqlite3.Connection | None = connection

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        if self.connection is not None:
            GATE.close(self.connection)


class Database:
    """One SQLite file, one connection a thread; made or brought up to date when it is opened.

    With ``read_only`` nothing is written, not even a lock; ``locked`` says that the caller has
    `alone` already.
    """

    def __init__(
        self, root: Directory, name: str, *, read_only: bool = False, locked: bool = False
    ) -> None:
        self.path = Path(root.where(name))
        self.read_only = read_only
        self._root = root
        self._name = name
        self._opened = self.path
        self._query = ""
        self._local = threading.local()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._closing = False
        self._owned: weakref.WeakSet[_ThreadConnection] = weakref.WeakSet()
        self._remove_copy: weakref.finalize[..., Database] | None = None
        GATE.add(self)
        fork.watch(self, Database._after_fork)
        if read_only:
            self._look()
        else:
            with contextlib.nullcontext() if locked else alone(root, name):
                self._make()
                self._migrate()
        self._identity = self._find()

    def _after_fork(self) -> None:
        """Begin anew in a child; `GATE` sees to the connections."""
        self._local = threading.local()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._owned = weakref.WeakSet()

    def file(self) -> tuple[int, int] | None:
        """Return device and inode of the file that SQLite opens."""
        if self._remove_copy is None:
            return self._find()
        copy = self._opened.stat()
        return copy.st_dev, copy.st_ino

    def connections(self) -> list[sqlite3.Connection]:
        """Return the connections that are open."""
        return [each.connection for each in list(self._owned) if each.connection is not None]

    def disconnect(self) -> None:
        """Close all connections, which no thread may be using; the next use opens one."""
        for owned in list(self._owned):
            owned.close()

    @property
    def is_current(self) -> bool:
        """Whether the file at the path is still the one that was opened."""
        return self._identity == self._find()

    def _find(self) -> tuple[int, int] | None:
        try:
            found = self._root.stat(self._name)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _make(self) -> None:
        """Make an empty file: SQLite would follow a dangling link and make its target."""
        if self._root.check(self._name) is None:
            os.close(self._root.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    def _look(self) -> None:
        """Choose how to read a file that cannot be written.

        A database with a log beside it is in use, or its user was killed; reading the file
        alone would miss what is in the log. Where SQLite cannot share the log (it wants to
        write an index of it), a copy of both is read.
        """
        log = self._root.check(f"{self._name}-wal")
        self._query = "?immutable=1"
        if log is not None and log.st_size:
            self._query = "?mode=ro"
            try:
                self._version()
            except StoreError:
                self.close()
                self._take_copy()
        if self._check_version() < VERSION:
            # Brought up to date in a copy: whoever can write the store will do it in place.
            self.close()
            self._take_copy()
            self._migrate()

    def _take_copy(self) -> None:
        import shutil
        import tempfile

        copy = tempfile.mkdtemp(prefix="wherry-")
        self._remove_copy = weakref.finalize(self, _remove_copy, copy, os.getpid())
        self._opened = Path(copy) / self.path.name
        self._query = ""
        for name in (self._name, f"{self._name}-wal"):
            with contextlib.suppress(FileNotFoundError):
                source = os.fdopen(self._root.open(name), "rb")
                with source, self._opened.with_name(name).open("xb") as target:
                    shutil.copyfileobj(source, target)

    def _own(self) -> sqlite3.Connection | None:
        """Return the connection that the thread has."""
        owned: _ThreadConnection | None = getattr(self._local, "owned", None)
        return None if owned is None else owned.connection

    def _check(self, use: Use) -> None:
        """Raise `StoreError` in a child for what its parent has begun."""
        if not GATE.has(use):
            raise self._carried()

    def _carried(self) -> StoreError:
        return StoreError(
            f"{self.path}: this process was forked while a thread was reading the database",
            hint="fork when no loop over the store is under way, or use `spawn` or `forkserver`",
        )

    def _connect(self) -> sqlite3.Connection:
        found = self._own()
        if found is not None:
            return found
        if GATE.is_carried(self.file()):
            raise self._carried()
        with self._translated():
            before = self._check_files()
            # Closed by `close`, which may be another thread: hence no check of the thread.
            connection = sqlite3.connect(
                f"{self._opened.as_uri()}{self._query or '?mode=rw'}",
                uri=True,
                timeout=TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._check_opened(connection, before)
                if not self._query:
                    connection.execute("PRAGMA synchronous=FULL")
            except BaseException:
                connection.close()
                raise
        self._local.owned = owned = _ThreadConnection(connection)
        with self._lock:
            self._owned.add(owned)
        return connection

    def _check_files(self) -> tuple[int, int] | None:
        """Refuse what would lead SQLite to other files; return which file is the database.

        SQLite takes a path, and has no parameter that forbids links (SQLITE_OPEN_NOFOLLOW is a
        flag of sqlite3_open_v2 alone, sqlite.org/uri.html). It resolves links of the database
        itself and then opens all files with O_NOFOLLOW (os_unix.c). So the path is checked
        before, and what SQLite has made of it after (`_check_opened`). A file is made by us
        alone (``mode=rw``).
        """
        if self._remove_copy is not None:
            return None
        journal = check_logs(self._root, self._name)
        if journal is not None:
            self._check_journal(journal.st_size)
        self._root.check(self._name)
        return self._find()

    def _check_journal(self, size: int) -> None:
        """Refuse a journal that names another one: SQLite would read that and may remove it.

        Only transactions over several databases have such (sqlite.org/fileformat.html,
        "The Rollback Journal", super-journal).
        """
        with contextlib.suppress(OSError):  # SQLite says what keeps it from being read
            descriptor = self._root.open(f"{self._name}-journal")
            try:
                if os.pread(descriptor, 8, max(0, size - 8)) == _JOURNAL_MAGIC:
                    path = self._root.where(f"{self._name}-journal")
                    raise unsafe(path, "names a file outside of the store")
            finally:
                os.close(descriptor)

    def _check_opened(self, connection: sqlite3.Connection, before: tuple[int, int] | None) -> None:
        """Compare the file that SQLite has opened with the one that was checked."""
        if self._remove_copy is not None:
            return
        (_, _, opened), *_ = connection.execute("PRAGMA database_list")
        if opened != str(self._opened) or before != self._find():
            raise unsafe(str(self.path), f"was replaced while it was opened (by {opened})")
        if not self._root.is_at(self._root.path):
            raise StoreError(f"{self._root.path}: the store was moved away", hint="try again")

    def close(self) -> None:
        """Close all connections; no thread may be using one, but to wait for a transaction."""
        self._closing = True  # a thread that was left behind gives up its wait
        with self._writing, self._used(), self._lock:
            self.disconnect()
            self._owned.clear()
        self._closing = False
        self._local = threading.local()
        if self._remove_copy is not None:
            self._remove_copy()
            self._remove_copy = None

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
        """Yield a connection inside a write transaction: all of the block happens or nothing.

        Unless it is ``durable`` it may get lost with the power, until a later one that is: for
        leases, which die with their process, and for what can be learned again from the files.
        """
        # Between threads a lock wakes the next one at once; SQLite would have it sleep and look.
        with self._writing, self._used() as use:
            try:
                connection = self._begin(use, "FULL" if durable else "NORMAL")
                yield connection
                self._check(use)
                connection.execute("COMMIT")
            except BaseException:
                # A full disk has ended it already; an interrupt may come before it has begun.
                owned = self._own()
                if owned is not None and owned.in_transaction and GATE.has(use):
                    owned.execute("ROLLBACK")
                raise

    def checkpoint(self) -> None:
        """Put what the log holds into the database and give its room back, if that goes now."""
        with contextlib.suppress(StoreError), self.read() as connection:
            connection.execute("PRAGMA busy_timeout=0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.execute(f"PRAGMA busy_timeout={int(TIMEOUT * 1000)}")

    def settle(self) -> None:
        """Put all that the log holds into the file, on the disk; raises `StoreError`."""
        with self.read() as connection:
            busy, left, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy or left > 0:
            raise StoreError(f"{self.path}: the log cannot be emptied, another process reads it")

    def _begin(self, use: Use, synchronous: str) -> sqlite3.Connection:
        """Begin to write; deferred transactions would fail when two turn into writers.

        SQLite waits for other processes by itself, but would not hear that it shall stop.
        """
        ends = time.monotonic() + TIMEOUT
        while True:
            connection = self._connect()
            connection.execute(f"PRAGMA busy_timeout={int(_LOOK * 1000)}")
            try:
                connection.execute(f"PRAGMA synchronous={synchronous}")
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode in _BUSY
                if not busy or self._closing or time.monotonic() > ends:
                    raise
            else:
                return connection
            finally:
                connection.execute(f"PRAGMA busy_timeout={int(TIMEOUT * 1000)}")
            GATE.give_way(use)

    @contextlib.contextmanager
    def _used(self) -> Iterator[Use]:
        """Keep forks from happening while the block runs, which may use a connection."""
        use = GATE.enter(self)
        try:
            with self._translated():
                yield use
        finally:
            GATE.leave(use)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # Damage is a plain DatabaseError, all else one of its children.
            code = getattr(error, "sqlite_errorcode", 0)
            if code == sqlite3.SQLITE_INTERRUPT:
                raise self._carried() from error
            if code in _NO_ROOM:
                write = code == sqlite3.SQLITE_IOERR_WRITE  # the disk may have another fault
                said = str(error) if write else "no space left on device"
                raise StoreFull(f"{self.path}: {said}", hint=FULL) from error
            if code & 0xFF == sqlite3.SQLITE_CANTOPEN and (reason := self._unreadable()):
                raise reason from error
            hint = REBUILD if type(error) is sqlite3.DatabaseError else ""
            if code & 0xFF == sqlite3.SQLITE_READONLY:
                hint = "the owner of the store can write to it"
            raise StoreError(f"{self.path}: {error}", hint=hint) from error

    def _unreadable(self) -> StoreError | None:
        """Return what keeps the database from being opened, which SQLite does not say."""
        for suffix in ("", "-wal", "-shm"):
            path = self._root.where(f"{self._name}{suffix}")
            try:
                os.close(self._root.open(f"{self._name}{suffix}"))
            except FileNotFoundError:
                continue
            except OSError as error:
                denied = isinstance(error, PermissionError)
                return StoreError(
                    f"{path}: the store's database cannot be opened: {error.strerror or error}",
                    hint=_NO_ACCESS if denied else REBUILD,
                )
        return None

    def _version(self) -> int:
        with self.read() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self) -> int:
        found = self._version()
        if found > VERSION:
            self.close()
            raise _too_new(self.path, found)
        return found

    def _migrate(self) -> None:
        found = self._check_version()
        if found == VERSION:
            return
        with self.read() as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # the file keeps it
        with self.write() as connection:
            for step in STEPS[found:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")


def check_logs(root: Directory, name: str) -> os.stat_result | None:
    """Refuse unsafe files beside a database; return the status of its rollback journal.

    SQLite writes into these files in place. A file with another hard link would change there too
    (sqlite.org/howtocorrupt.html, "Multiple links to the same file").
    """
    found = None
    for suffix in ("-wal", "-shm", "-journal"):
        found = root.check(f"{name}{suffix}")
        if found is not None and found.st_nlink > 1:
            path = root.where(f"{name}{suffix}")
            raise StoreError(
                f"{path}: has more than one hard link, which a store does not have",
                hint=f"replace it by a copy of its own: cp -p {path} {path}.own\n"
                f"mv {path}.own {path}",
            )
    return found


def check_replaceable(root: Directory, name: str) -> None:
    """Raise `StoreError` for a database of a newer version; any other, damaged or not, will do."""
    found, path = 0, Path(root.where(name))
    root.check(name)
    check_logs(root, name)
    with contextlib.suppress(sqlite3.Error):  # damaged, or not there
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise _too_new(path, found)


def _remove_copy(directory: str, process: int) -> None:
    """Remove a copy, unless it is that of the process which forked this one."""
    import shutil

    if os.getpid() == process:
        shutil.rmtree(directory, ignore_errors=True)


def _too_new(path: Path, found: int) -> StoreError:
    message = f"{path}: the store has version {found}, this wherry knows up to {VERSION}"
    return StoreError(message, hint="use a newer wherry, or another --store")


def lock_name(name: str) -> str:
    """Return the name of the lock beside a file: ``wherry.lock`` for ``wherry.db``."""
    return f"{name.partition('.')[0]}.lock"


@contextlib.contextmanager
def alone(root: Directory, name: str) -> Iterator[None]:
    """Keep other processes from opening, making or migrating a database at the same time.

    Turning a new file to WAL does not wait for others as transactions do.
    """
    lock, waited = lock_name(name), 0.0
    while (held := lock_file(root, lock)) is None:
        time.sleep(PAUSE)
        waited += PAUSE
        if waited > TIMEOUT:
            raise StoreError(f"{root.where(lock)}: another process holds it for too long")
    try:
        yield
    finally:
        held.release()
