"""What one repository of the store has: its tags and documents, as a registry lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.model.digest import Digest
from wherry.store import repository_blobs, subjects

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_FOUND = "documents.known_as, documents.digest, documents.media_type, blobs.size"


class StoredDocument(NamedTuple):
    """A document of a repository.

    Attributes:
        digest: The digest under which registries serve it.
        own: The digest of its bytes; another one only for signed schema1.
        media_type: Its media type.
        size: Its size in bytes, or None if it is not recorded.
    """

    digest: Digest
    own: Digest
    media_type: str
    size: int | None


def find(
    connection: sqlite3.Connection, repository: str, reference: Digest | str
) -> StoredDocument | None:
    """Return the document that a repository has under a digest or a tag."""
    if isinstance(reference, Digest):
        return _find_digest(connection, repository, reference)
    return _find_tag(connection, repository, reference)


def _find_tag(connection: sqlite3.Connection, repository: str, tag: str) -> StoredDocument | None:
    row = connection.execute(
        f"SELECT {_FOUND} FROM refs JOIN documents ON documents.known_as = refs.root"  # noqa: S608 - a constant
        " LEFT JOIN blobs ON blobs.digest = documents.digest WHERE refs.name = ?",
        (f"{repository}:{tag}",),
    ).fetchone()
    return None if row is None else _document(row)


def _find_digest(
    connection: sqlite3.Connection, repository: str, digest: Digest
) -> StoredDocument | None:
    row = connection.execute(
        f"SELECT {_FOUND} FROM documents LEFT JOIN blobs ON blobs.digest = documents.digest"  # noqa: S608 - a constant
        " WHERE documents.known_as = ?",
        (str(digest),),
    ).fetchone()
    if row is None or not repository_blobs.has(connection, repository, digest):
        return None
    return _document(row)


def _document(row: tuple[str, str, str, int | None]) -> StoredDocument:
    known_as, own, media_type, size = row
    return StoredDocument(Digest.parse(known_as), Digest.parse(own), media_type, size)


def tags(
    connection: sqlite3.Connection, repository: str, *, after: str = "", most: int = -1
) -> list[str]:
    """Return the tags of a repository in ASCII order, at most ``most`` after the tag ``after``."""
    first = f"{repository}:"
    rows = connection.execute(
        "SELECT substr(name, ?) FROM refs WHERE name > ? AND name < ? ORDER BY name LIMIT ?",
        (len(first) + 1, first + after, f"{repository};", most),
    )
    return [tag for (tag,) in rows]


def first_tags(
    connection: sqlite3.Connection, repositories: Sequence[str], *, after: str, most: int
) -> list[str] | None:
    """Return tags of the first repository that has any, or None."""
    for each in repositories:
        if tags(connection, each, most=1):
            return tags(connection, each, after=after, most=most)
    return None


def is_known(connection: sqlite3.Connection, repository: str) -> bool:
    """Tell whether anything was ever pushed to a repository, or has a name there."""
    first, end = repository_blobs.name_range(repository)
    row = connection.execute(
        "SELECT 1 FROM refs WHERE name >= ? AND name < ? UNION ALL"
        " SELECT 1 FROM repository_blobs WHERE repository = ? LIMIT 1",
        (first, end, repository),
    ).fetchone()
    return row is not None


def first_referrers(
    connection: sqlite3.Connection, names: Sequence[str], subject: Digest
) -> list[StoredDocument]:
    """Return the documents that refer to a subject, in the first repository that has any.

    They are ordered by their digests.
    """
    digests = subjects.find(connection, subject)
    for name in names if digests else ():
        found = [_find_digest(connection, name, digest) for digest in digests]
        if any(found):
            return [each for each in found if each is not None]
    return []


def repositories(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield all repositories (``host/path``) that have a name.

    Each query skips the other names of a repository.
    """
    last = ""
    while True:
        row = connection.execute(
            "SELECT name FROM refs WHERE name >= ? ORDER BY name LIMIT 1", (last,)
        ).fetchone()
        if row is None:
            return
        name = row[0].partition("@")[0] if "@" in row[0] else row[0].rpartition(":")[0]
        yield name
        _, last = repository_blobs.name_range(name)
