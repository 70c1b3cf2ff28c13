"""Translation of SQLite's errors to those of the store."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from wherry.errors import StoreError, StoreFull
from wherry.store.os_errors import FULL, REBUILD

if TYPE_CHECKING:
    from pathlib import Path

# SQLite reports a full disk as an I/O error when it writes the log or sizes the log's index.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
# Another process writes, or recovers the log after a writer was killed.
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the error of the store that says what SQLite reported."""
    code = _code(error)
    if code in _NO_ROOM:
        is_write = code == sqlite3.SQLITE_IOERR_WRITE  # the disk may have another fault
        said = str(error) if is_write else "no space left on device"
        return StoreFull(said, hint=FULL).within(path)
    # The class DatabaseError itself means damage; all other errors have a class derived from it.
    hint = REBUILD if type(error) is sqlite3.DatabaseError else ""
    if _primary(code) == sqlite3.SQLITE_READONLY:
        hint = "the owner of the store can write to it"
    return StoreError(str(error), hint=hint).within(path)


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection holds the lock that was asked for."""
    return _code(error) in _BUSY


def is_interrupt(error: sqlite3.Error) -> bool:
    """Tell whether the connection was interrupted."""
    return _code(error) == sqlite3.SQLITE_INTERRUPT


def cannot_open(error: sqlite3.Error) -> bool:
    """Tell whether SQLite could not open a file, for reasons it does not give."""
    return _primary(_code(error)) == sqlite3.SQLITE_CANTOPEN


def _code(error: sqlite3.Error) -> int:
    """Return the extended result code (sqlite.org/rescode.html), or 0."""
    return getattr(error, "sqlite_errorcode", 0)


def _primary(code: int) -> int:
    return code & 0xFF
