"""Pushes that repeat earlier ones in part: nothing is sent twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

import wherry as library
from wherry.image_store import local_store
from wherry.model.digest import Digest
from wherry.model.mediatype import DOCKER_LAYER, DOCKER_MANIFEST
from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
BASE = tar_layer({"base": os.urandom(2 * MIB)})
LAYER = tar_layer({"a": b"1"})
FIRST = build_image([BASE, LAYER])
SECOND = build_image([BASE, tar_layer({"a": b"2"})])


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def name(fake: FakeRegistry, client: library.Client) -> str:
    """An image that was pulled from `fake`; `client` has it in its store."""
    fake.add_image("team/base", FIRST, "1")
    fake.add_image("team/base", SECOND, "2")
    client.pull(f"{fake.host}/team/base:1")
    fake.clear()
    return f"{fake.host}/team/base:1"


def sent(registry: FakeRegistry) -> int:
    """Return the bytes of blobs that clients have sent."""
    return sum(each.bytes_received for each in registry.requests if "/blobs/" in each.path)


def mounts(registry: FakeRegistry, digest: str) -> list[str]:
    """Return the repositories that clients wanted to mount a blob from; "" for any."""
    queries = [parse_qs(urlsplit(each.path).query) for each in registry.requests]
    return [
        query.get("from", [""])[0] for query in queries if query.get("mount", [""])[0] == digest
    ]


def test_what_was_pulled_is_mounted(client: library.Client, name: str, fake: FakeRegistry) -> None:
    done = client.push(name, f"{fake.host}/team/app:1")
    assert (done.sent, done.mounted) == (0, sum(piece.size for piece in FIRST.blobs()))
    assert str(done.root.digest) == FIRST.digest
    for piece in FIRST.blobs():
        assert mounts(fake, piece.digest) == ["team/base"]
    assert sent(fake) == 0


def test_what_was_copied_into_the_store_is_pushed_as_if_pulled(
    client: library.Client, fake: FakeRegistry, target: FakeRegistry
) -> None:
    """Its layers are mounted, and plain ones stay as they are."""
    plain = build_image([BASE, LAYER], compression="none")
    fake.add_image("team/base", plain, "plain")
    client.copy(f"{fake.host}/team/base:plain", "store:app:plain")
    done = client.push("app:plain", f"{target.host}/app:1")
    assert str(done.root.digest) == plain.digest
    assert client.push("app:plain", f"{fake.host}/team/app:1").sent == 0


def test_what_was_packed_on_the_way_into_the_store_is_not_mounted(
    client: library.Client, fake: FakeRegistry
) -> None:
    fake.add_image("team/base", FIRST, "1")
    client.copy(f"{fake.host}/team/base:1", "store:app:zstd", compression="zstd")
    fake.clear()
    client.push("app:zstd", f"{fake.host}/team/app:1")
    assert mounts(fake, FIRST.id) == ["team/base"]
    for layer in client.store.get("app:zstd").layers:
        assert mounts(fake, str(layer.digest)) == [""]


def test_what_was_pushed_is_mounted(
    client: library.Client, name: str, target: FakeRegistry
) -> None:
    client.push(name, f"{target.host}/app:1")
    assert {tuple(mounts(target, piece.digest)) for piece in FIRST.blobs()} == {("",)}
    target.clear()
    done = client.push(name, f"{target.host}/other:1")
    assert (done.sent, sent(target)) == (0, 0)
    assert {tuple(mounts(target, piece.digest)) for piece in FIRST.blobs()} == {("app",)}


def test_a_failed_mount_is_forgotten(
    client: library.Client, name: str, target: FakeRegistry
) -> None:
    layer = FIRST.layers[0]
    client.push(name, f"{target.host}/app:1")
    target.delete_blob("app", layer.digest)
    target.clear()
    done = client.push(name, f"{target.host}/team/b:1")
    assert done.sent == sent(target) == layer.size
    assert mounts(target, layer.digest) == ["app"]
    target.clear()
    done = client.push(name, f"{target.host}/c:1")
    assert (done.sent, mounts(target, layer.digest)) == (0, ["team/b"])


def test_a_foreign_layer_is_not_recorded(
    client: library.Client, fake: FakeRegistry, target: FakeRegistry, store: library.Store
) -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    image = build_image([BASE, LAYER], style="docker", layer_media_types=[kind, DOCKER_LAYER])
    manifest = json.loads(image.manifest.data)
    manifest["layers"][0]["urls"] = ["https://layers.example/base"]
    fake.add_image("foreign", image)
    fake.add_manifest("foreign", json.dumps(manifest).encode(), DOCKER_MANIFEST, "1")
    client.pull(f"{fake.host}/foreign:1")
    client.push(f"{fake.host}/foreign:1", f"{target.host}/app:1")
    base, layer = (Digest.parse(piece.digest) for piece in image.layers)
    found = local_store(store).provenance_of([base, layer])
    assert [name for name, _ in found[base]] == [f"{fake.host}/foreign"]
    assert {name for name, _ in found[layer]} == {f"{fake.host}/foreign", f"{target.host}/app"}


def test_mounts_follow_registries_conf(
    name: str, fake: FakeRegistry, store: library.Store, environment: dict[str, str]
) -> None:
    """A location replaces the beginning of both names; another location is another place."""
    conf = Path(environment["XDG_CONFIG_HOME"]) / "containers" / "registries.conf"
    conf.parent.mkdir()
    tables = [("h.example", f"{fake.host}/mirror"), ("h.example/else", "other.example")]
    conf.write_text("".join(f'[[registry]]\nprefix = "{a}"\nlocation = "{b}"\n' for a, b in tables))
    with library.Client(store=store) as client:
        client.push(name, "h.example/team/app:1")
        layer = Digest.parse(FIRST.layers[0].digest)
        local_store(store).record_provenance("h.example/else/app", [layer])
        fake.clear()
        done = client.push(name, "h.example/team/more:1")
    assert done.sent == 0
    assert fake.tags["mirror/team/more"].keys() == {"1"}
    for piece in FIRST.blobs():
        assert mounts(fake, piece.digest) == ["mirror/team/app"]


def test_repositories_with_the_same_credentials_are_tried_first(
    client: library.Client, name: str, target: FakeRegistry, store: library.Store, tmp_path: Path
) -> None:
    config = FIRST.config  # small: one attempt
    for repository in ("x/a", "y/b"):
        client.push(name, f"{target.host}/{repository}:1")
    local_store(store).record_provenance(f"{target.host}/y/b", [Digest.parse(config.digest)])
    target.clear()
    file = tmp_path / "auth.json"
    mine, other = ({"auth": each} for each in ("bWU6MQ==", "eW91OjI="))
    entries = {f"{target.host}/z": mine, f"{target.host}/x": mine, f"{target.host}/y": other}
    file.write_text(json.dumps({"auths": entries}))
    with library.Client(store=store, authfile=file) as careful:
        careful.push(name, f"{target.host}/z/c:1")
    assert mounts(target, config.digest) == ["x/a"]
    target.clear()
    client.push(name, f"{target.host}/z/d:1")
    assert mounts(target, config.digest) == ["z/c"]


def test_the_images_of_a_run_share_their_blobs(
    client: library.Client, name: str, fake: FakeRegistry, target: FakeRegistry
) -> None:
    repository = name.removesuffix(":1")
    client.pull(f"{repository}:2")
    first, second = client.push_all_tags(repository, f"{target.host}/app")
    assert {first.names, second.names} == {("1",), ("2",)}
    assert fake.requests
    pieces = {piece.digest: piece.size for image in (FIRST, SECOND) for piece in image.blobs()}
    assert sent(target) == first.sent + second.sent == sum(pieces.values())


def test_a_packed_layer_is_remembered(
    client: library.Client, store: library.Store, target: FakeRegistry, tmp_path: Path
) -> None:
    tar = tmp_path / "layer.tar"
    tar.write_bytes(tar_layer({"plain": b"plain " * 300_000}))
    client.import_(tar, "plain:1")
    first = client.push("plain:1", f"{target.host}/app:1")
    assert first.sent < tar.stat().st_size // 10
    target.clear()
    again = client.push("plain:1", f"{target.host}/app:2")
    assert (again.sent, again.root.digest) == (0, first.root.digest)
    assert Counter(each.method for each in target.requests)["POST"] == 0
    (layer,) = store.get("plain:1").layers
    assert local_store(store).find_packed(layer.digest, "gzip:2") is not None
    assert layer.size == tar.stat().st_size


def test_a_packed_layer_of_a_docker_image_becomes_oci_again(
    client: library.Client, fake: FakeRegistry, target: FakeRegistry
) -> None:
    """The second time, the type of the packed layer comes from what was recorded."""
    image = build_image([BASE], style="docker")
    fake.add_image("docker", image, "1")
    client.pull(f"{fake.host}/docker:1")
    digests = {
        client.push(
            f"{fake.host}/docker:1",
            f"{target.host}/{repository}:1",
            compression="zstd",
            convert_to="oci",
        ).root.digest
        for repository in ("a", "a", "b")
    }
    assert len(digests) == 1
