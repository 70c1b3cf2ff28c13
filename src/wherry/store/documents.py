"""Rows of documents: manifests and indexes, and the edges to what they list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


def add(
    connection: sqlite3.Connection,
    digest: Digest,
    known_as: Digest,
    media_type: str,
    children: Sequence[tuple[Digest, bool]],
) -> None:
    """Record a document and its edges: each child, and whether it is wanted.

    A child that was wanted once stays wanted, so the platforms of an index add up. ``known_as``
    is the digest under which registries serve the document. Idempotent.
    """
    connection.execute(
        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
        (str(digest), str(known_as), media_type),
    )
    connection.executemany(
        "INSERT INTO edges VALUES (?, ?, ?) ON CONFLICT (parent, child)"
        " DO UPDATE SET wanted = max(wanted, excluded.wanted)",
        [(str(digest), str(child), int(wanted)) for child, wanted in children],
    )


def find(connection: sqlite3.Connection, known_as: Digest) -> tuple[Digest, str] | None:
    """Return the digest of a document's bytes and its media type."""
    row = connection.execute(
        "SELECT digest, media_type FROM documents WHERE known_as = ?", (str(known_as),)
    ).fetchone()
    return None if row is None else (Digest.parse(row[0]), row[1])


def child_of(connection: sqlite3.Connection, known_as: Digest) -> Digest | None:
    """Return what a document with a single child leads to."""
    row = connection.execute(
        "SELECT child FROM edges JOIN documents ON parent = digest WHERE known_as = ?",
        (str(known_as),),
    ).fetchone()
    return None if row is None else Digest.parse(row[0])
