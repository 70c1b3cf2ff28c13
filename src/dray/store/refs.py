"""References of a store: names, each pinned on a root document."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from dray.model.digest import Digest
from dray.model.reference import Reference

if TYPE_CHECKING:
    import sqlite3


class Ref(NamedTuple):
    """A name, the document it stands for, and the manifest in it that was pulled last."""

    reference: Reference
    root: Digest
    manifest: Digest


def find(connection: sqlite3.Connection, reference: Reference) -> Ref | None:
    """Look a name up."""
    row = connection.execute(
        "SELECT root, manifest FROM refs WHERE name = ?", (str(reference),)
    ).fetchone()
    return None if row is None else Ref(reference, Digest.parse(row[0]), Digest.parse(row[1]))


def set_ref(
    connection: sqlite3.Connection, reference: Reference, root: Digest, manifest: Digest
) -> None:
    """Pin a name on a root, moving it if it stood elsewhere. Idempotent."""
    connection.execute(
        "INSERT INTO refs (name, root, manifest, updated) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET root = excluded.root,"
        " manifest = excluded.manifest, updated = excluded.updated",
        (str(reference), str(root), str(manifest), int(time.time())),
    )


def names_of(connection: sqlite3.Connection, manifest: Digest) -> list[Reference]:
    """List the names of one image, in order."""
    rows = connection.execute(
        "SELECT name FROM refs WHERE manifest = ? ORDER BY name", (str(manifest),)
    )
    return [Reference.parse(name) for (name,) in rows]
