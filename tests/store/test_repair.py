"""Repair of damaged and missing blobs."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from stored_images import FIRST, INDEX, SECOND, damage, file_of, kinds
from wherry.image_store import local_store

if TYPE_CHECKING:
    import wherry as library
    from wherry.testing import (
        FakeRegistry,
    )


@pytest.mark.parametrize("how", ["damaged", "missing"])
@pytest.mark.parametrize("which", ["layer", "config", "manifest", "index"])
def test_repair_fetches_damaged_and_missing_blobs(
    store: library.Store, client: library.Client, multi: str, how: str, which: str
) -> None:
    digest = {
        "layer": SECOND.layers[1].digest,
        "config": SECOND.config.digest,
        "manifest": SECOND.digest,
        "index": INDEX.digest,
    }[which]
    names = [name for name, _, _ in local_store(store).named_images()]
    before = file_of(store, digest).read_bytes()
    if how == "damaged":
        damage(store, digest)
    else:
        file_of(store, digest).unlink()
    problems = store.check().problems
    assert [(problem.kind, problem.digest) for problem in problems] == [(how, digest)]
    repaired = client.repair(problems)
    assert (repaired.mended, repaired.left) == (problems, [])
    assert file_of(store, digest).read_bytes() == before
    assert kinds(store) == []
    assert [name for name, _, _ in local_store(store).named_images()] == names
    assert multi in {name for name, _, _ in local_store(store).named_images()}


@pytest.mark.parametrize("place", range(4))
def test_repair_of_schema1(
    store: library.Store, client: library.Client, old: str, place: int
) -> None:
    """Any blob can be repaired: signed manifest, converted manifest, config and layer."""
    image = store.get(old)
    signed = next(
        path.name
        for path in (store.path / "blobs" / "sha256").iterdir()
        if b'"signatures"' in path.read_bytes()
    )
    digests = [
        f"sha256:{signed}",
        str(image.record.manifest),
        str(image.id),
        str(image.layers[0].digest),
    ]
    damage(store, digests[place])
    problems = store.check().problems
    assert [problem.digest for problem in problems] == [digests[place]]
    assert client.repair(problems).left == []
    assert kinds(store) == []
    assert store.get(old).id == image.id


def test_repair_after_the_image_was_given_another_name(
    store: library.Store, client: library.Client, name: str
) -> None:
    store.tag(name, "mine")
    store.remove(name)
    damage(store, FIRST.layers[0].digest)
    assert client.repair(store.check().problems).left == []
    assert kinds(store) == []
    assert [found for found, _, _ in local_store(store).named_images()] == [
        "docker.io/library/mine:latest"
    ]


def test_repair_reports_what_it_cannot_fetch_and_removes_damaged_files(
    store: library.Store, client: library.Client, fake: FakeRegistry, name: str
) -> None:
    damage(store, FIRST.layers[0].digest)
    del fake.blobs[FIRST.layers[0].digest]
    repaired = client.repair(store.check().problems)
    assert repaired.mended == []
    ((problem, reason),) = repaired.left
    assert problem.digest == FIRST.layers[0].digest
    assert "team/app" in reason
    assert kinds(store) == [("missing", FIRST.layers[0].digest)]
    fake.add_image("team/app", FIRST, "t")
    assert str(client.pull(name).id) == FIRST.id
    assert kinds(store) == []


def test_repair_removes_damaged_files_without_a_name(
    store: library.Store, client: library.Client, fake: FakeRegistry, name: str
) -> None:
    store.untag(name)
    damage(store, FIRST.layers[0].digest)
    store.gc(dry_run=True)
    with sqlite3.connect(store.path / "wherry.db") as connection:
        connection.execute("DELETE FROM refs")
    connection.close()
    fake.requests.clear()
    assert client.repair(store.check().problems).left == []
    assert not file_of(store, FIRST.layers[0].digest).exists()
    assert fake.requests == []
