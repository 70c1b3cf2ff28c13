"""Restore names to a rebuilt database, from their copy and from the old database.

The names are merged in the table itself, so memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from wherry.errors import StoreError
from wherry.model.record import Record
from wherry.store import backup, refs
from wherry.store.backup import DamagedRow, SavedName
from wherry.store.db import Database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from wherry.store.directory import Directory

MAX_LOST = 10_000  # lost names that are listed; the rest is counted
MAX_LOST_TEXT = 4 * 2**20  # characters of all listed names together
_CACHE = 32 * 2**10  # KiB of SQLite's page cache; the names come in any order
_LOST = (
    "manifest NOT IN (SELECT manifest FROM images UNION ALL SELECT digest FROM temp.whole)"
    " OR root NOT IN (SELECT known_as FROM documents)"
)
_WHOLE = "CREATE TEMP TABLE IF NOT EXISTS whole (digest TEXT PRIMARY KEY)"


class LostNames(Record):
    """The short names whose images are not complete, and the number of those left out."""

    listed: tuple[str, ...]
    more: int


def put_names(connection: sqlite3.Connection, root: Directory, old: str) -> list[str]:
    """Insert the names of the copy, and those that only the old database has.

    The copy may be outdated. Where the two differ, an undamaged database is right. What the
    server was sent comes from the old database alone, as far as it can be read.

    Returns:
        The damaged rows of the copy, as text.

    Raises:
        StoreError: The copy cannot be read.
    """
    damaged: list[str] = []
    connection.execute(f"PRAGMA cache_size=-{_CACHE}")
    _put(connection, "REPLACE", _copied(root, damaged))
    db = _open(root, old)
    if db is not None:
        with contextlib.closing(db):
            preferred = "REPLACE" if _is_whole(db) else "IGNORE"
            _put(connection, preferred, _known(db))
            _put_pushed(connection, db)
    return damaged


def add_whole(connection: sqlite3.Connection, digest: str) -> None:
    """Remember, until `take_lost`, a complete document that is no image but may have a name."""
    connection.execute(_WHOLE)
    connection.execute("INSERT OR IGNORE INTO temp.whole VALUES (?)", (digest,))


def take_lost(connection: sqlite3.Connection) -> LostNames:
    """Remove the names whose images are not complete."""
    connection.execute(_WHOLE)
    listed: list[str] = []
    count = size = 0
    for (text,) in connection.execute(f"SELECT name FROM refs WHERE {_LOST} ORDER BY name"):  # noqa: S608 - a constant
        count += 1
        size += len(text)
        if count <= MAX_LOST and size <= MAX_LOST_TEXT:
            listed.append(refs.read_name(text).familiar)
    connection.execute(f"DELETE FROM refs WHERE {_LOST}")  # noqa: S608 - a constant
    return LostNames(tuple(listed), count - len(listed))


def add_provenance(connection: sqlite3.Connection) -> None:
    """Record where blobs came from: an image with a name by digest was pulled from there."""
    connection.execute(
        "INSERT OR REPLACE INTO provenance"
        " SELECT edges.child, substr(refs.name, 1, instr(refs.name, '@') - 1), ?"
        " FROM refs JOIN edges ON edges.parent = refs.manifest WHERE instr(refs.name, '@')",
        (int(time.time()),),
    )


def manifests_of(connection: sqlite3.Connection, root: str) -> Iterator[str]:
    """Yield the manifests that names of a document stand for."""
    for (manifest,) in connection.execute(
        "SELECT manifest FROM refs WHERE root = ? ORDER BY name", (root,)
    ):
        yield manifest


def _put(connection: sqlite3.Connection, otherwise: str, names: Iterable[SavedName]) -> None:
    """Insert names; ``otherwise`` is SQLite's action for a name that is already there."""
    now = int(time.time())
    columns = "name, root, manifest, kept, updated"
    connection.executemany(
        f"INSERT OR {otherwise} INTO refs ({columns}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - constants
        (
            (str(each.reference), str(each.root), str(each.manifest), int(each.kept), now)
            for each in names
        ),
    )


def _put_pushed(connection: sqlite3.Connection, db: Database) -> None:
    """Insert the rows of repositories, as far as they can be read."""
    with contextlib.suppress(StoreError), db.read() as old:
        rows = old.execute("SELECT repository, digest, present, added FROM repository_blobs")
        connection.executemany("INSERT OR IGNORE INTO repository_blobs VALUES (?, ?, ?, ?)", rows)


def _copied(root: Directory, damaged: list[str]) -> Iterator[SavedName]:
    """Yield the names of the copy, and append its damaged rows to ``damaged``."""
    for row in backup.load(root):
        if isinstance(row, DamagedRow):
            damaged.append(row.text)
        else:
            yield row


def _open(root: Directory, old: str) -> Database | None:
    with contextlib.suppress(StoreError, FileNotFoundError):
        return Database(root, old, read_only=True)
    return None


def _is_whole(db: Database) -> bool:
    with contextlib.suppress(StoreError), db.read() as connection:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    return False


def _known(db: Database) -> Iterator[SavedName]:
    """Yield the readable names of the old database."""
    with contextlib.suppress(StoreError), db.read() as connection:
        yield from backup.names(connection)
