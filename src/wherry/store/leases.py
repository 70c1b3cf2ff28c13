"""Leases: which operations are under way, and what must not be collected for their sake.

Each holds a lock on a file of its own, ``leases/<name>``, which dies with its process, and
rows in the database for the blobs that it has put or found. A row whose file nobody holds is
dead: no time-outs, no process ids.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from wherry.store.locks import lock_abandoned, lock_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from wherry.store.directory import Directory

DIRECTORY = "leases"
_NAME = re.compile(r"[0-9a-f]{32}")
_PAUSE = 0.001  # seconds; a sweeper holds a file for less


class Lease:
    """One operation's lock; made when it begins, removed when it ends."""

    def __init__(self, root: Directory) -> None:
        self.name = os.urandom(16).hex()
        self._directory = root.child(DIRECTORY, make=True)
        # No other operation has the name: only a sweeper may hold the file, to remove it.
        while (lock := lock_file(self._directory, self.name)) is None:
            time.sleep(_PAUSE)
        self._lock = lock

    @property
    def is_ours(self) -> bool:
        """Whether the lease has not ended, and is not that of the process that forked this one."""
        return self._lock.held

    def end(self) -> None:
        """Remove the file and let go of the lock; a forked child leaves the parent's alone."""
        if not self.is_ours:
            return
        try:
            self._directory.unlink(self.name)
        finally:
            self._lock.release()


def hold(connection: sqlite3.Connection, name: str, digest: str) -> None:
    """Keep a blob as long as the lease ``name`` lives; in the transaction that saw its file."""
    connection.execute("INSERT OR IGNORE INTO leases VALUES (?, ?)", (name, digest))


def release(connection: sqlite3.Connection, name: str) -> None:
    """Drop all rows of a lease."""
    connection.execute("DELETE FROM leases WHERE lease = ?", (name,))


def dead(connection: sqlite3.Connection, root: Directory) -> set[str]:
    """Return the names of the leases whose operations have died."""
    rows = connection.execute("SELECT DISTINCT lease FROM leases").fetchall()
    directory = _directory(root)
    return {name for (name,) in rows if directory is None or _is_dead(directory, name)}


def _is_dead(directory: Directory, name: str) -> bool:
    if _NAME.fullmatch(name) is None:
        return True  # another user has written it: no operation has such a name
    lock = lock_abandoned(directory, name)
    if lock is None:
        return not directory.exists(name)
    lock.release()
    return True


def sweep(root: Directory) -> None:
    """Remove the files of operations that have died."""
    for directory, name in _files(root):
        lock = lock_abandoned(directory, name)
        if lock is not None:
            directory.unlink(name)
            lock.release()


def living(root: Directory) -> bool:
    """Tell whether any operation is under way."""
    return any(not _is_dead(directory, name) for directory, name in _files(root))


def _directory(root: Directory) -> Directory | None:
    try:
        return root.child(DIRECTORY)
    except FileNotFoundError:
        return None


def _files(root: Directory) -> Iterator[tuple[Directory, str]]:
    """Yield the names of all leases; nothing else in their directory is ours."""
    directory = _directory(root)
    if directory is not None:
        for name in sorted(filter(_NAME.fullmatch, directory.names())):
            yield directory, name
