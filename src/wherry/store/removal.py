"""Remove images: their names, and the blobs that only these kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import wherry
from wherry.errors import StoreError
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.store import cached, refs
from wherry.store.graph import above, closure, parents
from wherry.store.reserve import with_room

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from wherry.store.gc import Collector
    from wherry.store.images import ImageRecord
    from wherry.store.ingest import Ingest


class RemovalPlan(Record):
    """The names to remove, and the digests (as text) that they stand for."""

    names: list[Reference]
    roots: set[str]


class RemovalReport(Record):
    """The result of a removal.

    Attributes:
        names: The names that were removed.
        collected: The blobs that were removed with them.
    """

    names: list[Reference]
    collected: wherry.types.GarbageReport


def remove(
    ingest: Ingest, collector: Collector, choose: Callable[[sqlite3.Connection], RemovalPlan]
) -> RemovalReport:
    """Remove the names that ``choose`` returns, and what only they kept."""

    def drop() -> tuple[list[Reference], set[str]]:
        with ingest.db.write() as connection:
            chosen = choose(connection)
            below = closure(connection, chosen.roots)
            ingest.drop(connection, chosen.names)
            cached.remove_with(connection, chosen.names, below)
        return chosen.names, below

    names, below = with_room(collector.root, drop)
    return RemovalReport(names, collector.collect(below))


def names_with(connection: sqlite3.Connection, reference: Reference) -> RemovalPlan:
    """Choose a name, and the digest that was added with it unless another tag has that too.

    Raises:
        NotFound: The store does not have the name.
    """
    ref = refs.find(connection, reference)
    if ref is None:
        raise refs.not_there(reference)
    loose = [] if reference.tag is None else refs.loose_names(connection, reference, ref.root)
    return RemovalPlan([reference, *loose], {str(ref.root), str(ref.manifest)})


def names_of(
    connection: sqlite3.Connection, records: Sequence[ImageRecord], *, force: bool
) -> RemovalPlan:
    """Choose all names of an image; ``records`` are its manifests, which have one id.

    Raises:
        StoreError: Several repositories name the image and ``force`` is false, or the image is
            one platform of an index.
    """
    manifests = {record.manifest for record in records}
    found = [name for manifest in sorted(manifests) for name in refs.names_of(connection, manifest)]
    repositories = {name.name for name in found}
    if len(repositories) > 1 and not force:
        names = ", ".join(name.familiar for name in found if name.tag is not None)
        raise StoreError(
            f"several repositories name this image: {names}",
            hint="remove it by its names, or all of them with --force",
        ).within(records[0].id.short)
    roots = {str(manifest) for manifest in manifests}
    for name in found:
        ref = refs.find(connection, name)
        roots |= {str(ref.root)} if ref is not None else set()
    if not found and (holder := _holder(connection, roots)):
        raise StoreError(
            f"is one of several platforms of {holder}",
            hint=f"remove them all: wherry rm {holder}",
        ).within(records[0].id.short)
    return RemovalPlan(found, roots)


def _holder(connection: sqlite3.Connection, roots: set[str]) -> str:
    """Return a name whose index leads to one of ``roots``, or an empty string."""
    over = above(parents(connection), roots)
    rows = connection.execute("SELECT name, root FROM refs WHERE kept ORDER BY name")
    return next((refs.read_name(name).familiar for name, root in rows if root in over), "")
