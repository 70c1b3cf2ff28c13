"""Skopeo, podman and umoci read what a copy wrote, and both write to the same layouts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sink_images import tree
from wherry.errors import Unsupported
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    layout_files,
    pseudo_random_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client
    from wherry.testing import BuiltImage, BuiltIndex

    Peer = Callable[..., str]

TARS = [tar_layer(pseudo_random_files(seed, 40_000, 3)) for seed in (1, 2, 3)]
IMAGE = build_image([*TARS, TARS[0]], cmd=["sh"], labels={"k": "<&>"})
OTHER = build_image(TARS[:2], compression="zstd")
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
INDEX = build_index([(IMAGE, AMD64), (build_image(TARS, architecture="arm64"), ARM64)])


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """The address of a layout to copy from, without the name."""
    images: dict[str, BuiltImage | BuiltIndex] = {"v1": IMAGE, "other": OTHER, "all": INDEX}
    return f"oci:{write_files(tmp_path / 'origin', layout_files(images))}"


def facts(skopeo: Peer, address: str) -> tuple[str, str]:
    """Return the digest of a manifest and the id of its image."""
    found = json.loads(skopeo("inspect", address))
    config = skopeo("inspect", "--config", "--raw", address)
    return found["Digest"], str(build_digest(config))


def build_digest(config: str) -> str:
    from wherry import Digest

    return str(Digest.of(config.encode()))


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("form", ["oci:{}:v1", "oci:{}", "oci-archive:{}:v1", "dir:{}"])
def test_skopeo_reads_a_copy(
    client: Client, skopeo: Peer, origin: str, tmp_path: Path, form: str
) -> None:
    address = form.format(tmp_path / "copy")
    assert client.copy(f"{origin}:v1", address).root.digest == IMAGE.digest
    assert facts(skopeo, address) == (IMAGE.digest, IMAGE.id)
    skopeo("copy", address, f"oci:{tmp_path}/back:v1")  # reads and verifies every blob
    assert client.digest(f"oci:{tmp_path}/back:v1") == IMAGE.digest


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("name", ["", ":app:1", ":ghcr.io/team/app:2"])
def test_skopeo_reads_a_docker_archive(
    client: Client, skopeo: Peer, origin: str, tmp_path: Path, name: str
) -> None:
    address = f"docker-archive:{tmp_path}/copy{name}"
    client.copy(f"{origin}:v1", address)
    assert facts(skopeo, address)[1] == IMAGE.id
    skopeo("copy", address, f"oci:{tmp_path}/back:v1")
    assert client.validate(f"oci:{tmp_path}/back:v1").findings == client.validate(address).findings


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("form", ["oci:{}:all", "oci-archive:{}:all", "dir:{}"])
def test_skopeo_reads_a_whole_index(
    client: Client, skopeo: Peer, origin: str, tmp_path: Path, form: str
) -> None:
    address = form.format(tmp_path / "copy")
    client.copy(f"{origin}:all", address, all_platforms=True)
    skopeo("copy", "--all", address, f"oci:{tmp_path}/back:all")
    assert client.digest(f"oci:{tmp_path}/back:all") == INDEX.digest


@pytest.mark.peer("skopeo")
def test_a_flat_directory_is_the_one_that_skopeo_writes(
    client: Client, skopeo: Peer, origin: str, tmp_path: Path
) -> None:
    for name, options in (("v1", ()), ("all", ("--all",))):
        ours, theirs = tmp_path / f"{name}-ours", tmp_path / f"{name}-theirs"
        client.copy(f"{origin}:{name}", f"dir:{ours}", all_platforms=bool(options))
        skopeo("copy", *options, f"{origin}:{name}", f"dir:{theirs}")
        assert tree(ours) == tree(theirs)


@pytest.mark.peer("skopeo")
def test_each_replaces_the_flat_directory_of_the_other(
    client: Client, skopeo: Peer, origin: str, tmp_path: Path
) -> None:
    address = f"dir:{tmp_path}/flat"
    skopeo("copy", "--all", f"{origin}:all", address)
    client.copy(f"{origin}:other", address)
    client.copy(f"{origin}:other", f"{address}2")
    assert tree(tmp_path / "flat") == tree(tmp_path / "flat2")
    skopeo("copy", f"{origin}:v1", address)
    assert facts(skopeo, address)[0] == client.digest(address) == IMAGE.digest


@pytest.mark.peer("skopeo")
def test_both_add_to_one_layout(client: Client, skopeo: Peer, origin: str, tmp_path: Path) -> None:
    layout = f"oci:{tmp_path}/layout"
    skopeo("copy", f"{origin}:v1", f"{layout}:t1")
    client.copy(f"{origin}:other", f"{layout}:t2")
    skopeo("copy", "--all", f"{origin}:all", f"{layout}:t3")
    client.copy(f"{origin}:v1", f"{layout}:t4")
    for name, image in (("t1", IMAGE), ("t2", OTHER), ("t4", IMAGE)):
        assert facts(skopeo, f"{layout}:{name}") == (image.digest, image.id)
        assert client.digest(f"{layout}:{name}") == image.digest
    assert client.digest(f"{layout}:t3") == INDEX.digest
    client.copy(f"{origin}:other", f"{layout}:t1")  # the name moves
    assert facts(skopeo, f"{layout}:t1") == (OTHER.digest, OTHER.id)
    assert facts(skopeo, f"{layout}:t4") == (IMAGE.digest, IMAGE.id)


@pytest.mark.peer("umoci")
def test_umoci_reads_and_adds_to_a_layout(
    client: Client, umoci: Peer, origin: str, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:empty")
    client.copy(f"{origin}:v1", f"oci:{layout}:t1")
    umoci("tag", "--image", f"{layout}:t1", "t2")
    client.copy(f"{origin}:v1", f"oci:{layout}:t3")
    assert umoci("list", "--layout", layout).split() == ["empty", "t1", "t2", "t3"]
    umoci("unpack", "--rootless", "--image", f"{layout}:t3", tmp_path / "bundle")
    for name, content in pseudo_random_files(1, 40_000, 3).items():  # of the top layer
        assert (tmp_path / "bundle" / "rootfs" / name).read_bytes() == content
    umoci("gc", "--layout", layout)
    assert client.validate(f"oci:{layout}:t3").blobs


@pytest.mark.peer("podman")
@pytest.mark.parametrize("form", ["docker-archive:{}:acme/app:1", "oci-archive:{}:acme/app:1"])
def test_podman_loads_a_copy(
    client: Client, podman: Peer, origin: str, tmp_path: Path, form: str
) -> None:
    client.copy(f"{origin}:v1", form.format(tmp_path / "copy"))
    loaded = podman("load", "--quiet", "--input", tmp_path / "copy").split()[-1]
    assert podman("inspect", "--format", "{{.Id}}", loaded).strip() == IMAGE.id[7:]
    podman("rmi", "--force", IMAGE.id[7:])


@pytest.mark.peer("skopeo", "podman", "umoci")
def test_peers_read_copies_of_docker_images(
    client: Client, skopeo: Peer, podman: Peer, umoci: Peer, tmp_path: Path
) -> None:
    """In a layout they read only OCI's formats; the digest stays the one of the registry."""
    image = build_image(TARS[:1], style="docker")
    index = build_index(
        [(image, AMD64), (build_image(TARS, style="docker"), ARM64)], style="docker"
    )
    layout = f"oci:{tmp_path}/layout"
    with FakeRegistry() as registry:
        registry.add_image("app", image, "1")
        registry.add_image("app", index, "all")
        origin = f"{registry.host}/app"
        for address in (
            f"{layout}:t1",
            f"oci-archive:{tmp_path}/archive:t1",
            f"dir:{tmp_path}/dir",
        ):
            assert client.copy(f"{origin}:1", address).root.digest == image.digest
            assert facts(skopeo, address)[1] == image.id
            client.copy(address, f"{registry.host}/back:1")
            assert client.digest(f"{registry.host}/back:1") == image.digest
        client.copy(f"{origin}:all", f"{layout}:all", all_platforms=True)
        assert facts(skopeo, f"{layout}:all")[1] == image.id
        client.copy(f"{layout}:all", f"{registry.host}/back:all", all_platforms=True)
        assert client.digest(f"{registry.host}/back:all") == index.digest
    umoci("unpack", "--rootless", "--image", f"{tmp_path}/layout:t1", tmp_path / "bundle")
    loaded = podman("load", "--quiet", "--input", tmp_path / "archive").split()[-1]
    assert podman("inspect", "--format", "{{.Id}}", loaded).strip() == image.id[7:]


def test_an_index_is_no_docker_archive(client: Client, origin: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="a docker archive holds one platform") as caught:
        client.copy(f"{origin}:all", f"docker-archive:{tmp_path}/copy")
    assert "--platform" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir() if path.name == "copy"] == []
    result = client.copy(f"{origin}:all", f"docker-archive:{tmp_path}/copy", platform="linux/amd64")
    assert result.root.size
    assert str(client.load(tmp_path / "copy")[0].id) == IMAGE.id
