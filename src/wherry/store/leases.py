"""Leases: they keep blobs from garbage collection while an operation uses them.

A lease is a lock on a file of its own, ``leases/<name>``, and a row in the database for each
blob that the operation stored or found. The lock ends with the process, so a lease whose file is
not locked is dead. Neither time-outs nor process ids are needed.
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
_PAUSE_SECONDS = 0.001  # a sweeper holds a file for less


class Lease:
    """The lock of one operation, held from its creation until `end`."""

    def __init__(self, root: Directory) -> None:
        self.name = os.urandom(16).hex()
        self._directory = root.child(DIRECTORY, make=True)
        # The name is random: only a sweeper can hold the file, and only to remove it.
        while (lock := lock_file(self._directory, self.name)) is None:
            time.sleep(_PAUSE_SECONDS)
        self._lock = lock

    @property
    def is_ours(self) -> bool:
        """Whether the lease is active and was taken by this process, not by its parent."""
        return self._lock.held

    def end(self) -> None:
        """Remove the file and release the lock; does nothing in a forked child."""
        if not self.is_ours:
            return
        try:
            self._directory.unlink(self.name)
        finally:
            self._lock.release()


def hold(connection: sqlite3.Connection, name: str, digest: str) -> None:
    """Add a blob to the lease ``name``; call it in the transaction that saw the blob's file."""
    connection.execute("INSERT OR IGNORE INTO leases VALUES (?, ?)", (name, digest))


def release(connection: sqlite3.Connection, name: str) -> None:
    """Drop all rows of a lease."""
    connection.execute("DELETE FROM leases WHERE lease = ?", (name,))


def dead(connection: sqlite3.Connection, root: Directory) -> set[str]:
    """Return the names of the leases whose operations no longer run."""
    rows = connection.execute("SELECT DISTINCT lease FROM leases").fetchall()
    directory = _directory(root)
    return {name for (name,) in rows if directory is None or _is_dead(directory, name)}


def _is_dead(directory: Directory, name: str) -> bool:
    if _NAME.fullmatch(name) is None:
        return True  # written by another user: no operation has such a name
    lock = lock_abandoned(directory, name)
    if lock is None:
        return not directory.exists(name)
    lock.release()
    return True


def sweep(root: Directory) -> None:
    """Remove the files of dead leases."""
    for directory, name in _files(root):
        lock = lock_abandoned(directory, name)
        if lock is not None:
            directory.unlink(name)
            lock.release()


def is_any_alive(root: Directory) -> bool:
    """Tell whether any operation is running."""
    return any(not _is_dead(directory, name) for directory, name in _files(root))


def _directory(root: Directory) -> Directory | None:
    try:
        return root.child(DIRECTORY)
    except FileNotFoundError:
        return None


def _files(root: Directory) -> Iterator[tuple[Directory, str]]:
    """Yield the directory and the name of each lease; other names there are ignored."""
    directory = _directory(root)
    if directory is not None:
        for name in sorted(filter(_NAME.fullmatch, directory.names())):
            yield directory, name
