"""Rows of names: each is pinned on a root document."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.errors import NotFound
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable

LOOK = "`wherry images` lists what there is"


class Ref(Record):
    """A name of the store.

    Attributes:
        reference: The name.
        root: The digest of the document that it stands for: an index or a manifest.
        manifest: The digest of the manifest below ``root`` that was pulled last.
    """

    reference: Reference
    root: Digest
    manifest: Digest


def read_name(text: str) -> Reference:
    """Parse a name from the database: in full, with a tag or a digest."""
    name, at, digest = text.partition("@")
    tag = None
    if not at:
        name, _, tag = text.rpartition(":")
    domain, _, path = name.partition("/")
    return Reference(domain, path, tag, Digest.parse(digest) if at else None)


def find(connection: sqlite3.Connection, reference: Reference) -> Ref | None:
    """Look up a name."""
    row = connection.execute(
        "SELECT root, manifest FROM refs WHERE name = ?", (str(reference),)
    ).fetchone()
    return None if row is None else Ref(reference, Digest.parse(row[0]), Digest.parse(row[1]))


def not_there(reference: Reference) -> NotFound:
    """Return the error for a name that the store does not have."""
    return NotFound("no such image in the store", hint=LOOK).within(reference.familiar)


def set_ref(
    connection: sqlite3.Connection,
    reference: Reference,
    root: Digest,
    manifest: Digest,
    *,
    kept: bool = True,
) -> bool:
    """Pin a name on a root, or move it there; tell whether anything changed. Idempotent.

    A name without ``kept`` is a digest that was added together with a tag; it keeps no image by
    itself. A name that was kept once stays kept.
    """
    wanted = (str(root), str(manifest), int(kept))
    before = connection.execute(
        "SELECT root, manifest, kept FROM refs WHERE name = ?", (str(reference),)
    ).fetchone()
    if before in {wanted, (*wanted[:2], 1)}:
        return False
    connection.execute(
        "INSERT INTO refs (name, root, manifest, kept, updated) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET root = excluded.root, manifest = excluded.manifest,"
        " kept = max(kept, excluded.kept), updated = excluded.updated",
        (str(reference), *wanted, int(time.time())),
    )
    return True


def remove(connection: sqlite3.Connection, references: Iterable[Reference]) -> None:
    """Remove names. Idempotent."""
    connection.executemany(
        "DELETE FROM refs WHERE name = ?", [(str(reference),) for reference in references]
    )


def let_go(connection: sqlite3.Connection, reference: Reference) -> None:
    """Let a name keep nothing by itself, as if it had been added together with a tag."""
    connection.execute("UPDATE refs SET kept = 0 WHERE name = ?", (str(reference),))


def drop_loose(connection: sqlite3.Connection, held: Collection[str]) -> bool:
    """Remove the names that keep nothing by themselves and whose root is not ``held``."""
    rows = connection.execute("SELECT name, root FROM refs WHERE NOT kept").fetchall()
    gone = [(name,) for name, root in rows if root not in held]
    connection.executemany("DELETE FROM refs WHERE name = ?", gone)
    return bool(gone)


def tags(connection: sqlite3.Connection, repository: str) -> list[str]:
    """Return the tags of a repository (``host/path``)."""
    rows = connection.execute(
        "SELECT name FROM refs WHERE name > ? AND name < ?", (f"{repository}:", f"{repository};")
    )
    return [name.rpartition(":")[2] for (name,) in rows]


def loose_names(
    connection: sqlite3.Connection, reference: Reference, root: Digest
) -> list[Reference]:
    """Return the names by digest that were added with a tag and go with it.

    The list is empty as long as another tag of the repository is pinned on ``root``.
    """
    rows = connection.execute(
        "SELECT name, kept FROM refs WHERE root = ? ORDER BY name", (str(root),)
    )
    found = [(read_name(name), kept) for name, kept in rows]
    others = [
        (other, kept)
        for other, kept in found
        if other.name == reference.name and other != reference
    ]
    if any(other.tag is not None for other, _ in others):
        return []
    return [other for other, kept in others if not kept]


def names_of(connection: sqlite3.Connection, manifest: Digest) -> list[Reference]:
    """Return the names of one image, in order."""
    rows = connection.execute(
        "SELECT name FROM refs WHERE manifest = ? ORDER BY name", (str(manifest),)
    )
    return [read_name(name) for (name,) in rows]


def root_of(connection: sqlite3.Connection, manifest: Digest) -> Digest | None:
    """Return the root of the latest name of an image."""
    row = connection.execute(
        "SELECT root FROM refs WHERE manifest = ? ORDER BY kept DESC, updated DESC, name LIMIT 1",
        (str(manifest),),
    ).fetchone()
    return None if row is None else Digest.parse(row[0])
