"""The graph of a store: which blobs names and leases hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable


def reachable(connection: sqlite3.Connection, dead: Collection[str] = ()) -> set[str]:
    """Return all that a name or a lease holds, digests as text; leases in ``dead`` hold nothing.

    Names by digest that only came along with a tag hold nothing by themselves. Edges are
    followed whether they were wanted or not: what an index lists and the store has belongs
    to it.
    """
    named = connection.execute(
        "SELECT root FROM refs WHERE kept UNION SELECT manifest FROM refs WHERE kept"
    )
    roots = {digest for (digest,) in named}
    for lease, digest in connection.execute("SELECT lease, digest FROM leases"):
        if lease not in dead:
            roots.add(digest)
    return closure(connection, roots)


def closure(connection: sqlite3.Connection, roots: Iterable[str]) -> set[str]:
    """Return ``roots`` and all that is below them, there or not; closed in memory."""
    # One string for each document: a tenth of the rows, and of the time that they take.
    edges = dict(
        connection.execute("SELECT parent, group_concat(child, ' ') FROM edges GROUP BY parent")
    )
    # Schema1 is named by its payload, and kept by another digest.
    names = dict(
        connection.execute("SELECT known_as, digest FROM documents WHERE known_as <> digest")
    )
    found = set(roots)
    todo = list(found)
    while todo:
        digest = todo.pop()
        children = edges.pop(digest, "").split()
        if digest in names:
            children.append(names[digest])
        if children:
            new = set(children) - found
            found |= new
            todo += new
    return found


def above(connection: sqlite3.Connection, digests: Iterable[str]) -> set[str]:
    """Return ``digests`` and all documents that lead to them, by both of their digests."""
    parents: dict[str, list[str]] = {}
    for parent, child in connection.execute("SELECT parent, child FROM edges"):
        parents.setdefault(child, []).append(parent)
    for name, digest in connection.execute(
        "SELECT known_as, digest FROM documents WHERE known_as <> digest"
    ):
        parents.setdefault(digest, []).append(name)
    found = set(digests)
    todo = list(found)
    while todo:
        new = set(parents.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found


def needed(connection: sqlite3.Connection, root: str, manifest: str) -> set[str]:
    """Return what an image of one platform consists of: its documents, config and layers."""
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
