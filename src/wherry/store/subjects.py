"""Rows of subjects: which stored documents refer to which (OCI image spec, "subject")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wherry.errors import InvalidDigest
from wherry.model.digest import Digest

if TYPE_CHECKING:
    import sqlite3


def subject_of(raw: bytes) -> Digest | None:
    """Return the subject of a document, or None if it has none that is valid."""
    if b'"subject"' not in raw:  # most documents have none
        return None
    try:
        return Digest.parse(json.loads(raw)["subject"]["digest"])
    except (ValueError, TypeError, LookupError, RecursionError, InvalidDigest):
        return None


def record(connection: sqlite3.Connection, document: Digest, raw: bytes) -> None:
    """Record the subject of a document, if it has one. Idempotent."""
    subject = subject_of(raw)
    if subject is not None:
        connection.execute(
            "INSERT OR IGNORE INTO subjects VALUES (?, ?)", (str(subject), str(document))
        )


def find(connection: sqlite3.Connection, subject: Digest) -> list[Digest]:
    """Return the stored documents that refer to a subject, in order."""
    rows = connection.execute(
        "SELECT document FROM subjects WHERE subject = ? ORDER BY document", (str(subject),)
    )
    return [Digest.parse(document) for (document,) in rows]
