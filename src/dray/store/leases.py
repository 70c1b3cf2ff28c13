"""Leases: which operations are under way, and what must not be collected for their sake.

Each holds a lock on a file of its own, ``leases/<name>``, which dies with its process, and
rows in the database for the blobs that it has put or found. A row whose file nobody holds is
dead: no time-outs, no process ids.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from dray.store.locks import lock_abandoned, lock_file, make_directory

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

_PAUSE = 0.001  # seconds; a sweeper holds a file for less


class Lease:
    """One operation's lock; made when it begins, removed when it ends."""

    def __init__(self, directory: Path) -> None:
        self.name = os.urandom(16).hex()
        self._path = directory / self.name
        make_directory(directory)
        # The name is nobody else's: who holds the file is a sweeper about to remove it.
        while (lock := lock_file(self._path)) is None:
            time.sleep(_PAUSE)
        self._lock = lock

    def end(self) -> None:
        """Remove the file and let go of the lock."""
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(self._lock)


def hold(connection: sqlite3.Connection, name: str, digest: str) -> None:
    """Keep a blob as long as the lease ``name`` lives; in the transaction that saw its file."""
    connection.execute("INSERT OR IGNORE INTO leases VALUES (?, ?)", (name, digest))


def release(connection: sqlite3.Connection, name: str) -> None:
    """Drop all rows of a lease."""
    connection.execute("DELETE FROM leases WHERE lease = ?", (name,))


def dead(connection: sqlite3.Connection, directory: Path) -> set[str]:
    """Return the names of the leases whose operations have died."""
    rows = connection.execute("SELECT DISTINCT lease FROM leases").fetchall()
    return {name for (name,) in rows if _is_dead(directory / name)}


def _is_dead(path: Path) -> bool:
    lock = lock_abandoned(path)
    if lock is None:
        return not path.exists()
    os.close(lock)
    return True


def sweep(directory: Path) -> None:
    """Remove the files of operations that have died."""
    for path in _files(directory):
        lock = lock_abandoned(path)
        if lock is not None:
            path.unlink(missing_ok=True)
            os.close(lock)


def living(directory: Path) -> bool:
    """Tell whether any operation is under way."""
    return any(not _is_dead(path) for path in _files(directory))


def _files(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(directory.iterdir())
    except FileNotFoundError:
        return
