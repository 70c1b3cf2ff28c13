"""Lists of names and images, as plain rows because there may be many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.store.graph import closure
from wherry.store.images import ImageRecord, record_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_BATCH = 500  # rows that are read at once


class ImageRow(NamedTuple):
    """One line of a list of images; digests are text.

    Attributes:
        name: The full name, or an empty string for an image without one.
        root: The digest of the document that the name stands for.
        manifest: The digest of the image's manifest.
        id: The digest of its config.
        platform: The platform that the config states.
        created: The time that the config states.
        size: Bytes of config and layers as they are stored.
    """

    name: str
    root: str
    manifest: str
    id: str
    platform: str
    created: str
    size: int


def image_of(row: ImageRow) -> ImageRecord:
    """Return the image of a row."""
    return record_of(row[2:])


# A name by digest is shown if no tag stands for the same document: no tag of its repository if
# the user asked for the digest, no tag at all if it was added together with a tag.
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
    """Yield each name with its image, ordered by name, in batches of rows.

    A name by digest is left out if a tag of its repository stands for the same document. If it
    was added together with a tag, any such tag hides it.

    Args:
        connection: A connection to the database.
        columns: Fields of `ImageRow` that each row has.
        tagged: Only names with a tag, or only names without one; None for all.
        unnamed: Whether images without a name follow, the newest first.
    """
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM refs JOIN images USING (manifest)"  # noqa: S608 - constants
        f" WHERE {_SHOWN[tagged]} ORDER BY name"
    )
    while batch := rows.fetchmany(_BATCH):
        yield batch
    if unnamed:
        yield _unnamed(connection, columns)


def names_without_image(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the names that stand for no image, each with its root, ordered by name.

    Names by digest are left out as in `list_images`.
    """
    return connection.execute(
        "SELECT name, root FROM refs WHERE manifest NOT IN (SELECT manifest FROM images)"  # noqa: S608 - a constant
        f" AND ({_SHOWN[None]}) ORDER BY name"
    ).fetchall()


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
    named = closure(connection, roots)  # other platforms of an index have no name in `refs`
    return [row[1:] for row in rows if row[0] not in named]
