"""The graph of a store: which blobs its names and leases keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.store import cached, repository_blobs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence


def reachable(
    connection: sqlite3.Connection,
    edges: Edges,
    only: Collection[str] | None = None,
    *,
    dead: Collection[str] = (),
) -> set[str]:
    """Return the digests that names and leases keep, as text.

    A name by digest that was added together with a tag keeps nothing by itself. A blob that was
    pushed is kept for a while, until its manifest comes (`repository_blobs`), and so is what
    clients have asked of other registries (`cached`). Edges are
    followed whether they were wanted or not: what an index lists and the store has belongs to
    the index.

    Args:
        connection: A connection to the database.
        edges: All edges of the database.
        only: The candidates of a collection that leaves all else alone. Then every name keeps
            its image, and so does every document, except the candidates that no name keeps and
            the documents that lead to them.
        dead: Leases that keep nothing.
    """
    named = connection.execute("SELECT root, manifest, kept FROM refs").fetchall()
    roots = {root for root, _, kept in named if kept or only is not None}
    roots.update([manifest for _, manifest, kept in named if kept or only is not None])
    for lease, digest in connection.execute("SELECT lease, digest FROM leases"):
        if lease not in dead:
            roots.add(digest)
    roots.update(repository_blobs.kept(connection))
    roots.update(cached.kept(connection))
    held = edges.below(roots)
    if only is None:
        return held
    documents = {digest for (digest,) in connection.execute("SELECT digest FROM documents")}
    gone = above(parents(connection), documents.intersection(only) - held)
    return edges.below(held | (documents - gone))


class Edges:
    """All edges of a store, in memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        # One string for each document takes a tenth of the rows, and of the time.
        self._children: dict[str, str] = dict(
            connection.execute("SELECT parent, group_concat(child, ' ') FROM edges GROUP BY parent")
        )
        # Registries serve a signed schema1 manifest under the digest of its payload.
        self._names = dict(
            connection.execute("SELECT known_as, digest FROM documents WHERE known_as <> digest")
        )

    def children(self, digest: str) -> list[str]:
        """Return what a document lists; a schema1 manifest appears with both its digests."""
        found = self._children.get(digest, "").split()
        return found + [self._names[child] for child in found if child in self._names]

    def below(self, roots: Iterable[str]) -> set[str]:
        """Return ``roots`` and all that they lead to, stored or not."""
        found = set(roots)
        todo = list(found)
        while todo:
            digest = todo.pop()
            children = self.children(digest)
            if digest in self._names:
                children.append(self._names[digest])
            # Most children are layers, which list nothing.
            todo += [
                child
                for child in children
                if child not in found and (child in self._children or child in self._names)
            ]
            found.update(children)
        return found


def closure(connection: sqlite3.Connection, roots: Iterable[str]) -> set[str]:
    """Return ``roots`` and all that they lead to, stored or not."""
    return Edges(connection).below(roots)


def parents_of(connection: sqlite3.Connection, digest: Digest) -> list[Digest]:
    """Return the documents that list a blob."""
    rows = connection.execute("SELECT parent FROM edges WHERE child = ?", (str(digest),))
    return [Digest.parse(parent) for (parent,) in rows]


def parents(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the documents that list each digest."""
    found: dict[str, list[str]] = {}
    for parent, child in connection.execute("SELECT parent, child FROM edges"):
        found.setdefault(child, []).append(parent)
    for name, digest in connection.execute(
        "SELECT known_as, digest FROM documents WHERE known_as <> digest"
    ):
        found.setdefault(digest, []).append(name)
    return found


def above(parents: Mapping[str, Sequence[str]], digests: Iterable[str]) -> set[str]:
    """Return ``digests`` and all documents that lead to them, with both digests of each."""
    found = set(digests)
    todo = list(found)
    while todo:
        new = set(parents.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found


def is_known(connection: sqlite3.Connection, digest: str) -> bool:
    """Tell whether a document is recorded, by either of its digests."""
    row = connection.execute("SELECT 1 FROM documents WHERE known_as = ?", (digest,)).fetchone()
    return row is not None


def needed(connection: sqlite3.Connection, root: str, manifest: str) -> set[str]:
    """Return the documents, config and layers that one image of a root consists of."""
    found = set()
    for name in {root, manifest}:
        row = connection.execute(
            "SELECT digest FROM documents WHERE known_as = ?", (name,)
        ).fetchone()
        own = name if row is None else row[0]
        found.add(own)
        if name == manifest:
            rows = connection.execute("SELECT child FROM edges WHERE parent = ? AND wanted", (own,))
            found.update(child for (child,) in rows)
    return found
