"""Names of images in archives, and several platforms in one layout."""

from __future__ import annotations

import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import InvalidReference, PlatformMismatch, Unsupported
from wherry.testing import FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.ops.save_options import Format

    Peer = Callable[..., str]

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
PLATFORMS = [
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm64"},
    {"os": "linux", "architecture": "arm", "variant": "v7"},
]
IMAGES = [
    build_image([tar_layer({f"f{n}": b"x" * n})], **each)  # type: ignore[arg-type]
    for n, each in enumerate(PLATFORMS, 1)
]
INDEX = build_index(list(zip(IMAGES, PLATFORMS, strict=True)))
TWO = "linux/amd64,linux/arm64"


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An index in the store, with all its images."""
    fake.add_image("app", INDEX, "v1")
    client.pull(f"{fake.host}/app:v1", all_platforms=True)
    return f"{fake.host}/app:v1"


def entries(layout: Path) -> list[tuple[str, str, str]]:
    """Return digest, reference and whole name of each entry of a layout."""
    if layout.is_file():
        with tarfile.open(layout) as tar:
            raw = tar.extractfile("index.json").read()  # type: ignore[union-attr]
    else:
        raw = (layout / "index.json").read_bytes()
    return [
        (entry["digest"], noted.get(REF_NAME, ""), noted.get(IMAGE_NAME, ""))
        for entry in json.loads(raw)["manifests"]
        for noted in [entry.get("annotations", {})]
    ]


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("1.4", ""),
        ("latest", ""),
        ("a-b_c.d", ""),
        ("acme/app:1", "docker.io/acme/app:1"),
        ("app:1", "docker.io/library/app:1"),
        ("ghcr.io/acme/app", "ghcr.io/acme/app:latest"),
    ],
)
def test_the_reference_in_a_layout(
    client: Client, name: str, tmp_path: Path, form: Format, given: str, whole: str
) -> None:
    place = tmp_path / "saved"
    (saved,) = client.save(name, place, format=form, name=given)
    assert entries(place) == [(INDEX.digest, given, whole)]
    assert [str(each) for each in saved.names] == ([whole] if whole else [])
    assert str(client.inspect(f"{form}:{place}:{given}").digest) == INDEX.digest
    (loaded,) = client.load(place, store=library.Store(tmp_path / "other"))
    assert loaded.names == ((whole,) if whole else ())


def test_the_name_in_a_docker_archive(client: Client, name: str, tmp_path: Path) -> None:
    client.save(name, tmp_path / "saved", name="mine")
    (loaded,) = client.load(tmp_path / "saved", store=library.Store(tmp_path / "other"))
    assert loaded.names == ("docker.io/library/mine:latest",)


def test_an_image_without_a_name_gets_one(client: Client, name: str, tmp_path: Path) -> None:
    image = client.store.get(name)
    client.save(image, tmp_path / "saved", format="oci", name="mine:1")
    assert entries(tmp_path / "saved") == [(INDEX.digest, "mine:1", "docker.io/library/mine:1")]
    client.save(str(image.id), tmp_path / "other", format="oci", name="1")
    assert [entry[1:] for entry in entries(tmp_path / "other")] == [("1", "")]


@pytest.mark.parametrize("form", ["docker", "oci", "oci-archive"])
@pytest.mark.parametrize("given", ["", "up/Per", f"a@{INDEX.digest}", "a b", "a//b", "é"])
def test_invalid_names(client: Client, name: str, tmp_path: Path, form: Format, given: str) -> None:
    with pytest.raises(InvalidReference):
        client.save(name, tmp_path / "saved", format=form, name=given)
    assert not (tmp_path / "saved").exists()


def test_a_name_is_for_one_image(client: Client, name: str, tmp_path: Path, wherry: Wherry) -> None:
    with pytest.raises(Unsupported, match="a name needs exactly one image"):
        client.save([name, name], tmp_path / "saved", name="mine")
    with pytest.raises(Unsupported, match="cannot hold a name"):
        client.save(name, tmp_path / "saved", format="dir", name="mine")
    place = str(tmp_path / "saved")
    for words in (["--name", "x", name, name], ["--name", "x", "--format", "dir", name]):
        done = wherry("save", "-o", place, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("wherry: --name needs exactly one image")
    done = wherry("save", "-o", place, "--format", "oci", "--name", "1.4", name)
    assert (done.returncode, done.stdout) == (0, "")
    assert entries(tmp_path / "saved") == [(INDEX.digest, "1.4", "")]


# Several platforms


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_each_of_several_platforms_is_a_root(
    client: Client, name: str, tmp_path: Path, form: Format
) -> None:
    place = tmp_path / "saved"
    saved = client.save(name, place, format=form, platform="linux/arm64,linux/arm/v7")
    names = [f"{name}-linux-arm64", f"{name}-linux-arm-v7"]
    assert entries(place) == [
        (image.digest, called, called) for image, called in zip(IMAGES[1:], names, strict=True)
    ]
    assert [str(each.root) for each in saved] == [image.digest for image in IMAGES[1:]]
    loaded = client.load(place, store=library.Store(tmp_path / "other"))
    assert [image.names for image in loaded] == [(called,) for called in names]


def test_several_platforms_under_a_given_name(client: Client, name: str, tmp_path: Path) -> None:
    client.save(name, tmp_path / "a", format="oci", platform=TWO, name="1.4")
    assert [entry[1] for entry in entries(tmp_path / "a")] == [
        "1.4-linux-amd64",
        "1.4-linux-arm64",
    ]
    client.save(name, tmp_path / "b", format="oci", platform=TWO, name="acme/app:1")
    assert [entry[1] for entry in entries(tmp_path / "b")] == [
        "docker.io/acme/app:1-linux-amd64",
        "docker.io/acme/app:1-linux-arm64",
    ]
    client.save(name, tmp_path / "c", format="oci", platform="linux/arm64", name="1.4")
    assert entries(tmp_path / "c") == [(IMAGES[1].digest, "1.4", "")]


def test_a_part_of_an_index(fake: FakeRegistry, client: Client, tmp_path: Path) -> None:
    fake.add_image("part", INDEX, "v1")
    name = f"{fake.host}/part:v1"
    client.pull(name, platform=TWO)
    client.save(name, tmp_path / "saved", format="oci", platform=TWO)
    assert [entry[0] for entry in entries(tmp_path / "saved")] == [
        image.digest for image in IMAGES[:2]
    ]
    with pytest.raises(PlatformMismatch):
        client.save(name, tmp_path / "no", format="oci", platform="linux/amd64,linux/s390x")


@pytest.mark.parametrize("form", ["docker", "dir"])
def test_formats_for_one_platform(
    client: Client, name: str, tmp_path: Path, wherry: Wherry, form: Format
) -> None:
    with pytest.raises(Unsupported, match="holds o"):
        client.save(name, tmp_path / "saved", format=form, platform=TWO)
    place = str(tmp_path / "saved")
    done = wherry("save", "-o", place, "--format", form, "--platform", TWO, name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: several platforms need --format oci")


@pytest.mark.peer("umoci")
def test_umoci_reads_each_of_several_platforms(
    client: Client, umoci: Peer, name: str, tmp_path: Path
) -> None:
    layout = tmp_path / "saved"
    client.save(name, layout, format="oci", platform=TWO, name="1.4")
    assert umoci("ls", "--layout", layout).split() == ["1.4-linux-amd64", "1.4-linux-arm64"]
    for image, tag in zip(IMAGES[:2], ("1.4-linux-amd64", "1.4-linux-arm64"), strict=True):
        told = json.loads(umoci("stat", "--json", "--image", f"{layout}:{tag}"))
        layers = [entry["layer"]["digest"] for entry in told["history"]]
        assert layers == [layer.digest for layer in image.layers]
        umoci("unpack", "--rootless", "--image", f"{layout}:{tag}", tmp_path / tag)
        assert len(list((tmp_path / tag / "rootfs").iterdir())) == 1


@pytest.mark.peer("skopeo")
def test_skopeo_reads_the_names(client: Client, skopeo: Peer, name: str, tmp_path: Path) -> None:
    client.save(name, tmp_path / "one", format="oci", name="1.4")
    skopeo("copy", "--all", f"oci:{tmp_path}/one:1.4", f"dir:{tmp_path}/copy")
    assert str(client.validate(f"dir:{tmp_path}/copy").root) == INDEX.digest
    client.save(name, tmp_path / "many", format="oci", name="1.4", platform=TWO)
    for image, ending in zip(IMAGES, ("amd64", "arm64"), strict=False):
        address = f"oci:{tmp_path}/many:1.4-linux-{ending}"
        options = ["--override-arch", ending]
        found = subprocess.check_output(["skopeo", *options, "inspect", "--raw", address])
        assert found == image.manifest.data
