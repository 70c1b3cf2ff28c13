"""Rows of blobs: their sizes and, for layers, their DiffIDs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.record import Record

if TYPE_CHECKING:
    import sqlite3


class BlobInfo(Record):
    """Facts about a blob that its bytes do not show directly.

    Attributes:
        diff_id: The DiffID of a layer, if it is known.
        raw_size: Bytes of a layer without compression, if they are known.
        size: Bytes of the blob when it was stored.
    """

    diff_id: Digest | None = None
    raw_size: int | None = None
    size: int | None = None


def find(connection: sqlite3.Connection, digest: Digest) -> BlobInfo | None:
    """Return what is known of a blob, or None if it has no row."""
    row = connection.execute(
        "SELECT diff_id, raw_size, size FROM blobs WHERE digest = ?", (str(digest),)
    ).fetchone()
    if row is None:
        return None
    diff_id, raw_size, size = row
    if diff_id is None:
        return BlobInfo(size=size)
    return BlobInfo(Digest.parse(diff_id), raw_size, size)


def record(connection: sqlite3.Connection, digest: Digest, size: int, facts: BlobInfo) -> None:
    """Record a blob of ``size`` bytes, and add to what is known of it. Idempotent."""
    connection.execute(
        "INSERT INTO blobs VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
        " diff_id = coalesce(excluded.diff_id, diff_id),"
        " raw_size = coalesce(excluded.raw_size, raw_size)",
        (str(digest), size, str(facts.diff_id) if facts.diff_id else None, facts.raw_size),
    )
