"""A copy of a store's names, in a file beside its database.

Images can be found again from the blobs, but their names are only in the database. If that is
lost, `wherry.store.rebuild` takes the names from this copy. The file is replaced as a whole, so
it is complete at any moment.
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
from wherry.store.database_file import exclusive

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Iterable, Iterator
    from typing import BinaryIO

    from wherry.store.db import Database
    from wherry.store.directory import Directory

FILE = "names.json"
_NEW = "names.new"
MANY = 1000  # names; a store with more does not write the copy at each change
INTERVAL = 60.0  # seconds between two copies of so many names
MAX_SIZE = 256 * 2**20  # bytes; a larger copy is not read
MAX_ROW = 4 * 2**20  # bytes; the longest name is that of an archive's manifest.json
_MAX_DAMAGED = 1000  # bytes of a damaged row; a longer one may be several rows
_CHUNK = 2**18  # bytes that are read at once
_BATCH = 1000  # names that are written at once
_COMMAS = 3  # in a row; neither names nor digests contain commas
_START = re.compile(rb'\s*\{\s*"version"\s*:\s*1\s*,\s*"names"\s*:\s*\[')
_END = re.compile(rb"\]\s*\}\s*\Z")
_BETWEEN = b" \t\r\n,}"  # bytes between two rows, and after the last one
# The first two alternatives are not the bounds of a row: an IPv6 address, and the beginning of one
# that the next chunk may complete.
_BRACKET = re.compile(
    rb"\[[0-9A-Fa-f]*:[0-9A-Fa-f:]*\]"
    rb"|\[[0-9A-Fa-f:]*\Z"
    rb"|([\[\]][\[\] \t\r\n,}]*)"
)
_WITHOUT = (
    "the database is left as it was; put a good copy back, or move this one away:\n"
    "the images come back without it, their names do not"
)


class SavedName(Record):
    """A name of the copy: its root, its manifest, and whether it keeps them by itself."""

    reference: Reference
    root: Digest
    manifest: Digest
    kept: bool


class DamagedRow(Record):
    """A row of the copy that cannot be read, as text."""

    text: str


def save(db: Database, directory: Directory) -> None:
    """Copy the names after a change; many names are copied only once in `INTERVAL` seconds."""
    with exclusive(directory, FILE):  # so the process that writes last has read last
        if _age(directory) < INTERVAL and _has_many(db):
            return
        with contextlib.closing(_texts(db)) as texts:
            _write(directory, texts)


def names(connection: sqlite3.Connection) -> Iterator[SavedName]:
    """Yield the readable names of a database that may be damaged."""
    for row in connection.execute("SELECT name, root, manifest, kept FROM refs"):
        with contextlib.suppress(ValueError, TypeError, WherryError):
            yield _saved(*row)


def is_behind(db: Database, directory: Directory) -> bool:
    """Tell whether names have changed since the copy was written."""
    try:
        written = directory.stat(FILE).st_mtime
    except FileNotFoundError:
        return True
    with db.read() as connection:
        (changed,) = connection.execute("SELECT max(updated) FROM refs").fetchone()
    return changed is not None and changed >= int(written)


def _age(directory: Directory) -> float:
    """Return the seconds since the copy was written; a time in the future counts as long ago."""
    try:
        passed = time.time() - directory.stat(FILE).st_mtime
    except FileNotFoundError:
        return INTERVAL
    return passed if passed >= 0 else INTERVAL


def _has_many(db: Database) -> bool:
    with db.read() as connection:
        query = "SELECT count(*) FROM (SELECT 1 FROM refs LIMIT ?)"
        (count,) = connection.execute(query, (MANY + 1,)).fetchone()
    return bool(count > MANY)


def _texts(db: Database) -> Generator[str]:
    """Yield the copy in parts, as one JSON document."""
    yield '{"version":1,"names":['
    with db.read() as connection:
        rows = connection.execute("SELECT name, root, manifest, kept FROM refs ORDER BY name")
        comma = ""
        while batch := rows.fetchmany(_BATCH):
            yield comma + json.dumps(batch, separators=(",", ":"))[1:-1]
            comma = ","
    yield "]}"


def _write(directory: Directory, texts: Iterable[str]) -> None:
    try:
        directory.unlink(_NEW)
        descriptor = directory.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(texts)
            file.flush()
            os.fsync(file.fileno())
        directory.rename(_NEW, FILE)
        directory.sync()
    finally:
        directory.unlink(_NEW)


def load(directory: Directory) -> Iterator[SavedName | DamagedRow]:
    """Yield the names of the copy, and at most one row that cannot be read.

    Yields nothing if there is no copy. The copy is read in chunks, so memory does not grow with
    it. If this raises, the caller must discard the names that it got: names would be lost
    silently.

    Raises:
        StoreError: The copy cannot be read, is too large, is cut off, or is damaged in more
            than one row.
    """
    path = directory.where(FILE)
    has_damage = False
    try:
        with os.fdopen(directory.open(FILE), "rb") as file:
            for row in _rows(file, path):
                name = _read_row(row)
                if name is not None:
                    yield name
                    continue
                if has_damage or len(row) > _MAX_DAMAGED:
                    raise _damaged(path, "is damaged in more than one row")
                has_damage = True
                yield DamagedRow(row.decode(errors="backslashreplace"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror or error})") from error


def _rows(file: BinaryIO, path: str) -> Iterator[bytes]:
    """Yield the content of each pair of brackets."""
    size = os.fstat(file.fileno()).st_size
    if size > MAX_SIZE:
        raise _damaged(path, f"has more than {MAX_SIZE:,} bytes")
    end = os.pread(file.fileno(), _MAX_DAMAGED, max(0, size - _MAX_DAMAGED))
    text = file.read(_CHUNK)
    start = _START.match(text)
    if start is None or _END.search(end) is None:
        raise _damaged(path, "is cut off or damaged")
    rows, rest = _split(text[start.end() :])
    yield from rows
    while file.tell() < size and (text := file.read(_CHUNK)):
        rows, rest = _split(rest + text)
        yield from rows
        if len(rest) > MAX_ROW:
            raise _damaged(path, f"has a row of more than {MAX_ROW:,} bytes")
    if rest := rest.strip(_BETWEEN):
        yield rest


def _split(text: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete rows of a text, and the text after them."""
    rows, at = [], 0
    for bracket in _BRACKET.finditer(text):
        if bracket.lastindex:
            if row := text[at : bracket.start()].strip(_BETWEEN):
                rows.append(row)
            at = bracket.end()
    return rows, text[at:].lstrip(_BETWEEN)


def _read_row(row: bytes) -> SavedName | None:
    """Return the name of a row, or None if it is damaged."""
    # The count bounds the memory that the JSON parser takes.
    if row.count(b",") != _COMMAS:
        return None
    try:
        return _saved(*json.loads(b"[%b]" % row))
    except (ValueError, TypeError, RecursionError, WherryError):
        return None


def _damaged(path: str, reason: str) -> StoreError:
    return StoreError(f"the copy of the names {reason}", hint=_WITHOUT).within(path)


def _saved(name: object, root: object, manifest: object, kept: object) -> SavedName:
    reference = Reference.parse(str(name))
    if (reference.tag is None) == (reference.digest is None):
        raise ValueError("a name of a store has either a tag or a digest")
    return SavedName(reference, Digest.parse(str(root)), Digest.parse(str(manifest)), bool(kept))
