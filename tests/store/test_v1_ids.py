"""The ids by which registries of version 1 have layers."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from stored_images import FIRST
from wherry.image_store import local_store
from wherry.model.config import chain_ids
from wherry.model.digest import Digest
from wherry.store import LocalStore
from wherry.store.v1_ids import V1Id

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library

HOST = "v1.example.com"
LAYER = Digest.parse(str(FIRST.layers[0].digest))
ABSENT = Digest.of(b"not stored")
IMAGE, OTHER = Digest.of(b"config"), Digest.of(b"another config")
CHAIN = chain_ids([Digest.of(b"lowest"), Digest.of(b"middle"), Digest.of(b"top")])
A, B, C, D = (letter * 64 for letter in "abcd")
IDS = [
    V1Id(A, "", LAYER, CHAIN[0]),
    V1Id(B, A, LAYER, CHAIN[1]),
    V1Id(C, B, LAYER, CHAIN[2], IMAGE),
]


@pytest.fixture
def local(store: library.Store, name: str) -> LocalStore:
    assert name
    return local_store(store)


def age(store: library.Store) -> None:
    """Make all that was recorded older than what `gc` keeps."""
    connection = sqlite3.connect(store.path / "wherry.db")
    with connection:
        connection.execute("UPDATE v1_ids SET seen = seen - 100 * 86400")
    connection.close()


def test_an_id_is_known_at_one_registry(local: LocalStore) -> None:
    local.record_v1_ids(HOST, IDS)
    assert local.v1_layers(HOST, [A, C, D]) == {A: LAYER, C: LAYER}
    assert local.v1_layers("other.example.com", [A]) == {}
    local.record_v1_ids(HOST, [V1Id(A, "", ABSENT)])
    assert local.v1_layers(HOST, [A]) == {A: ABSENT}


def test_many_ids(local: LocalStore) -> None:
    ids = [f"{number:064x}" for number in range(1200)]
    local.record_v1_ids(HOST, [V1Id(each, "", LAYER) for each in ids])
    assert set(local.v1_layers(HOST, ids)) == set(ids)


def test_the_ids_of_an_image(local: LocalStore) -> None:
    assert local.v1_ids_of(HOST, CHAIN, IMAGE) is None
    local.record_v1_ids(HOST, IDS)
    assert local.v1_ids_of(HOST, CHAIN, IMAGE) == [A, B, C]
    assert local.v1_ids_of("other.example.com", CHAIN, IMAGE) is None
    assert local.v1_ids_of(HOST, CHAIN, OTHER) is None
    assert local.v1_ids_of(HOST, CHAIN[:2], IMAGE) is None
    assert local.v1_ids_of(HOST, (), IMAGE) is None


@pytest.mark.parametrize(
    "changed",
    [
        V1Id(B, D, LAYER, CHAIN[1]),
        V1Id(B, A, LAYER, CHAIN[0]),
        V1Id(A, D, LAYER, CHAIN[0]),
        V1Id(A, "", ABSENT),
    ],
    ids=["other parent", "other layers", "more below", "unknown layers"],
)
def test_the_ids_of_an_image_have_to_be_a_chain(local: LocalStore, changed: V1Id) -> None:
    local.record_v1_ids(HOST, IDS)
    local.record_v1_ids(HOST, [changed])
    assert local.v1_ids_of(HOST, CHAIN, IMAGE) is None


def test_what_is_known_of_an_id_is_kept(local: LocalStore) -> None:
    local.record_v1_ids(HOST, IDS)
    local.record_v1_ids(HOST, [V1Id(C, B, LAYER), V1Id(B, A, LAYER, CHAIN[1])])
    assert local.v1_ids_of(HOST, CHAIN, IMAGE) == [A, B, C]


def test_an_image_may_be_there_twice(local: LocalStore) -> None:
    local.record_v1_ids(HOST, [*IDS, V1Id("0" * 64, D, LAYER, CHAIN[2], IMAGE)])
    assert local.v1_ids_of(HOST, CHAIN, IMAGE) == [A, B, C]


def test_gc_removes_the_ids_of_layers_that_it_removes(
    store: library.Store, local: LocalStore, name: str
) -> None:
    local.record_v1_ids(HOST, IDS)
    age(store)
    store.gc()
    assert local.v1_layers(HOST, [A]) == {A: LAYER}
    store.remove(name)
    assert local.v1_layers(HOST, [A, B, C]) == {}


def test_gc_removes_old_ids_of_other_layers(store: library.Store, local: LocalStore) -> None:
    local.record_v1_ids(HOST, [V1Id(A, "", ABSENT), V1Id(B, A, LAYER)])
    store.gc()
    assert set(local.v1_layers(HOST, [A, B])) == {A, B}
    age(store)
    store.gc()
    assert set(local.v1_layers(HOST, [A, B])) == {B}


def test_nothing_is_recorded_without_a_store(tmp_path: Path) -> None:
    local = LocalStore(tmp_path / "store")
    local.record_v1_ids(HOST, IDS)
    assert local.v1_layers(HOST, [A]) == {}
    assert local.v1_ids_of(HOST, CHAIN, IMAGE) is None
    assert not local.path.exists()
