"""Names of images: tagging, and removing what only a name kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stored_images import names
from tagged_images import BASE, FIRST, SECOND, all_of, blobs, tags
from wherry.content.cancel import CancelToken
from wherry.errors import InvalidReference, NotFound, StoreError
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.testing import BuiltIndex, FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    import wherry as library


def test_an_image_may_have_many_names(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    assert str(store.tag(f"{host}:1", "mine").id) == FIRST.id
    store.tag(FIRST.id[7:13], "other.example/x:y")
    assert str(store.get("mine").id) == str(store.get("other.example/x:y").id) == FIRST.id
    assert str(store.get("mine").digest) == FIRST.digest


def test_an_image_that_is_being_stored_again_gets_no_name(
    store: library.Store, client: library.Client, host: str
) -> None:
    """Some of its files are back, but the image is complete only when it is recorded."""
    found = client.pull(f"{host}:1")
    store.remove(f"{host}:1")
    store.gc()
    with local_store(store).ingest() as ingest:
        manifest = Descriptor("", Digest.parse(FIRST.digest), len(FIRST.manifest.data))
        ingest.put_bytes(manifest, FIRST.manifest.data, CancelToken())
        with pytest.raises(NotFound, match="is missing from the image"):
            local_store(store).pin(Reference.parse("mine:1"), found.digest, found.record.manifest)
    assert not names(store)


def test_a_name_moves_to_another_image(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:2")
    store.tag(f"{host}:1", "mine")
    store.tag(f"{host}:2", "mine")
    assert str(store.get("mine").id) == SECOND.id


@pytest.mark.parametrize("name", ["Upper", "a@" + FIRST.digest, ""])
def test_invalid_names_are_refused(
    store: library.Store, client: library.Client, host: str, name: str
) -> None:
    client.pull(f"{host}:1")
    before = names(store)
    with pytest.raises(InvalidReference):
        store.tag(f"{host}:1", name)
    assert names(store) == before


def test_an_incomplete_image_gets_no_name(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    (store.path / "blobs" / FIRST.layers[1].digest.replace(":", "/")).unlink()
    with pytest.raises(NotFound, match=FIRST.layers[1].digest):
        store.tag(f"{host}:1", "mine")
    assert tags(store) == ["app:1"]


def test_untag_leaves_the_image_to_gc(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    store.untag(f"{host}:1")
    assert tags(store) == []
    assert all_of(FIRST) <= blobs(store)
    with pytest.raises(NotFound):
        store.untag(f"{host}:1")
    assert store.gc().images == [FIRST.id]
    assert blobs(store) == set()
    assert names(store) == []


def test_a_missing_store_has_no_names_to_remove(store: library.Store) -> None:
    with pytest.raises(NotFound):
        store.untag("alpine")
    with pytest.raises(NotFound):
        store.remove("alpine")
    assert not store.path.exists()


def test_rm_of_the_last_name_removes_the_image_but_no_shared_layers(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:2")
    removed = store.remove(f"{host}:1")
    assert [str(name) for name in removed.names] == [f"{host}:1", f"{host}@{FIRST.digest}"]
    assert removed.collected.images == [FIRST.id]
    assert set(removed.collected.layers) == {FIRST.layers[1].digest}
    assert blobs(store) == all_of(SECOND)
    assert removed.collected.size == sum(
        piece.size for piece in (FIRST.manifest, FIRST.config, FIRST.layers[1])
    )
    with pytest.raises(NotFound):
        store.get(FIRST.id)


def test_rm_of_one_of_several_names_leaves_the_image(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:latest")
    removed = store.remove(host)
    assert [name.tag for name in removed.names] == ["latest"]
    assert removed.collected.digests == []
    assert str(store.get(f"{host}:1").id) == FIRST.id
    assert f"{host}@{FIRST.digest}" in names(store)


def test_rm_by_id_removes_all_names(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:latest")
    assert len(store.remove(FIRST.id[7:12]).names) == 3
    assert blobs(store) == set()


def test_rm_by_id_of_an_image_of_several_repositories_needs_force(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    store.tag(f"{host}:1", "mine")
    with pytest.raises(StoreError, match=r"several repositories.*mine"):
        store.remove(FIRST.id)
    assert len(names(store)) == 3
    assert len(store.remove(FIRST.id, force=True).names) == 3
    assert blobs(store) == set()


def test_rm_of_one_platform_of_an_index_is_refused(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    arm = build_image([BASE], architecture="arm64")
    index = build_index(
        [
            (FIRST, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    fake.add_image("multi", index, "t")
    name = f"{fake.host}/multi:t"
    client.pull(name, platform="linux/amd64,linux/arm64")
    shown = str(store.get(name).id)
    other = ({FIRST.id, arm.id} - {shown}).pop()
    with pytest.raises(StoreError, match="platforms of"):
        store.remove(other)
    store.gc()
    assert all_of(FIRST) | all_of(arm) <= blobs(store)
    store.remove(name)
    assert blobs(store) == set()


def test_rm_leaves_images_without_a_name_complete(
    store: library.Store, client: library.Client, host: str
) -> None:
    client.pull(f"{host}:1")
    client.pull(f"{host}:2")
    store.untag(f"{host}:2")
    store.remove(f"{host}:1")
    assert blobs(store) == all_of(SECOND)
    assert store.check().problems == []
    store.tag(SECOND.id, "again")
    assert store.gc().digests == []


def test_rm_keeps_an_image_that_another_repository_names_by_digest(
    store: library.Store, client: library.Client, fake: FakeRegistry, host: str
) -> None:
    fake.add_image("team/other", FIRST, "1")
    client.pull(f"{host}:1")
    client.pull(f"{fake.host}/team/other:1")
    store.untag(f"{host}:1")
    store.remove(f"{fake.host}/team/other:1")
    assert names(store) == [f"{host}@{FIRST.digest}"]
    assert blobs(store) == all_of(FIRST)
    store.gc()
    assert names(store) == []
    assert blobs(store) == set()


def multi(fake: FakeRegistry) -> tuple[str, BuiltIndex]:
    """Add an index with two platforms to a registry; the first is `FIRST`."""
    arm = build_image([BASE, tar_layer({"a": b"3"})], architecture="arm64")
    index = build_index(
        [
            (FIRST, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    fake.add_image("team/app", index, "multi")
    return f"{fake.host}/team/app:multi", index


def test_an_image_of_an_index_without_a_name_is_removed(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    """The index is removed too; its other platforms stay until `gc`, as all unnamed images do."""
    name, index = multi(fake)
    client.pull(name, all_platforms=True)
    store.untag(name)
    store.untag(f"{name.rpartition(':')[0]}@{index.digest}")
    removed = store.remove(FIRST.id)
    assert removed.collected.images == [FIRST.id]
    (other,) = store.images()
    assert other.record.platform == "linux/arm64"
    assert not store.check().problems
    store.gc()
    assert not blobs(store)


def test_an_index_stays_while_another_name_keeps_its_image(
    store: library.Store, client: library.Client, fake: FakeRegistry
) -> None:
    name, index = multi(fake)
    client.pull(name, all_platforms=True)
    store.tag(FIRST.id, "one:1")
    fake.add_image("team/app", FIRST, "1")
    client.pull(f"{fake.host}/team/app:1")
    store.untag(name)
    store.untag(f"{name.rpartition(':')[0]}@{index.digest}")
    removed = store.remove(f"{fake.host}/team/app:1").collected
    assert (removed.digests, removed.documents) == ([], frozenset())
    assert local_store(store).document(Digest.parse(index.digest)).raw == index.index.data
