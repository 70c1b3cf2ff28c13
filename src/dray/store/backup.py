"""A copy of a store's names beside its database: small, and whole at any moment.

Blobs say what images there are; what they are called stands in the database alone. The copy
is what `rebuild` takes the names from when the database is lost.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING

from dray.errors import DrayError
from dray.model.digest import Digest
from dray.model.record import Record
from dray.model.reference import Reference
from dray.store.db import alone

if TYPE_CHECKING:
    from dray.store.db import Database
    from dray.store.directory import Directory

FILE = "names.json"
_NEW = "names.new"
MANY = 1000  # names from which on the copy is not written at each change
INTERVAL = 60.0  # seconds between two copies of that many names
MAX_SIZE = 256 * 2**20  # bytes of a copy that is read
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
    finally:
        directory.unlink(_NEW)


def load(directory: Directory) -> tuple[list[SavedName], list[str]]:
    """Return the names of the copy, and what stands between them and cannot be read.

    None where there is no copy. It is read row by row: no row has a bracket inside, so what is
    damaged in one is no matter to the others.
    """
    try:
        with os.fdopen(directory.open(FILE), "rb") as file:
            _, *parts = re.split(rb"[\[\]]", file.read(MAX_SIZE))
    except OSError:
        return [], []
    names: list[SavedName] = []
    unreadable: list[str] = []
    for row in filter(None, (part.strip(_BETWEEN) for part in parts)):
        try:
            names.append(_saved(row))
        except (ValueError, TypeError, RecursionError, DrayError):
            unreadable.append(row.decode(errors="backslashreplace"))
    return names, unreadable


def _saved(text: bytes) -> SavedName:
    name, root, manifest, kept = json.loads(b"[%b]" % text)
    return SavedName(
        Reference.parse(str(name)),
        Digest.parse(str(root)),
        Digest.parse(str(manifest)),
        bool(kept),
    )
