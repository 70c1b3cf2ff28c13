"""Rows of repositories that are served: which blobs each one has.

A repository has what was pushed to it, and what is below one of its names, except what was
deleted from it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from wherry.model.digest import Digest

KEPT_SECONDS = 86_400  # a blob that no manifest lists yet; half-finished uploads stay as long

# Whether a document above a blob has a name in the repository. Names of tags and of digests lie
# between ``REPOSITORY:`` and ``REPOSITORYA``.
_ABOVE = """
WITH RECURSIVE above (digest) AS (
    VALUES (:digest)
    UNION SELECT documents.digest FROM documents WHERE known_as = :digest
    UNION SELECT edges.parent FROM above JOIN edges ON edges.child = above.digest
)
"""
_BELOW_A_NAME = f"""{_ABOVE}
SELECT 1 FROM above CROSS JOIN refs ON refs.root = above.digest
WHERE refs.name >= :first AND refs.name < :end
UNION ALL
SELECT 1 FROM above CROSS JOIN documents ON documents.digest = above.digest
CROSS JOIN refs ON refs.root = documents.known_as
WHERE documents.known_as <> documents.digest AND refs.name >= :first AND refs.name < :end
LIMIT 1
"""  # noqa: S608 - a constant
_BELOW_ANY_NAME = f"""{_ABOVE}
SELECT 1 FROM above CROSS JOIN refs ON refs.root = above.digest
UNION ALL
SELECT 1 FROM repository_blobs WHERE digest = :digest AND present
LIMIT 1
"""  # noqa: S608 - a constant


def name_range(repository: str) -> tuple[str, str]:
    """Return bounds of the names in a repository (``host/path``): from the first, to the second."""
    return f"{repository}:", f"{repository}A"


def has(connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
    """Tell whether a repository (``host/path``) has a blob or a document."""
    row = connection.execute(
        "SELECT present FROM repository_blobs WHERE repository = ? AND digest = ?",
        (repository, str(digest)),
    ).fetchone()
    return is_below_name(connection, repository, digest) if row is None else bool(row[0])


def missing(
    connection: sqlite3.Connection, repository: str, digests: Iterable[Digest]
) -> list[Digest]:
    """Return those of some blobs that a repository does not have."""
    return [digest for digest in digests if not has(connection, repository, digest)]


def is_recorded(connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
    """Tell whether a row says that a repository has a blob, or that it was deleted there."""
    row = connection.execute(
        "SELECT 1 FROM repository_blobs WHERE repository = ? AND digest = ?",
        (repository, str(digest)),
    ).fetchone()
    return row is not None


def is_below_name(connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
    """Tell whether a name of a repository leads to a blob or a document."""
    first, end = name_range(repository)
    found = connection.execute(
        _BELOW_A_NAME, {"digest": str(digest), "first": first, "end": end}
    ).fetchone()
    return found is not None


def is_anywhere(connection: sqlite3.Connection, digest: Digest) -> bool:
    """Tell whether any repository has a blob or a document."""
    found = connection.execute(_BELOW_ANY_NAME, {"digest": str(digest)}).fetchone()
    return found is not None


def add(connection: sqlite3.Connection, repository: str, digests: Iterable[Digest]) -> None:
    """Record that a repository has blobs now. Idempotent."""
    _record(connection, repository, digests, present=True)


def remove(connection: sqlite3.Connection, repository: str, digest: Digest) -> None:
    """Record that a repository does not have a blob, even if a manifest there lists it."""
    _record(connection, repository, [digest], present=False)


def restore(connection: sqlite3.Connection, repository: str, digest: Digest) -> None:
    """Forget that a blob was deleted from a repository."""
    connection.execute(
        "DELETE FROM repository_blobs WHERE repository = ? AND digest = ? AND NOT present",
        (repository, str(digest)),
    )


def let_go(connection: sqlite3.Connection, repository: str, digests: Iterable[Digest]) -> None:
    """Leave blobs of a repository to garbage collection, since a document lists them now."""
    connection.executemany(
        "UPDATE repository_blobs SET added = 0 WHERE repository = ? AND digest = ? AND present",
        [(repository, str(digest)) for digest in digests],
    )


def _record(
    connection: sqlite3.Connection, repository: str, digests: Iterable[Digest], *, present: bool
) -> None:
    now = int(time.time())
    connection.executemany(
        "INSERT OR REPLACE INTO repository_blobs VALUES (?, ?, ?, ?)",
        [(repository, str(digest), int(present), now) for digest in digests],
    )


def kept(connection: sqlite3.Connection) -> list[str]:
    """Return the blobs that were pushed a short time ago, as text: their manifest may follow."""
    rows = connection.execute(
        "SELECT DISTINCT digest FROM repository_blobs WHERE present AND added > ?",
        (int(time.time()) - KEPT_SECONDS,),
    )
    return [digest for (digest,) in rows]
