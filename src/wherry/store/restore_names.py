"""Names that go back into a rebuilt database, from their copy and from the old database.

All of them go through the table of names itself: memory does not grow with their number.
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

MAX_LOST = 10_000  # lost names that are listed; the others are counted
MAX_LOST_TEXT = 4 * 2**20  # characters of all that are listed
_CACHE = 32 * 2**10  # KiB that SQLite keeps of the database; names come in any order
_LOST = (
    "manifest NOT IN (SELECT manifest FROM images) OR root NOT IN (SELECT known_as FROM documents)"
)


class LostNames(Record):
    """Names whose images are not whole, as people write them, and how many more there are."""

    listed: tuple[str, ...]
    more: int


def put_names(connection: sqlite3.Connection, root: Directory, old: str) -> list[str]:
    """Put the names of the copy into the table, with those that only the old database has.

    The copy may be behind. Where they differ, a database that is whole is right. Returns the
    damaged rows of the copy; raises `StoreError` if it cannot be read.
    """
    damaged: list[str] = []
    connection.execute(f"PRAGMA cache_size=-{_CACHE}")
    _put(connection, "REPLACE", _copied(root, damaged))
    db = _open(root, old)
    if db is not None:
        with contextlib.closing(db):
            preferred = "REPLACE" if _is_whole(db) else "IGNORE"
            _put(connection, preferred, _known(db))
    return damaged


def take_lost(connection: sqlite3.Connection) -> LostNames:
    """Remove the names whose images are not whole."""
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
    """Note where blobs came from: a name by digest belongs to an image that was pulled."""
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
    """Insert names; ``otherwise`` says what happens to one that is there already."""
    now = int(time.time())
    columns = "name, root, manifest, kept, updated"
    connection.executemany(
        f"INSERT OR {otherwise} INTO refs ({columns}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - constants
        (
            (str(each.reference), str(each.root), str(each.manifest), int(each.kept), now)
            for each in names
        ),
    )


def _copied(root: Directory, damaged: list[str]) -> Iterator[SavedName]:
    """Yield the names of the copy; its damaged rows go to ``damaged``."""
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
    """Yield the names of the old database as far as it can be read."""
    with contextlib.suppress(StoreError), db.read() as connection:
        yield from backup.names(connection)
