"""What the store remembers of transfers: where blobs are, and what they were packed to."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from stored_images import FIRST
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library

LAYER = Digest.parse(str(FIRST.layers[0].digest))
OTHER = Digest.of(b"other")
PACKED = Descriptor("", Digest.of(b"packed"), 6)
MONTHS = 100 * 86_400  # seconds


def ages(store: library.Store, seconds: int) -> None:
    """Make all that was recorded older."""
    connection = sqlite3.connect(store.path / "wherry.db")
    with connection:
        for table in ("provenance", "packed"):
            connection.execute(f"UPDATE {table} SET seen = seen - ?", (seconds,))  # noqa: S608
    connection.close()


def repositories(local: LocalStore, digest: Digest) -> list[str]:
    return [repository for repository, _ in local.provenance_of([digest]).get(digest, [])]


def test_repositories_are_listed_from_the_latest(store: library.Store, name: str) -> None:
    local, pulled = local_store(store), name.removesuffix(":t")
    ages(store, 10)
    local.record_provenance("a.example/app", [LAYER, OTHER])
    ages(store, 10)
    local.record_provenance("b.example/app", [LAYER])
    assert repositories(local, LAYER) == ["b.example/app", "a.example/app", pulled]
    ages(store, 10)
    local.record_provenance(pulled, [LAYER])
    (first, now), (second, before), _ = local.provenance_of([LAYER])[LAYER]
    assert (first, second, now - before >= 10) == (pulled, "b.example/app", True)
    assert set(local.provenance_of([LAYER, OTHER, PACKED.digest])) == {LAYER, OTHER}


def test_a_repository_is_forgotten_for_one_blob(store: library.Store, name: str) -> None:
    local, pulled = local_store(store), name.removesuffix(":t")
    local.record_provenance("a.example/app", [LAYER, OTHER])
    local.forget_provenance("a.example/app", LAYER)
    local.forget_provenance("a.example/app", LAYER)
    assert repositories(local, LAYER) == [pulled]
    assert repositories(local, OTHER) == ["a.example/app"]


def test_many_blobs(store: library.Store, name: str) -> None:
    assert name
    local = local_store(store)
    digests = [Digest.of(str(number).encode()) for number in range(2000)]
    local.record_provenance("a.example/app", digests)
    assert set(local.provenance_of(digests)) == set(digests)


def test_packed_blobs_are_found_by_source_and_compression(store: library.Store, name: str) -> None:
    assert name
    local = local_store(store)
    local.record_packed(LAYER, "gzip:6", PACKED._replace(media_type="any"))
    assert local.find_packed(LAYER, "gzip:6") == PACKED
    assert local.find_packed(LAYER, "zstd:3") is None
    assert local.find_packed(OTHER, "gzip:6") is None
    again = Descriptor("", Digest.of(b"by another version"), 7)
    local.record_packed(LAYER, "gzip:6", again)
    assert local.find_packed(LAYER, "gzip:6") == again


def test_gc_removes_the_facts_of_blobs_that_it_removes(store: library.Store, name: str) -> None:
    local = local_store(store)
    local.record_packed(LAYER, "gzip:6", PACKED)
    ages(store, MONTHS)
    store.gc()
    assert local.find_packed(LAYER, "gzip:6") == PACKED
    store.remove(name)
    assert local.find_packed(LAYER, "gzip:6") is None
    assert local.provenance_of([LAYER]) == {}


def test_gc_removes_old_facts_of_other_blobs(store: library.Store, name: str) -> None:
    assert name
    local = local_store(store)
    local.record_packed(OTHER, "gzip:6", Descriptor.of(b"of other", ""))
    local.record_packed(LAYER, "gzip:6", PACKED)
    local.record_provenance("a.example/app", [OTHER, PACKED.digest])
    store.gc()
    assert set(local.provenance_of([OTHER, PACKED.digest])) == {OTHER, PACKED.digest}
    assert local.find_packed(OTHER, "gzip:6") is not None
    ages(store, MONTHS)
    store.gc()
    # The packed blob is not stored, but that which it was packed from is.
    assert set(local.provenance_of([OTHER, PACKED.digest])) == {PACKED.digest}
    assert local.find_packed(OTHER, "gzip:6") is None
    assert local.find_packed(LAYER, "gzip:6") == PACKED


def test_nothing_is_recorded_without_a_store(tmp_path: Path) -> None:
    local = LocalStore(tmp_path / "store")
    local.record_provenance("a.example/app", [LAYER])
    local.record_packed(LAYER, "gzip:6", PACKED)
    local.forget_provenance("a.example/app", LAYER)
    assert local.provenance_of([LAYER]) == {}
    assert local.find_packed(LAYER, "gzip:6") is None
    assert not local.path.exists()


def test_a_damaged_database_does_not_end_a_transfer(store: library.Store, name: str) -> None:
    assert name
    store.close()
    (store.path / "wherry.db").write_bytes(b"not a database" * 1000)
    local_store(store).record_provenance("a.example/app", [LAYER])
