"""The config of an image has to be for the platform that the caller named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry.errors import PlatformMismatch
from wherry.testing import (
    BuiltImage,
    FakeRegistry,
    build_image,
    build_index,
    build_schema1,
    compress,
    docker_files,
    flat_files,
    layout_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client, Event, Store

TAR = tar_layer({"a": b"1"})
AMD64 = build_image([TAR])
ARM64 = build_image([TAR], architecture="arm64")
ARM = build_image([TAR], architecture="arm")  # its config has no variant
ARM_V6 = {"os": "linux", "architecture": "arm", "variant": "v6"}
CALLS = ("inspect", "digest", "manifest", "config", "history", "referrers")
PLACES = ("registry", "store", "oci", "oci-archive", "docker-archive", "dir")


def address(place: str, image: BuiltImage, fake: FakeRegistry, client: Client, top: Path) -> str:
    """Put an image somewhere and return its address."""
    match place:
        case "registry" | "store":
            fake.add_image("app", image, "t")
            name = f"{fake.host}/app:t"
            if place == "store":
                client.pull(name)
            return f"store:{name}" if place == "store" else name
        case "oci":
            return f"oci:{write_files(top / 'layout', layout_files({'': image}))}"
        case "dir":
            return f"dir:{write_files(top / 'flat', flat_files(image))}"
        case _:
            files = layout_files({"": image})
            if place == "docker-archive":
                files = docker_files(image, [TAR], ["app:t"])
            (top / "archive.tar").write_bytes(tar_layer(files))
            return f"{place}:{top / 'archive.tar'}"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", PLACES)
def test_a_single_image_is_checked_wherever_it_is(
    fake: FakeRegistry, client: Client, tmp_path: Path, place: str, call: str
) -> None:
    where = address(place, AMD64, fake, client, tmp_path)
    with pytest.raises(
        PlatformMismatch, match=r"the image is for linux/amd64, not for linux/arm64$"
    ) as caught:
        getattr(client, call)(where, platform="linux/arm64")
    assert str(caught.value).startswith(f"{where}: ")
    assert (caught.value.wanted, caught.value.available) == ("linux/arm64", ("linux/amd64",))
    getattr(client, call)(where, platform="linux/amd64/v2")  # this platform runs plain amd64 too


@pytest.mark.parametrize("command", CALLS)
def test_the_command_exits_with_3(fake: FakeRegistry, wherry: Wherry, command: str) -> None:
    fake.add_image("app", AMD64, "t")
    done = wherry(command, "--platform", "windows/amd64", f"{fake.host}/app:t")
    assert (done.returncode, done.stdout) == (3, "")
    said = "the image is for linux/amd64, not for windows/amd64"
    assert done.stderr == f"wherry: {fake.host}/app:t: {said}\n"


@pytest.mark.parametrize("call", CALLS)
def test_schema1_is_checked_by_its_topmost_layer(
    fake: FakeRegistry, client: Client, call: str
) -> None:
    layer = compress(TAR, "gzip")
    built = build_schema1([layer], top={"architecture": "s390x"})
    fake.add_blob(layer)
    fake.add_manifest("old", built.manifest.data, built.manifest.media_type, "t")
    with pytest.raises(PlatformMismatch, match="for linux/s390x, not for linux/amd64"):
        getattr(client, call)(f"{fake.host}/old:t", platform="linux/amd64")
    getattr(client, call)(f"{fake.host}/old:t", platform="linux/s390x")


@pytest.mark.parametrize("call", [*CALLS, "pull"])
def test_an_index_entry_that_lies_about_its_image(
    fake: FakeRegistry, client: Client, call: str
) -> None:
    fake.add_image("app", build_index([(AMD64, {"os": "linux", "architecture": "arm64"})]), "t")
    with pytest.raises(PlatformMismatch, match="for linux/amd64, not for linux/arm64"):
        getattr(client, call)(f"{fake.host}/app:t", platform="linux/arm64")


@pytest.mark.parametrize("call", [*CALLS, "pull"])
def test_a_config_without_a_variant_has_that_of_the_index(
    fake: FakeRegistry, client: Client, call: str
) -> None:
    fake.add_image("app", build_index([(ARM, ARM_V6)]), "t")
    getattr(client, call)(f"{fake.host}/app:t", platform="linux/arm/v6")
    fake.add_image("app", ARM, "alone")  # arm alone is arm/v7
    with pytest.raises(PlatformMismatch, match="for linux/arm/v7, not for linux/arm/v6"):
        getattr(client, call)(f"{fake.host}/app:alone", platform="linux/arm/v6")


@pytest.mark.parametrize("call", [*CALLS, "pull"])
def test_of_entries_without_a_platform_the_configs_decide(
    fake: FakeRegistry, client: Client, call: str
) -> None:
    """Like containerd, read the config of each entry without a platform."""
    fake.add_image("app", build_index([(AMD64, None), (ARM64, None)]), "t")
    for platform, image in (("linux/arm64", ARM64), ("linux/amd64", AMD64)):
        found = getattr(client, call)(f"{fake.host}/app:t", platform=platform)
        if call == "digest":
            assert str(found) == image.digest
        if call == "pull":
            assert str(found.id) == image.id
    with pytest.raises(PlatformMismatch, match="the image is for linux/amd64, not for linux/s390x"):
        getattr(client, call)(f"{fake.host}/app:t", platform="linux/s390x")


@pytest.mark.parametrize("call", ["digest", "manifest"])
def test_the_config_is_read_for_a_platform_alone(
    fake: FakeRegistry, client: Client, call: str
) -> None:
    fake.add_image("app", AMD64, "t")
    getattr(client, call)(f"{fake.host}/app:t")
    assert [request for request in fake.requests if "/blobs/" in request.path] == []


# Pull


def left(store: Store) -> list[str]:
    """Return the names of the blobs and part files of a store."""
    return [
        file.name
        for directory in ("blobs", "ingest")
        for file in (store.path / directory).rglob("*")
        if file.is_file()
    ]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/amd64,linux/arm64", "windows/amd64"])
@pytest.mark.parametrize("indexed", [False, True])
def test_a_pull_that_is_refused_leaves_nothing(
    fake: FakeRegistry, client: Client, store: Store, platform: str, *, indexed: bool
) -> None:
    named = [dict(zip(("os", "architecture"), each.split("/"), strict=True))
             for each in platform.split(",")]  # fmt: skip
    root = build_index([(AMD64, each) for each in named]) if indexed else AMD64
    fake.add_image("app", root, "t")
    with pytest.raises(PlatformMismatch, match="the image is for linux/amd64, not for"):
        client.pull(f"{fake.host}/app:t", platform=platform)
    fetched = {request.path for request in fake.requests if "/blobs/" in request.path}
    assert fetched == {f"/v2/app/blobs/{AMD64.config.digest}"}
    assert (left(store), store.images()) == ([], [])


def test_a_pull_for_a_platform_fetches_each_blob_once(fake: FakeRegistry, client: Client) -> None:
    fake.add_image("app", ARM64, "t")
    for _ in range(2):
        assert str(client.pull(f"{fake.host}/app:t", platform="linux/arm64").id) == ARM64.id
    fetched = [request.path for request in fake.requests if "/blobs/" in request.path]
    assert sorted(fetched) == sorted(f"/v2/app/blobs/{each.digest}" for each in ARM64.blobs())


def test_a_config_that_cannot_be_fetched_ahead_says_what_it_is(
    fake: FakeRegistry, client: Client
) -> None:
    fake.add_image("app", AMD64, "t")
    del fake.blobs[AMD64.config.digest]
    with pytest.raises(Exception, match=r"error pulling image configuration: .* not found"):
        client.pull(f"{fake.host}/app:t", platform="linux/amd64")


def test_a_load_that_is_refused_leaves_nothing(
    client: Client, store: Store, tmp_path: Path
) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"app:t": AMD64}))
    with pytest.raises(PlatformMismatch, match="the image is for linux/amd64, not for linux/arm64"):
        client.load(layout, platform="linux/arm64")
    assert (left(store), store.images()) == ([], [])


# What is new about a name


def outcome(client: Client, name: str, **options: str) -> str:
    heard: list[Event] = []
    client.pull(name, on_event=heard.append, **options)  # type: ignore[arg-type]
    return heard[-1].message.partition(" for ")[0]


NEW, KNOWN = "Downloaded newer image", "Image is up to date"


def test_going_back_to_a_platform_is_nothing_new(fake: FakeRegistry, client: Client) -> None:
    entries = [
        (image, {"os": "linux", "architecture": architecture})
        for image, architecture in ((AMD64, "amd64"), (ARM64, "arm64"))
    ]
    fake.add_image("app", build_index(entries), "t")
    name = f"{fake.host}/app:t"
    assert outcome(client, name, platform="linux/amd64") == NEW
    assert outcome(client, name, platform="linux/arm64") == NEW
    assert outcome(client, name, platform="linux/amd64") == KNOWN
    assert outcome(client, name, platform="linux/arm64,linux/amd64") == KNOWN


def test_the_same_image_under_a_new_manifest_adds_the_digest(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    name, other = (
        f"{fake.host}/app:t",
        build_image([TAR], manifest_extra={"annotations": {"a": "b"}}),
    )
    fake.add_image("app", AMD64, "t")
    assert outcome(client, name) == NEW
    fake.add_image("app", other, "t")
    assert (other.id, outcome(client, name)) == (AMD64.id, KNOWN)
    assert f"{fake.host}/app@{other.digest}" in store.get(name).names


def test_a_tag_for_an_image_that_is_there_is_new(fake: FakeRegistry, client: Client) -> None:
    fake.add_image("app", AMD64, "t", "u")
    assert outcome(client, f"{fake.host}/app:t") == NEW
    assert outcome(client, f"{fake.host}/app:u") == NEW
    assert outcome(client, f"{fake.host}/app:u") == KNOWN
    assert outcome(client, f"{fake.host}/app@{AMD64.digest}") == KNOWN


def test_what_was_lost_and_fetched_again_is_nothing_new(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    fake.add_image("app", AMD64, "t")
    name = f"{fake.host}/app:t"
    assert outcome(client, name) == NEW
    algorithm, _, value = AMD64.layers[0].digest.partition(":")
    (store.path / "blobs" / algorithm / value).unlink()
    assert outcome(client, name) == KNOWN
    assert (store.path / "blobs" / algorithm / value).exists()
