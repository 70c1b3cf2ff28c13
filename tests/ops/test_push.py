"""Pushes from the store: what is packed, remembered, mounted, and sent a second time."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.testing import Action, FakeRegistry, Fault, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.testing._messages import IncomingRequest

IMAGE = build_image([tar_layer({f"f{n}": os.urandom(20_000)}) for n in range(3)])
ARM = build_image([tar_layer({"arm": b"1"})], architecture="arm64")
AMD = build_image([tar_layer({"amd": b"1"})])
INDEX = build_index(
    [
        (AMD, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client(tmp_path: Path) -> Iterator[wherry.Client]:
    with wherry.Client(store=tmp_path / "store", retries=2) as client:
        yield client


@pytest.fixture
def pulled(client: wherry.Client) -> Iterator[FakeRegistry]:
    """A registry from which ``app:1`` was pulled; it has ``app:all`` too."""
    with FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "1")
        registry.add_image("app", INDEX, "all")
        client.pull(f"{registry.host}/app:1")
        registry.clear()
        yield registry


@pytest.fixture
def loaded(client: wherry.Client, pulled: FakeRegistry, tmp_path: Path) -> str:
    """The name of an image whose layers are not compressed."""
    client.save(f"{pulled.host}/app:1", tmp_path / "app.tar", name="loaded:1")
    client.store.remove(f"{pulled.host}/app:1")
    client.store.gc()
    client.load(tmp_path / "app.tar")
    return "loaded:1"


def blob_requests(registry: FakeRegistry) -> list[str]:
    return [each.method for each in registry.requests if "/blobs/" in each.path]


def test_what_was_pulled_keeps_its_digest(
    client: wherry.Client, pulled: FakeRegistry, target: FakeRegistry
) -> None:
    done = client.push(f"{pulled.host}/app:1", f"{target.host}/team/app:2")
    assert str(done.root.digest) == IMAGE.digest
    assert target.manifests["team/app"][IMAGE.digest][0] == IMAGE.manifest.data


def test_without_a_destination_the_name_is_the_destination(
    client: wherry.Client, pulled: FakeRegistry
) -> None:
    client.store.tag(f"{pulled.host}/app:1", f"{pulled.host}/app:again")
    done = client.push(f"{pulled.host}/app:again")
    assert done.sent == 0
    assert pulled.tags["app"]["again"] == IMAGE.digest


def test_an_id_needs_a_destination(
    client: wherry.Client, pulled: FakeRegistry, target: FakeRegistry
) -> None:
    image = IMAGE.id.removeprefix("sha256:")[:12]
    with pytest.raises(wherry.InvalidReference, match="needs a destination"):
        client.push(image)
    assert client.push(image, f"{target.host}/app:1").names == ("1",)
    assert pulled.requests == []


def test_a_sparse_index_is_pushed_as_the_image_that_is_there(
    client: wherry.Client, pulled: FakeRegistry, target: FakeRegistry
) -> None:
    client.pull(f"{pulled.host}/app:all", platform="linux/arm64")
    events: list[wherry.Event] = []
    done = client.push(f"{pulled.host}/app:all", f"{target.host}/app:arm", on_event=events.append)
    assert str(done.root.digest) == ARM.digest
    warnings = [each.message for each in events if each.status is wherry.Status.WARNING]
    assert any(ARM.digest in each for each in warnings)
    with pytest.raises(wherry.NotFound):
        client.push(f"{pulled.host}/app:all", f"{target.host}/app:x", all_platforms=True)
    client.pull(f"{pulled.host}/app:all", all_platforms=True)
    done = client.push(f"{pulled.host}/app:all", f"{target.host}/app:all")
    assert str(done.root.digest) == INDEX.digest


def test_a_sparse_index_is_pushed_sparse(client: wherry.Client) -> None:
    """The store has one image of two."""
    arm = build_image([tar_layer({"arm": b"1"})], architecture="arm64")
    platforms = [{"os": "linux", "architecture": each} for each in ("amd64", "arm64")]
    index = build_index(list(zip([IMAGE, arm], platforms, strict=True)))
    with FakeRegistry() as source, FakeRegistry(takes_sparse=True) as sparse:
        source.add_image("app", index, "1")
        name = f"{source.host}/app:1"
        client.pull(name, platform="linux/arm64")
        done = client.push(name, f"{sparse.host}/app:1", sparse=True)
        assert str(done.root.digest) == index.digest
        assert set(sparse.manifests["app"]) == {index.digest, arm.digest}


def test_plain_layers_are_compressed_once(
    client: wherry.Client, loaded: str, target: FakeRegistry
) -> None:
    first = client.push(loaded, f"{target.host}/app:1")
    raw, _ = target.manifests["app"][str(first.root.digest)]
    manifest = json.loads(raw)
    assert manifest["config"]["digest"] == IMAGE.id
    for layer, diff_id in zip(manifest["layers"], IMAGE.diff_ids, strict=True):
        assert layer["mediaType"].endswith("tar.gzip")
        data = target.blobs[layer["digest"]]
        assert isinstance(data, bytes)
        assert str(wherry.Digest.of(gzip.decompress(data))) == diff_id
    target.clear()
    again = client.push(loaded, f"{target.host}/app:1")
    assert (again.sent, again.root.digest) == (0, first.root.digest)
    assert [each.method for each in target.requests] == ["HEAD"]
    target.clear()
    tagged = client.push(loaded, f"{target.host}/app:2")
    assert (tagged.sent, tagged.root.digest) == (0, first.root.digest)
    assert blob_requests(target) == []
    assert len(target.requests) <= 4


def test_packed_layers_are_mounted_from_another_repository(
    client: wherry.Client, loaded: str, target: FakeRegistry
) -> None:
    first = client.push(loaded, f"{target.host}/app:1")
    done = client.push(loaded, f"{target.host}/other:1")
    assert (done.sent, done.mounted) == (0, first.sent)


def test_a_failed_mount_is_forgotten(
    client: wherry.Client, pulled: FakeRegistry, target: FakeRegistry
) -> None:
    name = f"{pulled.host}/app:1"
    client.push(name, f"{target.host}/team/one:1")
    for blob in IMAGE.blobs():
        target.delete_blob("team/one", blob.digest)
    done = client.push(name, f"{target.host}/team/two:1")
    assert done.sent == sum(blob.size for blob in IMAGE.blobs())
    planned = client.plan_copy(f"store:{name}", f"{target.host}/team/three:1")
    assert {step.repositories for step in planned.mounts} == {("team/two",)}


@pytest.mark.parametrize("compression", ["gzip:9", "zstd", "zstd:19", "none", "keep"])
def test_a_compression_on_request(
    client: wherry.Client, loaded: str, target: FakeRegistry, tmp_path: Path, compression: str
) -> None:
    done = client.push(loaded, f"{target.host}/app:1", compression=compression, convert_to="oci")
    again = client.pull(f"{target.host}/app:1", store=tmp_path / "again")
    assert str(again.id) == IMAGE.id
    assert again.digest == done.root.digest
    assert (
        client.push(loaded, f"{target.host}/app:1", compression=compression, convert_to="oci").sent
        == 0
    )


def test_all_tags(client: wherry.Client, pulled: FakeRegistry, target: FakeRegistry) -> None:
    client.pull(f"{pulled.host}/app:all", platform="linux/arm64")
    done = client.push_all_tags(f"{pulled.host}/app", f"{target.host}/copy")
    assert [each.names for each in done] == [("1",), ("all",)]
    assert target.tags["copy"] == {"1": IMAGE.digest, "all": ARM.digest}
    with pytest.raises(wherry.NotFound, match="no tags"):
        client.push_all_tags("missing", f"{target.host}/copy")


def test_a_damaged_blob_names_nothing(
    client: wherry.Client, pulled: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    digest = IMAGE.layers[0].digest.removeprefix("sha256:")
    path = tmp_path / "store" / "blobs" / "sha256" / digest
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-8] + b"otherend")
    with pytest.raises(wherry.IntegrityError, match="does not match"):
        client.push(f"{pulled.host}/app:1", f"{target.host}/app:1")
    assert target.tags.get("app", {}) == {}
    assert target.manifests.get("app", {}) == {}


class Truncate(Action):
    """Cut a file short when a request arrives."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size

    def bend(self, request: IncomingRequest) -> None:  # noqa: ARG002 - any request
        self._path.chmod(0o600)
        os.truncate(self._path, self._size)


def test_a_stored_blob_that_ends_early_is_damaged(
    client: wherry.Client, target: FakeRegistry
) -> None:
    """It is not a failure of the network, and is not tried again."""
    image = build_image([tar_layer({"noise": os.urandom(40_000_000)})], compression="none")
    layer = image.layers[0]
    with FakeRegistry() as source:
        source.add_image("app", image, "1")
        client.pull(f"{source.host}/app:1")
        path = client.store.path / "blobs" / layer.digest.replace(":", "/")
        target.inject(Fault(Truncate(path, 30_000_000), method="PATCH"))
        with pytest.raises(wherry.IntegrityError, match=r"it has 30,000,000 bytes") as caught:
            client.push(f"{source.host}/app:1", f"{target.host}/app:1")
    assert "the source is damaged" in caught.value.hint
    assert target.tags == {}
    assert [each.method for each in target.requests].count("PATCH") == 1
