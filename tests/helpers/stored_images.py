"""Images that tests store, and ways to damage a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.image_store import local_store
from wherry.testing import (
    build_image,
    build_index,
    build_schema1,
    make_key,
    tar_layer,
)

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library


BASE = tar_layer({"base": b"shared"})
FIRST = build_image([BASE, tar_layer({"a": b"1"})])
SECOND = build_image([BASE, tar_layer({"a": b"2"})], architecture="arm64")
INDEX = build_index(
    [
        (FIRST, {"os": "linux", "architecture": "amd64"}),
        (SECOND, {"os": "linux", "architecture": "arm64"}),
    ]
)
OLD = build_schema1([tar_layer({"old": b"1"})], keys=[("ES256", make_key("ES256"))])


def file_of(store: library.Store, digest: str) -> Path:
    return store.path / "blobs" / digest.replace(":", "/")


def damage(store: library.Store, digest: str) -> None:
    """Change one bit of a blob, as a failing disk may do."""
    path = file_of(store, digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def overwrite(store: library.Store, digest: str) -> None:
    """Replace a blob by other JSON."""
    path = file_of(store, digest)
    path.chmod(0o644)
    path.write_bytes(b'{"a":1}')


def kinds(store: library.Store) -> list[tuple[str, str]]:
    """Return kind and digest of each problem."""
    return sorted((problem.kind, problem.digest) for problem in store.check().problems)


def names(store: library.Store) -> list[str]:
    """Return all names of a store, in order."""
    return [name for name, _, _ in local_store(store).named_images()]


def lose(store: library.Store, how: str) -> None:
    """Remove or damage the database of a store."""
    store.close()
    path = store.path / "wherry.db"
    if how == "gone":
        path.unlink()
    elif how == "no database":
        path.write_bytes(b"something else altogether, and long enough to be looked at" * 99)
    else:
        data = bytearray(path.read_bytes())
        data[4096:12288] = bytes(8192)
        path.write_bytes(data)
