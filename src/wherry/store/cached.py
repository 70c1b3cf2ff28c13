"""Rows of what other registries have: tags and manifests that the server answers for.

The name of a row is a full name with a tag or a digest. A row keeps its document, and what is
below it, for a week after a client last asked for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.store.refs import read_name
from wherry.store.repository_blobs import name_range

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable

    from wherry.model.reference import Reference

KEPT_SECONDS = 7 * 86_400
_TOUCH_SECONDS = 3600  # a later use is recorded

# The documents above a digest, by both digests of each. Registries serve a signed schema1
# manifest under another digest than that of its bytes.
_ABOVE = """
WITH RECURSIVE above (digest) AS (
    VALUES (:digest)
    UNION SELECT edges.parent FROM above JOIN edges ON edges.child = above.digest
)
SELECT cached.name, cached.root FROM above
CROSS JOIN cached ON cached.root = above.digest
WHERE cached.name >= :first AND cached.name < :end
"""


class CachedName(Record):
    """A tag or digest of another registry.

    Attributes:
        root: The digest of the document.
        checked: When the registry last confirmed it, as a Unix time.
        used: When a client last asked for it, as a Unix time.
    """

    root: Digest
    checked: int
    used: int

    @property
    def is_touch_due(self) -> bool:
        """Whether a use now has to be recorded."""
        return self.used < time.time() - _TOUCH_SECONDS


def find(connection: sqlite3.Connection, reference: Reference) -> CachedName | None:
    """Look up a tag or a digest."""
    row = connection.execute(
        "SELECT root, checked, used FROM cached WHERE name = ?", (str(reference),)
    ).fetchone()
    return None if row is None else CachedName(Digest.parse(row[0]), row[1], row[2])


def record(connection: sqlite3.Connection, reference: Reference, root: Digest) -> None:
    """Record that a registry has just confirmed a tag or a digest."""
    now = int(time.time())
    connection.execute(
        "INSERT OR REPLACE INTO cached VALUES (?, ?, ?, ?)", (str(reference), str(root), now, now)
    )


def touch(connection: sqlite3.Connection, reference: Reference) -> None:
    """Record that a client has asked for a tag or a digest."""
    connection.execute(
        "UPDATE cached SET used = ? WHERE name = ?", (int(time.time()), str(reference))
    )


def remove(connection: sqlite3.Connection, references: Iterable[Reference]) -> None:
    """Forget tags and digests. Idempotent."""
    connection.executemany(
        "DELETE FROM cached WHERE name = ?", [(str(reference),) for reference in references]
    )


def remove_with(
    connection: sqlite3.Connection, references: Collection[Reference], below: Collection[str]
) -> None:
    """Forget names that are removed from the store, and the digests below them.

    ``below`` has the digests (as text) that the names lead to.
    """
    remove(connection, references)
    for repository in {reference.name for reference in references}:
        first = f"{repository}@"
        rows = connection.execute(
            "SELECT name, root FROM cached WHERE name > ? AND name < ?", (first, f"{repository}A")
        )
        gone = [(name,) for name, root in rows if root in below]
        connection.executemany("DELETE FROM cached WHERE name = ?", gone)


def names_above(
    connection: sqlite3.Connection, repository: str, digest: Digest
) -> list[tuple[Reference, Digest]]:
    """Return the rows of a repository (``host/path``) that lead to a digest, with their roots."""
    first, end = name_range(repository)
    values = {"digest": str(digest), "first": first, "end": end}
    rows = connection.execute(_ABOVE, values).fetchall()
    return [(read_name(name), Digest.parse(root)) for name, root in rows]


def tags(connection: sqlite3.Connection, repository: str) -> list[str]:
    """Return the tags of a repository (``host/path``) that are known."""
    rows = connection.execute(
        "SELECT name FROM cached WHERE name > ? AND name < ?", (f"{repository}:", f"{repository};")
    )
    return [name.rpartition(":")[2] for (name,) in rows]


def kept(connection: sqlite3.Connection) -> list[str]:
    """Return the documents that clients asked for a short time ago, as text."""
    rows = connection.execute("SELECT DISTINCT root FROM cached WHERE used > ?", (_expiry(),))
    return [root for (root,) in rows]


def drop_unused(connection: sqlite3.Connection) -> None:
    """Remove the rows that keep nothing any more."""
    connection.execute("DELETE FROM cached WHERE used <= ?", (_expiry(),))


def _expiry() -> int:
    return int(time.time()) - KEPT_SECONDS
