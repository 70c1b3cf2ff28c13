"""What a store takes on the disk, and how much of it nothing holds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from wherry.store import leases
from wherry.store.gc import sweep
from wherry.store.graph import Edges, reachable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database
    from wherry.store.directory import Directory


class Usage(NamedTuple):
    """Counts, and sizes in bytes.

    ``named`` counts the images that a tag, or a digest that was asked for, leads to;
    ``reclaimable`` is what `gc` would remove now. ``layers`` are blobs that are neither
    documents nor configs of images; ``parts`` are downloads under way or broken off.
    """

    images: int = 0
    named: int = 0
    blobs: int = 0
    size: int = 0
    reclaimable: int = 0
    layers: int = 0
    layers_size: int = 0
    parts: int = 0
    parts_size: int = 0
    database: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.size + self.parts_size + self.database


def usage(db: Database, files: BlobFiles) -> Usage:
    """Measure a store; others may be at work meanwhile."""
    sizes = {digest: files.size_of(digest) for digest in files.all()}
    with db.snapshot() as connection:
        held = reachable(connection, Edges(connection), dead=leases.dead(connection, files.root))
        images = dict(connection.execute("SELECT manifest, id FROM images").fetchall())
        rows = connection.execute("SELECT digest FROM documents").fetchall()
    others = {digest for (digest,) in rows}.union(images.values())
    layers = [size for digest, size in sizes.items() if digest not in others]
    names = files.parts()
    parts = _sizes(files.ingest, names) if names else []
    _, broken = sweep(files, dry_run=True)
    return Usage(
        images=len(set(images.values())),
        named=len({image for manifest, image in images.items() if manifest in held}),
        blobs=len(sizes),
        size=sum(sizes.values()),
        reclaimable=sum(size for digest, size in sizes.items() if digest not in held) + broken,
        layers=len(layers),
        layers_size=sum(layers),
        parts=len(parts),
        parts_size=sum(parts),
        database=sum(_sizes(files.root, filter(_is_database, files.root.names()))),
    )


def _is_database(name: str) -> bool:
    return name.startswith("wherry.")


def _sizes(directory: Directory, names: Iterable[str]) -> list[int]:
    """Return the sizes of files; of links their own, which is next to nothing."""
    found = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found.append(directory.stat(name).st_size)
    return found
