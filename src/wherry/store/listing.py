"""Lists of a store's names and images: plain rows, since there may be many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.store.graph import closure
from wherry.store.images import ImageRecord, record_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_ROWS = 500


class ImageRow(NamedTuple):
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


def image_of(listed: ImageRow) -> ImageRecord:
    """Return the image of a line."""
    return record_of(listed[2:])


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

    ``columns`` are some of the fields of `ImageRow`; ``tagged``: names with a tag, or without.
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
