"""Images of a store: manifests whose config and layers are all there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dray.model.digest import Digest
from dray.model.record import Record
from dray.store.graph import Edges, above, closure, parents

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

_ROWS = 500
_COLUMNS = "images.manifest, images.id, images.platform, images.created, images.size"


class ImageRecord(Record):
    """What a list of images shows; ``size`` is that of config and layers as stored.

    ``id`` is the digest of the config, ``platform`` and ``created`` are as it says.
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
    """Return the image of a manifest, if it is complete."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM images WHERE manifest = ?",  # noqa: S608 - a constant
        (str(manifest),),
    ).fetchone()
    return None if row is None else _record(row)


def images_by_id(connection: sqlite3.Connection, prefix: str) -> list[ImageRecord]:
    """Return the images whose id begins with ``prefix`` (hex digits)."""
    pattern = f"sha256:{prefix}"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM images WHERE id >= ? AND id < ?",  # noqa: S608 - as above
        (pattern, pattern + "g"),
    )
    return [_record(row) for row in rows]


class Listed(NamedTuple):
    """All that is known of an image without looking into it: plain text, since there may be many.

    Without a name, ``name`` is empty.
    """

    name: str
    root: str
    manifest: str
    id: str
    platform: str
    created: str
    size: int


def record_of(listed: Listed) -> ImageRecord:
    """Return the image of a line."""
    return _record(listed[2:])


# Of a name by digest: that no tag stands for the same document, in its repository where it was
# asked for, in any if it came along with a tag.
_ALONE = """name IN (
    SELECT name FROM refs WHERE instr(name, '@') AND NOT EXISTS (
        SELECT 1 FROM refs AS tag WHERE tag.root = refs.root AND instr(tag.name, '@') = 0 AND (
            NOT refs.kept
            OR instr(tag.name, substr(refs.name, 1, instr(refs.name, '@') - 1) || ':') = 1
        )
    )
)"""
_TAGGED = "instr(name, '@') = 0"
_SHOWN = {True: _TAGGED, False: _ALONE, None: f"{_TAGGED} OR {_ALONE}"}


def list_images(
    connection: sqlite3.Connection, columns: Sequence[str], *, tagged: bool | None, unnamed: bool
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield each name with its image, in the names' order, some hundred rows at a time.

    ``columns`` are some of the fields of `Listed`; ``tagged``: names with a tag, or without.
    A name by digest is left out where a tag of its repository stands for the same document, and
    if it came along with a tag, where any does. ``unnamed`` images follow, the newest first.
    """
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM refs JOIN images USING (manifest)"  # noqa: S608 - constants
        f" WHERE {_SHOWN[tagged]} ORDER BY name"
    )
    while some := rows.fetchmany(_ROWS):
        yield some
    if unnamed:
        yield _unnamed(connection, columns)


def _unnamed(connection: sqlite3.Connection, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the images that no name leads to."""
    own = {"name": "''", "root": "manifest"}
    selected = ", ".join(own.get(column, column) for column in columns)
    rows = connection.execute(
        f"SELECT manifest, {selected} FROM images"  # noqa: S608 - as above
        " WHERE manifest NOT IN (SELECT manifest FROM refs) ORDER BY created DESC"
    ).fetchall()
    if not rows:
        return []
    roots = [root for (root,) in connection.execute("SELECT DISTINCT root FROM refs")]
    named = closure(connection, roots)  # other platforms of an index have no name of their own
    return [row[1:] for row in rows if row[0] not in named]


def named_images(connection: sqlite3.Connection) -> Iterator[tuple[str, Digest, ImageRecord]]:
    """Yield each name with its root and its image, in the names' order."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, refs.name, refs.root FROM refs"  # noqa: S608 - as above
        " JOIN images ON images.manifest = refs.manifest ORDER BY refs.name"
    )
    for *record, name, root in rows:
        yield name, Digest.parse(root), _record(record)


def needing(
    connection: sqlite3.Connection, digests: Collection[str]
) -> list[tuple[Digest, ImageRecord]]:
    """Return the images that a name leads to and that need any of ``digests``, with its root."""
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


def _record(row: list[object] | tuple[object, ...]) -> ImageRecord:
    manifest, image_id, platform, created, size = row
    return ImageRecord(
        manifest=Digest.parse(str(manifest)),
        id=Digest.parse(str(image_id)),
        platform=str(platform),
        created=str(created),
        size=int(str(size)),
    )
