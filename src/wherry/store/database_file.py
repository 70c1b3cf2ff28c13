"""The file of a database and the logs beside it: safety checks, and the lock over them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.errors import StoreError
from wherry.store.directory import unsafe
from wherry.store.locks import lock_file
from wherry.store.os_errors import REBUILD
from wherry.store.schema import VERSION, too_new_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.store.directory import Directory

TIMEOUT_SECONDS = 30.0  # how long a writer waits for another one
_PAUSE_SECONDS = 0.01  # between two attempts to lock
_NO_ACCESS = "the owner of the store can give access; or choose another one with --store"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names a super-journal


class DatabaseFile:
    """A database in the directory of a store, as far as it is a file."""

    def __init__(self, root: Directory, name: str) -> None:
        self.root = root
        self.name = name
        self.path = Path(root.where(name))

    def identity(self) -> tuple[int, int] | None:
        """Return device and inode, or None if the file does not exist."""
        try:
            found = self.root.stat(self.name)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def create(self) -> None:
        """Create an empty file if there is none.

        SQLite would follow a dangling link and create its target.
        """
        if self.root.check(self.name) is None:
            os.close(self.root.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    def has_log(self) -> bool:
        """Tell whether there is a write-ahead log with content."""
        log = self.root.check(f"{self.name}-wal")
        return log is not None and log.st_size > 0

    def check(self) -> tuple[int, int] | None:
        """Refuse what would lead SQLite to other files; return the identity of the database.

        SQLite takes a path, and no parameter of it forbids links (SQLITE_OPEN_NOFOLLOW is a
        flag of sqlite3_open_v2 alone, sqlite.org/uri.html). SQLite resolves links of the
        database itself and opens all files with O_NOFOLLOW (os_unix.c). So the path is checked
        before SQLite opens it, and `check_opened` compares afterwards.
        """
        journal = check_logs(self.root, self.name)
        if journal is not None:
            self._check_journal(journal.st_size)
        self.root.check(self.name)
        return self.identity()

    def _check_journal(self, size: int) -> None:
        """Refuse a journal that names a super-journal: SQLite would read and may remove that.

        Only transactions over several databases write one (sqlite.org/fileformat.html, "The
        Rollback Journal"). A store has one database.
        """
        with contextlib.suppress(OSError):  # SQLite reports why it cannot read the journal
            descriptor = self.root.open(f"{self.name}-journal")
            try:
                if os.pread(descriptor, 8, max(0, size - 8)) == _JOURNAL_MAGIC:
                    path = self.root.where(f"{self.name}-journal")
                    raise unsafe(path, "names a file outside of the store")
            finally:
                os.close(descriptor)

    def check_opened(self, connection: sqlite3.Connection, before: tuple[int, int] | None) -> None:
        """Compare the file that SQLite opened with the one that `check` returned."""
        (_, _, opened), *_ = connection.execute("PRAGMA database_list")
        if opened != str(self.path) or before != self.identity():
            raise unsafe(str(self.path), f"was replaced while it was opened (by {opened})")
        if not self.root.is_at(self.root.path):
            raise StoreError("the store was moved away", hint="try again").within(self.root.path)

    def open_error(self) -> StoreError | None:
        """Return the reason why a file cannot be opened, which SQLite does not report."""
        for suffix in ("", "-wal", "-shm"):
            path = self.root.where(f"{self.name}{suffix}")
            try:
                os.close(self.root.open(f"{self.name}{suffix}"))
            except FileNotFoundError:
                continue
            except OSError as error:
                denied = isinstance(error, PermissionError)
                return StoreError(
                    f"the store's database cannot be opened: {error.strerror or error}",
                    hint=_NO_ACCESS if denied else REBUILD,
                ).within(path)
        return None


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
                "has more than one hard link, which a store does not have",
                hint=f"replace it by a copy of its own: cp -p {path} {path}.own\n"
                f"mv {path}.own {path}",
            ).within(path)
    return found


def check_replaceable(root: Directory, name: str) -> None:
    """Raise `StoreError` for a database of a newer version; a damaged one is replaceable."""
    found, path = 0, Path(root.where(name))
    root.check(name)
    check_logs(root, name)
    with contextlib.suppress(sqlite3.Error):  # damaged, or not there
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise too_new_error(path, found)


def lock_name(name: str) -> str:
    """Return the name of the lock beside a file: ``wherry.lock`` for ``wherry.db``."""
    return f"{name.partition('.')[0]}.lock"


@contextlib.contextmanager
def exclusive(root: Directory, name: str) -> Iterator[None]:
    """Keep other processes from opening, creating or migrating a database during the block.

    Changing a new file to WAL mode does not wait for other connections as transactions do.

    Raises:
        StoreError: Another process held the lock for more than `TIMEOUT_SECONDS`.
    """
    lock, waited = lock_name(name), 0.0
    while (held := lock_file(root, lock)) is None:
        time.sleep(_PAUSE_SECONDS)
        waited += _PAUSE_SECONDS
        if waited > TIMEOUT_SECONDS:
            raise StoreError("another process holds it for too long").within(root.where(lock))
    try:
        yield
    finally:
        held.release()
