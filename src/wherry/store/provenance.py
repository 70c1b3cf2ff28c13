"""Rows of provenance: the repositories that are known to have a blob."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.model.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_BATCH = 900  # digests of one query; SQLite may take 999 parameters


def find(
    connection: sqlite3.Connection, digests: Iterable[Digest]
) -> dict[Digest, list[tuple[str, int]]]:
    """Return where blobs are known to be: repositories and Unix times, the latest first.

    Blobs that no repository is known to have are left out.
    """
    texts = list(dict.fromkeys(map(str, digests)))
    found: dict[Digest, list[tuple[str, int]]] = {}
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        marks = ",".join("?" * len(batch))
        rows = connection.execute(
            "SELECT digest, repository, seen FROM provenance"  # noqa: S608 - only marks
            f" WHERE digest IN ({marks}) ORDER BY seen DESC, repository",
            batch,
        )
        for digest, repository, seen in rows:
            found.setdefault(Digest.parse(digest), []).append((repository, seen))
    return found


def record(connection: sqlite3.Connection, repository: str, digests: Iterable[Digest]) -> None:
    """Record that a repository (``host/path``) has blobs now. Idempotent."""
    now = int(time.time())
    connection.executemany(
        "INSERT OR REPLACE INTO provenance VALUES (?, ?, ?)",
        [(str(digest), repository, now) for digest in digests],
    )


def forget(connection: sqlite3.Connection, repository: str, digest: Digest) -> None:
    """Remove the record that a repository has a blob."""
    connection.execute(
        "DELETE FROM provenance WHERE digest = ? AND repository = ?", (str(digest), repository)
    )
