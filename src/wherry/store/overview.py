"""Lists of repositories and of their names, page by page, for people.

They have the names of the store and those that the server has cached from other registries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from wherry.model.digest import Digest
from wherry.store import cached, documents, repository_blobs
from wherry.store.refs import read_name

if TYPE_CHECKING:
    import sqlite3

    from wherry.model.reference import Reference

Order = Literal["updated", "name"]

# A name that both tables have is listed as the store has it. A digest that was added together
# with a tag is no name for people.
_NAMES = """
WITH names (name, root, manifest, updated) AS (
    SELECT name, root, manifest, updated FROM refs
    WHERE name >= :first AND name < :end AND (kept OR instr(name, '@') = 0)
    UNION ALL
    SELECT name, root, root, used FROM cached WHERE name >= :first AND name < :end
    AND name NOT IN (SELECT name FROM refs)
)
"""
_FIELDS = "names.name, names.root, names.updated, images.platform, images.size"
_ORDERS = {"updated": "names.updated DESC, names.name", "name": "names.name"}
_CONTAINING = "WHERE :text = '' OR instr(substr(names.name, length(:first) + 1), :text)"
# A name by digest is not listed if a tag of the repository leads to the same document, or if the
# document refers to a stored one, such as a signature.
_UNTAGGED = """WHERE names.root NOT IN (
    WITH tagged (root) AS (
        SELECT root FROM refs WHERE name >= :tags AND name < :first
        UNION SELECT root FROM cached WHERE name >= :tags AND name < :first
    )
    SELECT root FROM tagged
    UNION SELECT edges.child FROM tagged JOIN edges ON edges.parent = tagged.root
) AND NOT EXISTS (
    SELECT 1 FROM subjects JOIN documents ON documents.known_as = subjects.subject
    WHERE subjects.document = names.root
)"""


class RepositoryRow(NamedTuple):
    """One repository.

    Attributes:
        name: The full name (``host/path``).
        tags: The number of its tags.
        updated: When one of its names last changed, as a Unix time.
    """

    name: str
    tags: int
    updated: int


class NameRow(NamedTuple):
    """One name of a repository.

    Attributes:
        reference: The name, with a tag or a digest.
        root: The digest of the document that it stands for.
        updated: When it last changed, as a Unix time.
        platforms: The platforms of the stored images.
        size: Bytes of configs and layers, or of the blobs of an artifact; None if not known.
    """

    reference: Reference
    root: Digest
    updated: int
    platforms: tuple[str, ...]
    size: int | None


def list_repositories(connection: sqlite3.Connection) -> list[RepositoryRow]:
    """Return all repositories that have a name, in ASCII order."""
    rows = connection.execute(
        "SELECT name, updated FROM refs WHERE kept OR instr(name, '@') = 0"
        " UNION ALL SELECT name, used FROM cached"
        " WHERE name NOT IN (SELECT name FROM refs)"
    )
    found: dict[str, tuple[int, int]] = {}
    for name, updated in rows:
        repository, at, _ = name.partition("@")
        if not at:
            repository = name.rpartition(":")[0]
        tags, latest = found.get(repository, (0, 0))
        found[repository] = (tags + (not at), max(latest, updated))
    return [RepositoryRow(name, *found[name]) for name in sorted(found)]


def count_names(connection: sqlite3.Connection, repository: str) -> tuple[int, int]:
    """Return the number of tags of a repository, and of its names by digest without a tag."""
    tags = connection.execute(
        f"{_NAMES} SELECT count(*) FROM names",  # noqa: S608 - constants
        _tag_range(repository),
    ).fetchone()
    digests = connection.execute(
        f"{_NAMES} SELECT count(*) FROM names {_UNTAGGED}",  # noqa: S608 - constants
        _digest_range(repository),
    ).fetchone()
    return int(tags[0]), int(digests[0])


def find_name(connection: sqlite3.Connection, reference: Reference) -> NameRow | None:
    """Look up a name by its tag or digest."""
    row = connection.execute(
        f"{_NAMES} SELECT {_FIELDS} FROM names LEFT JOIN images USING (manifest)",  # noqa: S608 - constants
        {"first": str(reference), "end": f"{reference} "},
    ).fetchone()
    return None if row is None else _name_row(connection, row)


def count_tags(connection: sqlite3.Connection, repository: str, containing: str) -> int:
    """Return how many tags of a repository contain a text."""
    row = connection.execute(
        f"{_NAMES} SELECT count(*) FROM names {_CONTAINING}",  # noqa: S608 - constants
        {**_tag_range(repository), "text": containing},
    ).fetchone()
    return int(row[0])


def list_tags(
    connection: sqlite3.Connection,
    repository: str,
    containing: str,
    order: Order,
    skip: int,
    most: int,
) -> list[NameRow]:
    """Return a page of the tags of a repository that contain a text."""
    values = {**_tag_range(repository), "text": containing, "skip": skip, "most": most}
    return _page(connection, _CONTAINING, order, values)


def list_digests(
    connection: sqlite3.Connection, repository: str, skip: int, most: int
) -> list[NameRow]:
    """Return a page of the names by digest that have no tag, the latest first."""
    values = {**_digest_range(repository), "skip": skip, "most": most}
    return _page(connection, _UNTAGGED, "updated", values)


def has_document(connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
    """Tell whether a name of a repository (``host/path``) leads to a stored document."""
    if documents.find(connection, digest) is None:
        return False
    return repository_blobs.has(connection, repository, digest) or bool(
        cached.names_above(connection, repository, digest)
    )


def _page(
    connection: sqlite3.Connection, where: str, order: Order, values: dict[str, str | int]
) -> list[NameRow]:
    rows = connection.execute(
        f"{_NAMES} SELECT {_FIELDS} FROM names LEFT JOIN images USING (manifest) {where}"  # noqa: S608 - constants
        f" ORDER BY {_ORDERS[order]} LIMIT :most OFFSET :skip",
        values,
    ).fetchall()
    return [_name_row(connection, row) for row in rows]


def _name_row(
    connection: sqlite3.Connection, row: tuple[str, str, int, str | None, int | None]
) -> NameRow:
    name, root, updated, platform, size = row
    platforms = () if platform is None else (platform,)
    below = connection.execute(
        "SELECT images.platform, images.size FROM documents"
        " JOIN edges ON edges.parent = documents.digest"
        " JOIN images ON images.manifest = edges.child WHERE documents.known_as = ?"
        " ORDER BY images.platform",
        (root,),
    ).fetchall()
    if below:
        platforms = tuple(dict.fromkeys(each for each, _ in below))
        size = sum(each for _, each in below)
    elif size is None:
        size = _artifact_size(connection, root)
    return NameRow(read_name(name), Digest.parse(root), updated, platforms, size)


def _artifact_size(connection: sqlite3.Connection, root: str) -> int | None:
    row = connection.execute(
        "SELECT sum(blobs.size) FROM documents JOIN edges ON edges.parent = documents.digest"
        " JOIN blobs ON blobs.digest = edges.child WHERE documents.known_as = ?",
        (root,),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def _tag_range(repository: str) -> dict[str, str | int]:
    return {"first": f"{repository}:", "end": f"{repository};"}


def _digest_range(repository: str) -> dict[str, str | int]:
    return {"first": f"{repository}@", "end": f"{repository}A", "tags": f"{repository}:"}
