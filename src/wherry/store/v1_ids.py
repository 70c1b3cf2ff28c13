"""Rows of version 1 ids: the layers that registries of that protocol have by an id.

An id says nothing about its content, so a row is valid for one registry only.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.record import Record

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

_BATCH = 500  # ids of one query; SQLite may take 999 parameters


class V1Id(Record):
    """An id at a registry.

    Attributes:
        id: The id, 64 hex digits.
        parent: The id of the image below; empty for the lowest.
        layer: The digest of the layer as the store has it.
        chain_id: The ChainID of the layer on top of those below, if it is known.
        image: The digest of the config of the image with this id, if it is known.
    """

    id: str
    parent: str
    layer: Digest
    chain_id: Digest | None = None
    image: Digest | None = None


def record(connection: sqlite3.Connection, registry: str, ids: Iterable[V1Id]) -> None:
    """Record ids of a registry (its host), and add to what is known of them. Idempotent."""
    now = int(time.time())
    connection.executemany(
        "INSERT INTO v1_ids VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (registry, id) DO UPDATE SET"
        " chain_id = CASE WHEN excluded.chain_id = '' AND excluded.layer = layer"
        " THEN chain_id ELSE excluded.chain_id END,"
        " image = CASE WHEN excluded.image = '' AND excluded.layer = layer"
        " THEN image ELSE excluded.image END,"
        " parent = excluded.parent, layer = excluded.layer, seen = excluded.seen",
        [
            (
                registry,
                each.id,
                each.parent,
                str(each.layer),
                str(each.chain_id or ""),
                str(each.image or ""),
                now,
            )
            for each in ids
        ],
    )


def layers(connection: sqlite3.Connection, registry: str, ids: Iterable[str]) -> dict[str, Digest]:
    """Return the layers of those ids that are known at a registry."""
    found: dict[str, Digest] = {}
    wanted = list(dict.fromkeys(ids))
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        marks = ",".join("?" * len(batch))
        rows = connection.execute(
            f"SELECT id, layer FROM v1_ids WHERE registry = ? AND id IN ({marks})",  # noqa: S608 - only marks
            (registry, *batch),
        )
        found.update((v1_id, Digest.parse(layer)) for v1_id, layer in rows)
    return found


def find_chain(
    connection: sqlite3.Connection, registry: str, chain_ids: Sequence[Digest], image: Digest
) -> list[str] | None:
    """Return the ids by which a registry has an image, the lowest first; None if it has not.

    Args:
        connection: The connection.
        registry: The host of the registry.
        chain_ids: The ChainIDs of the image's layers, the lowest first.
        image: The digest of the image's config.
    """
    if not chain_ids:
        return None
    rows = connection.execute(
        "SELECT id FROM v1_ids WHERE registry = ? AND chain_id = ? AND image = ?"
        " ORDER BY seen DESC, id",
        (registry, str(chain_ids[-1]), str(image)),
    ).fetchall()
    for (top,) in rows:
        found = _walk(connection, registry, chain_ids, top)
        if found is not None:
            return found
    return None


def _walk(
    connection: sqlite3.Connection, registry: str, chain_ids: Sequence[Digest], top: str
) -> list[str] | None:
    """Follow the parents from ``top``; None unless they have exactly these ChainIDs."""
    found: list[str] = []
    v1_id = top
    for chain_id in reversed(chain_ids):
        row = connection.execute(
            "SELECT parent, chain_id FROM v1_ids WHERE registry = ? AND id = ?", (registry, v1_id)
        ).fetchone()
        if row is None or row[1] != str(chain_id):
            return None
        found.append(v1_id)
        v1_id = row[0]
    return None if v1_id else found[::-1]
