"""Rows of packed blobs: what a blob became when it was packed with another compression.

Packing is deterministic, so the row of a blob tells a later push the digest that the destination
may have, without packing again. The packed blob itself is not stored.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest

if TYPE_CHECKING:
    import sqlite3


def find(connection: sqlite3.Connection, source: Digest, compression: str) -> Descriptor | None:
    """Return digest and size of a packed blob; the media type is empty."""
    row = connection.execute(
        "SELECT digest, size FROM packed WHERE source = ? AND compression = ?",
        (str(source), compression),
    ).fetchone()
    return None if row is None else Descriptor("", Digest.parse(row[0]), row[1])


def record(
    connection: sqlite3.Connection, source: Digest, compression: str, packed: Descriptor
) -> None:
    """Record digest and size of a packed blob. Idempotent."""
    connection.execute(
        "INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?, ?)",
        (str(source), compression, str(packed.digest), packed.size, int(time.time())),
    )
