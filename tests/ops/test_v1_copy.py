"""Images are copied from version 1 registries to other places."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.model import mediatype
from wherry.model.manifest import Manifest
from wherry.testing import FakeRegistry, FakeV1Registry, build_v1_image, compress, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TARS = [tar_layer({f"file{number}": b"content %d" % number * 50}) for number in range(3)]
IMAGE = build_v1_image(TARS)
OTHERS = [tar_layer({f"other{number}": b"%d" % number * 700}) for number in range(3)]
PLAIN = build_v1_image(OTHERS, compression=["none", "gzip", "none"])


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as running:
        running.add_image("team/app", IMAGE, "t")
        running.add_image("team/plain", PLAIN, "t")
        yield running


@pytest.fixture
def client(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[wherry.Client]:
    """A client that may use v1, whose temporary files are gone in the end."""
    assert environment
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with wherry.Client(store=tmp_path / "store", legacy=True) as made:
        yield made
        assert list(place.glob("wherry-*")) == []


def manifest_at(client: wherry.Client, address: str) -> Manifest:
    found = client.manifest(address)
    assert isinstance(found, Manifest)
    return found


@pytest.mark.parametrize("form", [None, "oci", "docker", "v2s1"])
def test_a_registry_of_version_2(
    registry: FakeV1Registry, fake: FakeRegistry, client: wherry.Client, form: str | None
) -> None:
    more: wherry.types.CopyArguments = {} if form is None else {"convert_to": form}  # type: ignore[typeddict-item]
    copied = client.copy(f"{registry.host}/team/app:t", f"{fake.host}/new/app:t", **more)
    assert not client.store.path.exists()
    pulled = client.pull(f"{fake.host}/new/app:t")
    assert [str(each) for each in pulled.config.diff_ids] == list(IMAGE.diff_ids)
    legacy = client.pull(f"{registry.host}/team/app:t")
    assert [each.digest for each in legacy.layers] == [each.digest for each in pulled.layers]
    if form in {None, "docker"}:
        assert copied.root.digest == legacy.digest == pulled.digest
    if form != "v2s1":
        kind = mediatype.OCI_MANIFEST if form == "oci" else mediatype.DOCKER_MANIFEST
        assert manifest_at(client, f"{fake.host}/new/app:t").media_type == kind
        assert pulled.id == legacy.id


def test_plain_layers_are_compressed_for_a_registry(
    registry: FakeV1Registry, fake: FakeRegistry, client: wherry.Client, tmp_path: Path
) -> None:
    source = f"{registry.host}/team/plain:t"
    client.copy(source, f"{fake.host}/new/app:t")
    layers = manifest_at(client, f"{fake.host}/new/app:t").layers
    assert {layer.media_type for layer in layers} == {mediatype.DOCKER_LAYER}
    assert all((layer.size or 0) < len(OTHERS[0]) for layer in layers)
    client.copy(source, f"oci:{tmp_path}/layout:t")
    kept = manifest_at(client, f"oci:{tmp_path}/layout:t").layers
    assert [layer.media_type for layer in kept] == [
        mediatype.OCI_PLAIN_LAYER,
        mediatype.layer_type("gzip", docker=False),
        mediatype.OCI_PLAIN_LAYER,
    ]
    assert (kept[0].size, kept[1].size) == (len(OTHERS[0]), len(compress(OTHERS[1], "gzip")))


@pytest.mark.parametrize("place", ["store:mine", "docker-archive:{}/a.tar:mine:1", "dir:{}/flat"])
def test_other_places(
    registry: FakeV1Registry, client: wherry.Client, tmp_path: Path, place: str
) -> None:
    destination = place.format(tmp_path)
    client.copy(f"{registry.host}/team/app:t", destination)
    config = client.config(destination)
    assert [str(each) for each in config.diff_ids] == list(IMAGE.diff_ids)
    assert config.id == client.pull(f"{registry.host}/team/app:t").id


def test_a_copy_within_the_registry_keeps_the_ids(
    registry: FakeV1Registry, client: wherry.Client
) -> None:
    name = f"{registry.host}/team/app"
    copied = client.copy(f"{name}:t", f"{name}:new")
    assert copied.v1_id == registry.tags["team/app"]["new"] == IMAGE.id
    assert copied.sent == 0


def test_a_push_of_an_address(
    registry: FakeV1Registry, fake: FakeRegistry, client: wherry.Client
) -> None:
    client.push(f"docker://{registry.host}/team/app:t", f"{fake.host}/new/app:t")
    assert manifest_at(client, f"{fake.host}/new/app:t").media_type == mediatype.DOCKER_MANIFEST


def test_another_platform_is_refused_before_a_layer_is_fetched(
    registry: FakeV1Registry, fake: FakeRegistry, client: wherry.Client
) -> None:
    with pytest.raises(wherry.PlatformMismatch):
        client.copy(f"{registry.host}/team/app:t", f"{fake.host}/new/app:t", platform="linux/arm64")
    assert not any(each.path.endswith("/layer") for each in registry.requests)
    assert not any(each.method in {"POST", "PUT", "PATCH"} for each in fake.requests)
