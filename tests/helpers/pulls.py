"""Images that tests pull, and checks of the store after a pull."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry.image_store import local_store
from wherry.testing import BuiltImage, FakeRegistry, build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library
    from wherry import Event, Status


TARS = [tar_layer(pseudo_random_files(seed, 60_000, 2)) for seed in range(4)]
GOOD = build_image(TARS[:2])
BIG = build_image([tar_layer(pseudo_random_files(9, 1_500_000, 2))])
LAYER = BIG.layers[0]
BLOB = f"/blobs/{LAYER.digest}"
TIMEOUT = 1.5  # seconds: a busy machine answers within it
SHORT = LAYER.digest[: len("sha256:") + 12]


@dataclass(frozen=True)
class Snapshot:
    """The names, part files and leases of a store."""

    names: tuple[tuple[str, str, str], ...] = ()
    parts: tuple[str, ...] = ()
    leases: tuple[str, ...] = ()


def snapshot(store: library.Store) -> Snapshot:
    """Return a snapshot of a store, and check each blob against its digest."""
    for file in (store.path / "blobs").glob("*/*"):
        assert hashlib.new(file.parent.name, file.read_bytes()).hexdigest() == file.name
    return Snapshot(
        tuple(
            (name, str(root), str(image.id))
            for name, root, image in local_store(store).named_images()
        ),
        *(
            tuple(sorted(file.name for file in (store.path / directory).glob("*")))
            for directory in ("ingest", "leases")
        ),
    )


def blob_path(store: library.Store, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return store.path / "blobs" / algorithm / value


def part_size(store: library.Store, digest: str) -> int:
    part = store.path / "ingest" / f"{digest.replace(':', '-')}.part"
    return part.stat().st_size if part.exists() else -1


class Watch:
    """Collect the events of a pull."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, status: Status) -> list[Event]:
        return [event for event in self.events if event.status is status]


def blob_requests(fake: FakeRegistry, digest: str) -> list[str | None]:
    """Return the ``Range`` of each request for a blob."""
    path = f"/blobs/{digest}"
    return [
        request.headers.get("range")
        for request in fake.requests
        if request.method == "GET" and path in request.path
    ]


def whole(store: library.Store, name: str, image: BuiltImage) -> None:
    """Check that an image is completely in a store, and no part file is left."""
    found = store.get(name)
    assert (str(found.id), str(found.digest)) == (image.id, image.digest)
    for piece in (image.manifest, *image.blobs()):
        assert blob_path(store, piece.digest).read_bytes() == piece.data
    assert snapshot(store).parts == ()
