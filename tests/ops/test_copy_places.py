"""Copies from each kind of place to each kind of place."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from copy_places import IMAGE, IMAGES, INDEX, SOURCES, TARGETS, Places
from wherry.content.events import Event, Status
from wherry.errors import IntegrityError, InvalidDocument, NotFound, StoreError
from wherry.model.address import Address, Where
from wherry.model.digest import Digest
from wherry.testing import Delay, FakeRegistry, Fault, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry import Client


@pytest.fixture
def places(tmp_path: Path, client: Client) -> Iterator[Places]:
    with FakeRegistry() as registry:
        yield Places(tmp_path, registry, client)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("origin", SOURCES)
def test_each_place_to_each_place(
    client: Client, places: Places, origin: str, kind: str, name: str
) -> None:
    image, source, target = IMAGES[name], places.source(origin, name), places.target(kind)
    done = client.copy(source, target)
    assert client.copy(source, target).root.digest == done.root.digest
    assert client.raw_config(target) == image.config.data
    report = client.validate(target)
    assert [found for found in report.findings if found.error] == []
    assert report.blobs
    rewritten = "docker-archive" in {origin, kind.rsplit(maxsplit=1)[-1]}
    assert (done.root.digest == image.digest) is not rewritten
    listed_in_oci_format = name == "docker" and "oci" in kind
    if not (rewritten or listed_in_oci_format):
        assert client.digest(target) == image.digest


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("origin", SOURCES)
def test_a_plan_writes_nothing(
    client: Client, places: Places, tmp_path: Path, origin: str, kind: str
) -> None:
    source, target = places.source(origin, "oci"), places.target(kind)
    before = {path: path.read_bytes() for path in tmp_path.rglob("target/**/*") if path.is_file()}
    plan = client.plan_copy(source, target)
    after = {path: path.read_bytes() for path in tmp_path.rglob("target/**/*") if path.is_file()}
    assert after == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    plan.execute(client)
    assert client.raw_config(target) == IMAGE.config.data


@pytest.mark.parametrize("kind", ["docker://", "oci", "oci-archive", "dir", "existing oci"])
@pytest.mark.parametrize("origin", ["docker://", "oci", "oci-archive", "dir"])
def test_a_whole_index(client: Client, places: Places, origin: str, kind: str) -> None:
    source, target = places.source(origin, "index"), places.target(kind)
    done = client.copy(source, target, all_platforms=True)
    assert done.root.digest == client.digest(target) == INDEX.digest
    assert client.validate(target).documents == 3
    for platform in ("linux/amd64", "linux/arm64"):
        single = places.target("store")
        client.copy(target, single, platform=platform)
        assert str(client.store.get(Address.parse(single, Where.STORE)).platform) == platform


def files(path: Path) -> dict[str, bytes]:
    """Return the content of all files at and below the target."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def has_image(client: Client, address: str) -> bool:
    try:
        return client.raw_config(address) == IMAGE.config.data
    except (NotFound, StoreError, InvalidDocument):
        return False


@pytest.mark.parametrize("damage", ["altered", "short", "missing"])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_damaged_source(
    client: Client, places: Places, tmp_path: Path, kind: str, damage: str
) -> None:
    source, target = places.source("oci", "oci"), places.target(kind)
    before = files(tmp_path / "target")
    blob = tmp_path / "source" / "blobs" / "sha256" / IMAGE.layers[1].digest[7:]
    content = blob.read_bytes()
    if damage == "missing":
        blob.unlink()
    else:
        blob.write_bytes(content[:-1] if damage == "short" else content[:-1] + b"\0")
    with pytest.raises(NotFound if damage == "missing" else IntegrityError):
        client.copy(source, target)
    assert not has_image(client, target)
    after = files(tmp_path / "target")
    kept = {name: after.get(name) for name in before}
    assert kept == before
    if kind != "existing oci":  # blobs may stay in a layout, as in a registry
        assert after == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    blob.write_bytes(content)
    client.copy(source, target)
    assert client.raw_config(target) == IMAGE.config.data


@pytest.mark.parametrize("kind", ["docker://", "oci", "oci-archive", "dir", "store"])
def test_uncompressed_layers_are_said_to_be(client: Client, places: Places, kind: str) -> None:
    """Skopeo shows layers of docker archives as compressed; a copy says the truth."""
    source, target = places.source("docker-archive", "docker"), places.target(kind)
    client.copy(source, target, compression="none")
    assert client.validate(target).findings == []


def test_a_docker_archive_of_layers_with_wrong_types(client: Client, tmp_path: Path) -> None:
    """Whether a layer is compressed is told by its DiffID, not by its type."""
    kinds = ["gzip", "none"]
    types = [f"application/vnd.oci.image.layer.v1.tar{suffix}" for suffix in ("", "+gzip")]
    tars = [tar_layer({name: b"1"}) for name in "ab"]
    image = build_image(tars, compression=kinds, layer_media_types=types)
    target = f"docker-archive:{tmp_path / 'target'}:app:1"
    with FakeRegistry() as registry:
        registry.add_image("app", image, "1")
        client.copy(f"{registry.host}/app:1", target)
    assert client.raw_config(target) == image.config.data
    assert [each for each in client.validate(target).findings if each.error] == []


def test_a_docker_archive_needs_no_temporary_files(
    client: Client, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = places.source("store", "oci"), places.target("docker-archive")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    client.copy(source, target)
    assert client.raw_config(target) == IMAGE.config.data


def test_a_docker_archive_of_a_layer_with_another_diff_id(client: Client, tmp_path: Path) -> None:
    tars = [tar_layer({name: b"1"}) for name in "ab"]
    wrong = Digest.of(b"another")
    image = build_image(tars, diff_ids=[str(Digest.of(tars[0])), str(wrong)])
    with FakeRegistry() as registry:
        registry.add_image("app", image, "1")
        with pytest.raises(IntegrityError, match="DiffID") as caught:
            client.copy(f"{registry.host}/app:1", f"docker-archive:{tmp_path / 'target'}")
    assert caught.value.expected == str(wrong)
    assert caught.value.actual == str(Digest.of(tars[1]))
    assert not caught.value.altered
    digest = Digest.parse(image.layers[1].digest)
    assert caught.value.is_within(f"layer sha256:{digest.short}…")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_success_is_reported_when_the_place_is_complete(client: Client, tmp_path: Path) -> None:
    """Another process makes the directory before this one gives it its name."""
    target = tmp_path / "target"
    seen: list[Status] = []

    def watch(event: Event) -> None:
        seen.append(event.status)
        if event.status is Status.PLANNED:
            target.mkdir()
            (target / "file").write_bytes(b"")

    with FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "1")
        registry.inject(Fault(Delay(0.3), path="/blobs/"))
        with pytest.raises(StoreError, match="another process"):
            client.copy(f"{registry.host}/app:1", f"dir:{target}", on_event=watch)
    assert Status.PLANNED in seen
    assert Status.DONE not in seen


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "dir"])
def test_a_source_that_is_the_target(
    client: Client, places: Places, tmp_path: Path, kind: str
) -> None:
    """The place stays as it is, or is written anew with the same image."""
    source = places.source(kind, "oci")
    client.copy(source, source)
    assert client.raw_config(source) == IMAGE.config.data
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
