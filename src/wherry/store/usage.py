"""The disk space of a store, and how much of it a collection would free."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from wherry.store import incoming_files, leases, unpacked
from wherry.store.gc import sweep
from wherry.store.graph import Edges, reachable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database
    from wherry.store.directory import Directory


class Usage(NamedTuple):
    """Counts and sizes of a store; sizes are in bytes.

    Attributes:
        images: The number of complete images.
        named: Those of them that a tag, or a digest that the user asked for, leads to.
        blobs: The number of blobs.
        size: Their bytes together.
        reclaimable: Bytes that `gc` would remove now.
        layers: The number of blobs that are neither documents nor configs of images.
        layers_size: Their bytes together.
        parts: The number of downloads and uploads that are running or were interrupted.
        parts_size: Their bytes together.
        database: Bytes of the database and the files beside it.
        unpacked: The number of unpacked layers that this user can read.
        unpacked_size: Their bytes together.
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
    unpacked: int = 0
    unpacked_size: int = 0

    @property
    def total(self) -> int:
        """Bytes of blobs, parts, unpacked layers and database together."""
        return self.size + self.parts_size + self.unpacked_size + self.database


def usage(db: Database, files: BlobFiles) -> Usage:
    """Measure a store; other operations may run at the same time."""
    sizes = {digest: files.size_of(digest) for digest in files.all()}
    with db.snapshot() as connection:
        held = reachable(connection, Edges(connection), dead=leases.dead(connection, files.root))
        images = dict(connection.execute("SELECT manifest, id FROM images").fetchall())
        rows = connection.execute("SELECT digest FROM documents").fetchall()
        kept = unpacked.diff_ids(connection, sizes.keys() - held)
    others = {digest for (digest,) in rows}.union(images.values())
    layers = [size for digest, size in sizes.items() if digest not in others]
    names = files.parts() + incoming_files.names(files)
    parts = _sizes(files.ingest, names) if names else []
    _, broken = sweep(files, dry_run=True)
    count, unpacked_size = unpacked.measure(files.root)
    _, unused = unpacked.sweep(files.root, kept, dry_run=True)
    return Usage(
        images=len(set(images.values())),
        named=len({image for manifest, image in images.items() if manifest in held}),
        blobs=len(sizes),
        size=sum(sizes.values()),
        reclaimable=sum(size for digest, size in sizes.items() if digest not in held)
        + broken
        + unused,
        layers=len(layers),
        layers_size=sum(layers),
        parts=len(parts),
        parts_size=sum(parts),
        database=sum(_sizes(files.root, filter(_is_database, files.root.names()))),
        unpacked=count,
        unpacked_size=unpacked_size,
    )


def _is_database(name: str) -> bool:
    return name.startswith("wherry.")


def _sizes(directory: Directory, names: Iterable[str]) -> list[int]:
    """Return the sizes of files; of a link its own, not that of its target."""
    found = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found.append(directory.stat(name).st_size)
    return found
