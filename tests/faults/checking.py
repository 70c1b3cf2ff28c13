"""Check a store from outside, with hashlib, json and sqlite3.

The check must not rely on the code under test, so it imports nothing of wherry.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DATABASE = "wherry.db"
_FILES = {
    DATABASE,
    "wherry.lock",
    "wherry.reserve",
    "names.json",
    "names.lock",
    "blobs",
    "ingest",
    "leases",
    "uploads",
}
_BESIDE = {f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal"}
_UNFINISHED = {"names.new"}  # left by a killed process; the next one replaces it
_BLOCK = 1 << 20


def blob_path(store: Path, digest: str) -> Path:
    """Return the path of a complete blob."""
    return store / "blobs" / digest.replace(":", "/", 1)


def part_path(store: Path, digest: str) -> Path:
    """Return the path of a part file."""
    return store / "ingest" / f"{digest.replace(':', '-', 1)}.part"


def part_size(store: Path, digest: str) -> int:
    """Return the size of a part file in bytes; 0 if there is none."""
    try:
        return part_path(store, digest).stat().st_size
    except FileNotFoundError:
        return 0


def problems(
    store: Path, contents: Mapping[str, bytes], names: Mapping[str, str], *, busy: bool = False
) -> list[str]:
    """List the problems of a store.

    `contents` are all blobs that it may have, by digest. `names` are the expected manifests of
    names; other names are not checked. With `busy`, a process may be using the store.
    """
    return [
        *_strange_files(store, _FILES | _BESIDE | (set() if names else _UNFINISHED)),
        *_wrong_blobs(store),
        *_wrong_parts(store, contents),
        *_dangling(store),
        *_wrong_names(store, names),
        *([] if busy else _held(store)),
    ]


def _strange_files(store: Path, known: set[str]) -> Iterator[str]:
    for file in store.iterdir():
        if file.name not in known:
            yield f"left over: {file.name}"


def _wrong_blobs(store: Path) -> Iterator[str]:
    for file in (store / "blobs").glob("*/*"):
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, file.parent.name).hexdigest()
        if found != file.name:
            yield f"blob {file.name[:12]} has the content of {found[:12]}"
    for file in (store / "blobs").glob("*"):
        if not file.is_dir():
            yield f"left over: blobs/{file.name}"


def _wrong_parts(store: Path, contents: Mapping[str, bytes]) -> Iterator[str]:
    """Report unexpected files, and part files that differ from their blobs."""
    for file in (store / "ingest").glob("*"):
        whole = contents.get(file.name.removesuffix(".part").replace("-", ":", 1))
        if file.suffix != ".part" or whole is None:
            yield f"left over: ingest/{file.name}"
        elif not whole.startswith(file.read_bytes()):
            yield f"part {file.name[:19]} differs from its blob"


def _dangling(store: Path) -> Iterator[str]:
    """Report references to missing blobs, in the database and in the documents."""
    if not _made(store):
        return
    with _opened(store) as connection:
        for (answer,) in connection.execute("PRAGMA integrity_check"):
            if answer != "ok":
                yield f"database: {answer}"
        for name, root, manifest in connection.execute("SELECT name, root, manifest FROM refs"):
            yield from _missing(store, root, f"root of {name}", connection)
            yield from _missing(store, manifest, f"manifest of {name}", connection)
        for (manifest,) in connection.execute("SELECT manifest FROM images"):
            if blob_path(store, manifest).exists():
                yield from _missing_children(store, manifest)
    connection.close()


def _missing(store: Path, digest: str, what: str, connection: sqlite3.Connection) -> Iterator[str]:
    """Report a missing document by the digest that the registry uses for it."""
    row = connection.execute("SELECT digest FROM documents WHERE known_as = ?", (digest,))
    (own,) = row.fetchone() or (digest,)
    if not blob_path(store, own).exists():
        yield f"the {what} is missing: {digest}"


def _missing_children(store: Path, manifest: str) -> Iterator[str]:
    document = json.loads(blob_path(store, manifest).read_bytes())
    for child in (document["config"], *document["layers"]):
        path = blob_path(store, child["digest"])
        if not path.exists():
            yield f"image {manifest[:19]} lacks {child['digest'][:19]}"
        elif path.stat().st_size != child["size"]:
            yield f"{child['digest'][:19]} has not the size that image {manifest[:19]} gives"


def _wrong_names(store: Path, names: Mapping[str, str]) -> Iterator[str]:
    found: dict[str, str] = {}
    if _made(store):
        with _opened(store) as connection:
            found = dict(connection.execute("SELECT name, manifest FROM refs"))
        connection.close()
    for name, manifest in names.items():
        if found.get(name) != manifest:
            yield f"{name} stands for {found.get(name)}, not for {manifest[:19]}"
        elif not blob_path(store, manifest).exists():
            yield f"{name} has a name, but no manifest"


def _held(store: Path) -> Iterator[str]:
    """Report leases that a process still locks."""
    for file in (store / "leases").glob("*"):
        descriptor = os.open(file, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield f"lease {file.name[:8]} is held by no known process"
        finally:
            os.close(descriptor)


def _made(store: Path) -> bool:
    """Return whether there is a database; a killed process may have left an empty file."""
    if not (store / DATABASE).exists():
        return False
    with _opened(store) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return bool(version)


def _opened(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(store / DATABASE, timeout=30)
