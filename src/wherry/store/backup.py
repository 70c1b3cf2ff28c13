"""A copy of a store's names beside its database: small, and whole at any moment.

Blobs say what images there are; what they are called stands in the database alone. The copy
is what `rebuild` takes the names from when the database is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import TYPE_CHECKING

from wherry.errors import StoreError, WherryError
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.store.db import alone

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from wherry.store.db import Database
    from wherry.store.directory import Directory

FILE = "names.json"
_NEW = "names.new"
MANY = 1000  # names from which on the copy is not written at each change
INTERVAL = 60.0  # seconds between two copies of that many names
MAX_SIZE = 256 * 2**20  # bytes of a copy that is read
_MAX_ROW = 1000  # bytes; a name has 400, a digest 135
_START = re.compile(rb'\s*\{\s*"version"\s*:\s*1\s*,\s*"names"\s*:\s*\[')
_END = re.compile(rb"\]\s*\}\s*\Z")
_WITHOUT = (
    "the database is left as it was; put a good copy back, or move this one away:\n"
    "the images come back without it, their names do not"
)
_BETWEEN = b" \t\r\n,}"  # what stands between two rows, and behind the last one


class SavedName(Record):
    """A name, what it stands for, and whether it holds that by itself."""

    reference: Reference
    root: Digest
    manifest: Digest
    kept: bool


def save(db: Database, directory: Directory) -> None:
    """Copy the names after a change, unless they are many and were copied a moment ago."""
    with alone(directory, FILE):  # the process that writes last has read last
        with db.read() as connection:
            rows = connection.execute("SELECT name, root, manifest, kept FROM refs ORDER BY name")
            names = rows.fetchall()
        if len(names) > MANY and _age(directory) < INTERVAL:
            return
        _write(directory, json.dumps({"version": 1, "names": names}, separators=(",", ":")))


def names(connection: sqlite3.Connection) -> Iterator[SavedName]:
    """Yield the names of a database that may be damaged, as far as they can be read."""
    for row in connection.execute("SELECT name, root, manifest, kept FROM refs"):
        with contextlib.suppress(ValueError, TypeError, WherryError):
            yield _saved(*row)


def is_behind(db: Database, directory: Directory) -> bool:
    """Tell whether names have been set since the copy was written."""
    try:
        written = directory.stat(FILE).st_mtime
    except FileNotFoundError:
        return True
    with db.read() as connection:
        (changed,) = connection.execute("SELECT max(updated) FROM refs").fetchone()
    return changed is not None and changed >= int(written)


def _age(directory: Directory) -> float:
    """Return the seconds since the copy was written; a time in the future is long ago."""
    try:
        passed = time.time() - directory.stat(FILE).st_mtime
    except FileNotFoundError:
        return INTERVAL
    return passed if passed >= 0 else INTERVAL


def _write(directory: Directory, text: str) -> None:
    try:
        directory.unlink(_NEW)
        descriptor = directory.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        directory.rename(_NEW, FILE)
        directory.sync()
    finally:
        directory.unlink(_NEW)


def load(directory: Directory) -> tuple[list[SavedName], list[str]]:
    """Return the names of the copy, and the row of it that cannot be read, if there is one.

    Nothing where there is no copy. It is read row by row: no row has a bracket inside, so one
    row that is damaged is no matter to the others. Raises `StoreError` for a copy that cannot be
    read, is cut off, or is damaged in more than one row: names would be lost without a word.
    """
    path = directory.where(FILE)
    raw = _read(directory)
    if raw is None:
        return [], []
    start = _START.match(raw)
    if start is None or _END.search(raw, max(0, len(raw) - _MAX_ROW)) is None:
        raise _damaged(path, "is cut off or damaged")
    names: list[SavedName] = []
    unreadable: list[str] = []
    rows = re.split(rb"[\[\]]", raw[start.end() :])
    for row in filter(None, (part.strip(_BETWEEN) for part in rows)):
        try:
            names.append(_saved(*json.loads(b"[%b]" % row)))
        except (ValueError, TypeError, RecursionError, WherryError):
            unreadable.append(row.decode(errors="backslashreplace"))
            if len(unreadable) > 1 or len(row) > _MAX_ROW:
                raise _damaged(path, "is damaged in more than one row") from None
    return names, unreadable


def _read(directory: Directory) -> bytes | None:
    """Return the copy as it is, or None if there is none; raises `StoreError`."""
    path = directory.where(FILE)
    try:
        with os.fdopen(directory.open(FILE), "rb") as file:
            raw = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror or error})") from error
    if len(raw) > MAX_SIZE:
        raise _damaged(path, f"has more than {MAX_SIZE:,} bytes")
    return raw


def _damaged(path: str, reason: str) -> StoreError:
    return StoreError(f"{path}: the copy of the names {reason}", hint=_WITHOUT)


def _saved(name: object, root: object, manifest: object, kept: object) -> SavedName:
    return SavedName(
        Reference.parse(str(name)),
        Digest.parse(str(root)),
        Digest.parse(str(manifest)),
        bool(kept),
    )
