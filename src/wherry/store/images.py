"""Rows of images: manifests whose config and layers are all stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.store.graph import Edges, above, parents

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

_COLUMNS = "images.manifest, images.id, images.platform, images.created, images.size"


class ImageRecord(Record):
    """A complete image of one platform.

    Attributes:
        manifest: The digest of its manifest.
        id: The digest of its config.
        platform: The platform that the config states, as ``linux/arm64/v8``.
        created: The time that the config states, as text.
        size: Bytes of config and layers as they are stored.
    """

    manifest: Digest
    id: Digest
    platform: str
    created: str
    size: int


def add_image(connection: sqlite3.Connection, record: ImageRecord) -> None:
    """Record a complete image. Idempotent."""
    connection.execute(
        "INSERT OR REPLACE INTO images (manifest, id, platform, created, size)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            str(record.manifest),
            str(record.id),
            record.platform,
            record.created,
            record.size,
        ),
    )


def find_image(connection: sqlite3.Connection, manifest: Digest) -> ImageRecord | None:
    """Return the image of a manifest, or None unless it is complete."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM images WHERE manifest = ?",  # noqa: S608 - a constant
        (str(manifest),),
    ).fetchone()
    return None if row is None else record_of(row)


def ids_below(connection: sqlite3.Connection, *documents: Digest) -> set[Digest]:
    """Return the ids of the complete images among documents and their descendants."""
    rows = connection.execute(
        "WITH RECURSIVE below (digest) AS ("
        " SELECT value FROM json_each(?) UNION"
        " SELECT edges.child FROM below JOIN edges ON edges.parent = below.digest)"
        " SELECT id FROM below JOIN images ON images.manifest = below.digest",
        (json.dumps([str(digest) for digest in documents]),),
    )
    return {Digest.parse(image_id) for (image_id,) in rows}


def images_by_id(connection: sqlite3.Connection, prefix: str) -> list[ImageRecord]:
    """Return the images whose id begins with ``prefix`` (hex digits)."""
    pattern = f"sha256:{prefix}"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM images WHERE id >= ? AND id < ?",  # noqa: S608 - as above
        (pattern, pattern + "g"),
    )
    return [record_of(row) for row in rows]


def named_images(connection: sqlite3.Connection) -> Iterator[tuple[str, Digest, ImageRecord]]:
    """Yield each name with its root and its image, ordered by name."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, refs.name, refs.root FROM refs"  # noqa: S608 - as above
        " JOIN images ON images.manifest = refs.manifest ORDER BY refs.name"
    )
    for *record, name, root in rows:
        yield name, Digest.parse(root), record_of(record)


def repositories(connection: sqlite3.Connection, manifest: Digest) -> list[str]:
    """Return the repositories (``host/path``) that have blobs of an image, the latest first."""
    rows = connection.execute(
        "SELECT repository FROM provenance WHERE digest IN"
        " (SELECT child FROM edges WHERE parent = ? UNION SELECT ?)"
        " GROUP BY repository ORDER BY max(seen) DESC, count(*) DESC, repository",
        (str(manifest), str(manifest)),
    )
    return [repository for (repository,) in rows]


def find_images_with(
    connection: sqlite3.Connection, digests: Collection[str]
) -> list[tuple[Digest, ImageRecord]]:
    """Return the named images that need any of ``digests``, each with its root."""
    over = above(parents(connection), digests)
    edges = Edges(connection)
    concerned = over | edges.below(digests)
    found = {}
    for (root,) in connection.execute("SELECT DISTINCT root FROM refs ORDER BY root").fetchall():
        if root not in over:
            continue
        for manifest in sorted(edges.below([root])):
            record = find_image(connection, Digest.parse(manifest))
            if record is not None and manifest in concerned:
                found[record.manifest] = (Digest.parse(root), record)
    return list(found.values())


def record_of(row: Sequence[object]) -> ImageRecord:
    """Return the image of a row, in the order of the table's columns."""
    manifest, image_id, platform, created, size = row
    return ImageRecord(
        manifest=Digest.parse(str(manifest)),
        id=Digest.parse(str(image_id)),
        platform=str(platform),
        created=str(created),
        size=int(str(size)),
    )
