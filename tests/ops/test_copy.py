"""Copies between registries: what moves, in which order, and how often the registries are asked."""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.model.address import Address
from wherry.ops.destination import destination_text
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
    build_index,
    build_schema1,
    make_key,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = build_image([tar_layer({f"f{n}": os.urandom(20_000)}) for n in range(3)])
ARM = build_image([tar_layer({"arm": b"1"})], architecture="arm64")
ATTESTATION = build_image([tar_layer({"att": b"1"})])
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "1")
        registry.add_image("app", INDEX, "all")
        registry.clear()
        yield registry


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client() -> Iterator[wherry.Client]:
    with wherry.Client(retries=2) as client:
        yield client


def methods(registry: FakeRegistry) -> list[str]:
    return [request.method for request in registry.requests]


def test_a_copy(client: wherry.Client, source: FakeRegistry, target: FakeRegistry) -> None:
    done = client.copy(f"{source.host}/app:1", f"{target.host}/team/app:2")
    assert str(done.root.digest) == IMAGE.digest
    assert done.names == ("2",)
    assert done.sent == sum(piece.size for piece in IMAGE.blobs())
    assert target.tags["team/app"] == {"2": IMAGE.digest}
    assert target.manifests["team/app"][IMAGE.digest][0] == IMAGE.manifest.data
    kinds = [(request.method, request.path.rsplit("/", 2)[-2]) for request in target.requests]
    last_blob = max(at for at, (method, _) in enumerate(kinds) if method in {"PATCH", "POST"})
    first_document = kinds.index(("PUT", "manifests"))
    assert last_blob < first_document
    assert target.requests[-1].path == "/v2/team/app/manifests/2"


def test_the_same_again_moves_nothing(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    names = f"{source.host}/app:1", f"{target.host}/app:1"
    client.copy(*names)
    source.clear()
    target.clear()
    done = client.copy(*names)
    assert (done.sent, done.names) == (0, ("1",))
    assert methods(target) == ["HEAD"]
    assert len(methods(source)) <= 2


def test_a_second_tag_takes_four_requests(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    client.copy(f"{source.host}/app:1", f"{target.host}/app:1")
    target.clear()
    client.copy(f"{source.host}/app:1", f"{target.host}/app:2")
    assert target.tags["app"] == {"1": IMAGE.digest, "2": IMAGE.digest}
    assert methods(target)[-1] == "PUT"
    assert len(target.requests) <= 4


def test_all_platforms_keep_the_digest(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    done = client.copy(f"{source.host}/app:all", f"{target.host}/app:all", all_platforms=True)
    assert str(done.root.digest) == INDEX.digest
    assert set(target.manifests["app"]) == {IMAGE.digest, ARM.digest, INDEX.digest}
    puts = [each.path for each in target.requests if each.method == "PUT" and "manif" in each.path]
    assert puts[-2].endswith(INDEX.digest)
    assert puts[-1].endswith("/all")


def test_one_platform_is_copied_as_its_manifest(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    names = f"{source.host}/app:all", f"{target.host}/app:arm"
    done = client.copy(*names, platform="linux/arm64")
    assert str(done.root.digest) == ARM.digest
    assert set(target.manifests["app"]) == {ARM.digest}


def test_a_moved_index_moves_what_is_new(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    client.copy(f"{source.host}/app:all", f"{target.host}/app:x", platform="linux/arm64")
    target.clear()
    client.copy(f"{source.host}/app:all", f"{target.host}/app:x", all_platforms=True)
    asked = [each.path for each in target.requests if "/blobs/sha256" in each.path]
    assert not any(piece.digest in path for piece in ARM.blobs() for path in asked)


def test_sparse_keeps_the_index(client: wherry.Client, source: FakeRegistry) -> None:
    with FakeRegistry(takes_sparse=True) as target:
        names = f"{source.host}/app:all", f"{target.host}/app:all"
        done = client.copy(*names, platform="linux/arm64", sparse=True)
        assert str(done.root.digest) == INDEX.digest
        assert set(target.manifests["app"]) == {ARM.digest, INDEX.digest}


def test_sparse_copies_add_up(client: wherry.Client, source: FakeRegistry) -> None:
    """The registry has the index, which does not mean that it has all that is wanted."""
    with FakeRegistry(takes_sparse=True) as target:
        names = f"{source.host}/app:all", f"{target.host}/app:all"
        client.copy(*names, platform="linux/arm64", sparse=True)
        client.copy(*names, platform="linux/amd64", sparse=True)
        assert set(target.manifests["app"]) == {ARM.digest, IMAGE.digest, INDEX.digest}
        target.clear()
        again = client.copy(*names, platform="linux/amd64", sparse=True)
        assert (again.root.digest, again.sent) == (INDEX.digest, 0)
        assert set(methods(target)) == {"HEAD"}


@pytest.mark.parametrize("place", ["oci:{}:all", "dir:{}", "store:app:all"])
def test_platforms_are_added_to_an_index(
    source: FakeRegistry, target: FakeRegistry, tmp_path: Path, place: str
) -> None:
    kept = place.format(tmp_path / "place")
    with wherry.Client(store=tmp_path / "store") as client:
        client.copy(f"{source.host}/app:all", kept, platform="linux/arm64", sparse=True)
        assert client.store.check().problems == []
        client.copy(f"{source.host}/app:all", kept, all_platforms=True)
        client.copy(kept, f"{target.host}/app:all", all_platforms=True)
    assert set(target.manifests["app"]) == {ARM.digest, IMAGE.digest, INDEX.digest}


@pytest.mark.parametrize(
    "options",
    [
        {"convert_to": "docker"},
        {"convert_to": "docker", "all_platforms": True},
        {"compression": "zstd", "all_platforms": True},
        {"platform": "linux/amd64,linux/arm64", "convert_to": "docker"},
        {"platform": "linux/arm64,linux/s390x"},
    ],
)
def test_a_second_tag_of_what_was_converted(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry, options: dict[str, Any]
) -> None:
    """Both tags stand for the new document; the second one moves no blob."""
    other = build_image([tar_layer({"s390": b"1"})], architecture="s390x")
    platforms = [{"os": "linux", "architecture": each} for each in ("amd64", "arm64", "s390x")]
    index = build_index(list(zip([IMAGE, ARM, other], platforms, strict=True)))
    source.add_image("app", index, "three")
    first = client.copy(f"{source.host}/app:three", f"{target.host}/app:1", **options)
    assert first.root.digest != index.digest
    for _ in range(2):
        second = client.copy(f"{source.host}/app:three", f"{target.host}/app:2", **options)
        assert (second.root.digest, second.names) == (first.root.digest, ("2",))
    assert set(target.tags["app"].values()) == {first.root.digest}


def test_no_image_for_a_platform(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    with pytest.raises(wherry.PlatformMismatch):
        client.copy(f"{source.host}/app:all", f"{target.host}/app:x", platform="linux/s390x")
    with pytest.raises(wherry.PlatformMismatch):
        client.copy(f"{source.host}/app:1", f"{target.host}/app:x", platform="linux/s390x")
    assert target.manifests.get("app", {}) == {}


def test_layers_are_mounted_in_the_same_registry(
    client: wherry.Client, source: FakeRegistry
) -> None:
    planned = client.plan_copy(f"{source.host}/app:1", f"{source.host}/other:1")
    assert len(planned.mounts) == len(IMAGE.layers) + 1
    assert planned.bytes_to_move == 0
    done = planned.execute(client)
    assert (done.sent, done.mounted) == (0, sum(piece.size for piece in IMAGE.blobs()))


def test_a_plan_is_a_value(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    names = f"{source.host}/app:1", f"{target.host}/app:1"
    planned = client.plan_copy(*names)
    assert {each.method for each in target.requests} == {"HEAD"}
    assert planned == client.plan_copy(*names)
    again = pickle.loads(pickle.dumps(planned))  # noqa: S301 - made in this test
    assert again == planned
    shown = json.loads(json.dumps(planned.to_json()))
    assert {each["action"] for each in shown["blobs"]} == {"move"}
    assert shown["bytesToMove"] == sum(piece.size for piece in IMAGE.blobs())
    assert "4 to move" in str(planned)
    assert again.execute().sent == planned.bytes_to_move
    assert again.execute().sent == 0  # idempotent
    assert "the image is there" in str(client.plan_copy(*names))


def test_a_plan_keeps_its_root(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    planned = client.plan_copy(f"{source.host}/app:1", f"{target.host}/app:1")
    source.add_image("app", ARM, "1")
    planned.execute(client)
    assert target.tags["app"] == {"1": IMAGE.digest}


def test_a_plan_is_carried_out_after_the_destination_has_changed(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    names = f"{source.host}/app:all", f"{target.host}/app:all"
    client.copy(*names, platform="linux/arm64")
    partial = client.plan_copy(*names, all_platforms=True)
    client.copy(*names, all_platforms=True)
    nothing = client.plan_copy(*names, all_platforms=True)
    assert (len(partial.documents), str(nothing)) == (2, "the image is there")
    for planned in (partial, nothing):
        del target.manifests["app"], target.tags["app"]
        for piece in (*IMAGE.blobs(), *ARM.blobs()):
            target.delete_blob("app", piece.digest)
        done = planned.execute(client)
        assert done.sent == sum(piece.size for piece in (*IMAGE.blobs(), *ARM.blobs()))
        assert set(target.manifests["app"]) == {ARM.digest, IMAGE.digest, INDEX.digest}


@pytest.mark.parametrize("place", ["oci:{}:1", "dir:{}", "store:app:1"])
def test_a_plan_is_carried_out_after_a_place_has_lost_a_layer(
    source: FakeRegistry, tmp_path: Path, place: str
) -> None:
    raw = json.dumps(json.loads(IMAGE.manifest.data) | {"annotations": {"a": "b"}}).encode()
    source.add_manifest("app", raw, IMAGE.manifest.media_type, "2")
    where = place.format(tmp_path / "place")
    with wherry.Client(store=tmp_path / "store") as client:
        client.copy(f"{source.host}/app:2", where)
        planned = client.plan_copy(f"{source.host}/app:1", where)
        assert len(planned.skips) == len(IMAGE.layers) + 1
        if place.startswith("store"):
            client.store.remove("app:1")
            client.store.gc()
        else:
            next((tmp_path / "place").rglob(IMAGE.layers[0].digest[7:])).unlink()
        planned.execute(client)
        assert client.validate(where).findings == []


@pytest.mark.parametrize("name", ["oci:latest", "dir:1", "store:1", "alpine:3", "host/app:1"])
def test_a_destination_as_text_is_a_destination(name: str) -> None:
    """Some names of repositories look like addresses of other places."""
    address = Address.parse(f"docker://{name}")
    assert Address.parse(destination_text(address)).reference == address.reference


def test_a_digest_as_destination(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    client.copy(f"{source.host}/app:1", f"{target.host}/app@{IMAGE.digest}")
    assert set(target.manifests["app"]) == {IMAGE.digest}
    assert target.tags.get("app", {}) == {}
    with pytest.raises(wherry.InvalidReference, match="not that of the image"):
        client.copy(f"{source.host}/app:1", f"{target.host}/app@{ARM.digest}")


def test_a_blob_that_vanishes_is_sent_again(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    names = f"{source.host}/app:1", f"{target.host}/app:1"
    client.copy(*names)
    del target.manifests["app"], target.tags["app"]
    gone = IMAGE.layers[1].digest
    target.delete_blob("app", gone)
    was_there = Fault(FixedReply(200), method="HEAD", path=gone, times=1)
    target.inject(was_there)
    done = client.copy(*names)
    assert (done.sent, was_there.count) == (IMAGE.layers[1].size, 1)
    assert target.tags["app"] == {"1": IMAGE.digest}


@pytest.mark.parametrize("lost", [False, True])
def test_a_blob_that_the_registry_only_says_it_has_is_sent(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry, lost: bool
) -> None:
    """Distribution may answer from a cache after its garbage collection."""
    target.inject(Fault(FixedReply(200), method="HEAD", path="/blobs/"))
    names = f"{source.host}/app:1", f"{target.host}/app:1"
    if lost:  # else there is nothing at all
        client.copy(*names, force=True)
        del target.manifests["app"], target.tags["app"]
        target.delete_blob("app", IMAGE.layers[1].digest)
    assert client.copy(*names).sent == sum(piece.size for piece in IMAGE.blobs())
    assert target.tags["app"] == {"1": IMAGE.digest}


@pytest.mark.parametrize("mounts_from_any", [False, True])
@pytest.mark.parametrize("is_planned", [False, True])
def test_force_sends_all(
    client: wherry.Client, source: FakeRegistry, mounts_from_any: bool, is_planned: bool
) -> None:
    with FakeRegistry(mounts_from_any=mounts_from_any) as target:
        names = f"{source.host}/app:1", f"{target.host}/app:1"
        client.copy(*names)
        if is_planned:
            done = client.plan_copy(*names, force=True).execute(client)
        else:
            done = client.copy(*names, force=True)
        assert done.sent == sum(piece.size for piece in IMAGE.blobs())
        assert done.mounted == 0


def test_force_sends_packed_layers(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    names = f"{source.host}/app:1", f"{target.host}/app:1"
    first = client.copy(*names, compression="zstd")
    assert client.copy(*names, compression="zstd", force=True).sent == first.sent > 0


def test_unknown_options_are_refused(client: wherry.Client) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        client.copy("a", "b", speed=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="sparse must be True or False"):
        client.copy("a", "b", sparse="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="convert_to"):
        client.copy("a", "b", convert_to="v3")  # type: ignore[arg-type]
    with pytest.raises(wherry.InvalidReference, match="compression"):
        client.copy("a", "b", compression="lzma")


def test_schema1_at_last(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    done = client.copy(f"{source.host}/app:1", f"{target.host}/old:1", convert_to="v2s1")
    image = client.pull(f"{target.host}/old:1", store=tmp_path / "store")
    assert image.digest == done.root.digest
    assert [str(each) for each in image.config.diff_ids] == list(IMAGE.diff_ids)


def test_schema1_into_a_store(source: FakeRegistry, tmp_path: Path) -> None:
    key = make_key("ES256")
    old = build_schema1([IMAGE.layers[0].data], keys=[("ES256", key)])
    source.add_blob(IMAGE.layers[0].data)
    digest = sha256(old.payload)
    source.add_manifest("old", old.manifest.data, old.manifest.media_type, "1", digest=digest)
    with wherry.Client(store=tmp_path / "store") as client:
        with pytest.raises(wherry.Unsupported, match="the store cannot hold docker's schema1"):
            client.copy(f"{source.host}/old:1", "store:old:1")
        assert client.store.images() == []


def test_a_store_checks_the_images_that_it_gets(source: FakeRegistry, tmp_path: Path) -> None:
    image = build_image([IMAGE.layers[0].data], diff_ids=[sha256(b"another")])
    source.add_image("wrong", image, "1")
    with wherry.Client(store=tmp_path / "store") as client:
        with pytest.raises(wherry.IntegrityError, match="don't match image configuration"):
            client.copy(f"{source.host}/wrong:1", "store:wrong:1")
        assert client.store.images() == []


def test_the_output_says_that_a_digest_changes(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry
) -> None:
    events: list[wherry.Event] = []
    done = client.copy(
        f"{source.host}/app:1",
        f"{target.host}/app:1",
        compression="zstd",
        convert_to="oci",
        on_event=events.append,
    )
    assert done.notes == (f"{IMAGE.digest} becomes {done.root.digest}",)
    warnings = [each.message for each in events if each.status is wherry.Status.WARNING]
    assert warnings == list(done.notes)


@pytest.mark.parametrize("takes_tags", [True, False])
def test_several_tags(client: wherry.Client, source: FakeRegistry, takes_tags: bool) -> None:
    with FakeRegistry(takes_tags=takes_tags) as target:
        names = f"{source.host}/app:1", f"{target.host}/app:1"
        done = client.copy(*names, additional_tags=["1.4", "latest", "1"])
        assert done.names == ("1", "1.4", "latest")
        assert target.tags["app"] == dict.fromkeys(done.names, IMAGE.digest)
        puts = [each for each in target.requests if each.method == "PUT" and "manif" in each.path]
        assert len(puts) == (2 if takes_tags else 5)
        target.clear()
        client.copy(*names, additional_tags=["1.4", "next"])
        assert methods(target).count("PUT") == 1
    with pytest.raises(wherry.InvalidReference, match="not a tag"):
        client.copy(*names, additional_tags=["a b"])
    with pytest.raises(wherry.Unsupported, match="additional tags"):
        client.copy(names[0], "oci:layout:1", additional_tags=["2"])


def test_compressions_that_have_no_effect_are_refused(
    client: wherry.Client, source: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    name = f"{source.host}/app:1"
    with pytest.raises(wherry.Unsupported, match="without compression"):
        client.copy(name, f"docker-archive:{tmp_path}/a.tar", compression="gzip")
    client.copy(name, f"{target.host}/old:1", convert_to="v2s1")
    with pytest.raises(wherry.Unsupported, match="only as it is"):
        client.copy(f"{target.host}/old:1", f"{target.host}/old:2", compression="zstd")
    client.copy(f"{target.host}/old:1", f"{target.host}/old:2", compression="keep")


def test_a_layout_whose_layers_are_compressed_on_the_way(
    client: wherry.Client, target: FakeRegistry, tmp_path: Path
) -> None:
    plain = build_image([tar_layer({"a": b"1"})], compression="none")
    with FakeRegistry() as registry:
        registry.add_image("app", plain, "1")
        client.copy(f"{registry.host}/app:1", f"oci:{tmp_path}/layout:1")
    done = client.copy(f"oci:{tmp_path}/layout:1", f"{target.host}/app:1")
    assert done.notes == (f"{plain.digest} becomes {done.root.digest}",)
    kept = client.copy(f"oci:{tmp_path}/layout:1", f"{target.host}/app:2", compression="keep")
    assert (kept.notes, str(kept.root.digest)) == ((), plain.digest)
