"""`inspect --config --raw` prints any config as it is, from every address."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from wherry.errors import NotFound, PlatformMismatch, Unsupported
from wherry.testing import (
    FakeRegistry,
    Piece,
    build_image,
    build_index,
    build_schema1,
    compress,
    docker_files,
    document,
    flat_files,
    layout_files,
    tar_layer,
    write_files,
)
from wherry.testing.images import BuiltImage

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client

TARS = [tar_layer({"a": b"1"})]
IMAGE = build_image(TARS)
ARM = build_image(TARS, architecture="arm64")
AMD64 = {"os": "linux", "architecture": "amd64"}
HELM = "application/vnd.cncf.helm.config.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
CONFIGS = {
    "helm": (HELM, b'{"name":"chart",  "version":"1"}\n'),
    "empty": ("application/vnd.oci.empty.v1+json", b"{}"),
    "no bytes": (HELM, b""),
    "bytes": ("application/vnd.example", bytes(range(256))),
    "no JSON": (OCI_CONFIG, b"\xff\x00 no JSON"),
    "no object": (OCI_CONFIG, b"[1, NaN]"),
    "no rootfs": (OCI_CONFIG, b'{"os":"linux","architecture":"amd64"}'),
    "odd fields": (OCI_CONFIG, b'{"rootfs":7,"created":[],"a":1e999,"a":2}'),
    "an image's": (OCI_CONFIG, IMAGE.config.data),
}


def made(kind: str, config: bytes) -> BuiltImage:
    piece = Piece(kind, config)
    fields = {"config": piece.descriptor(), "layers": [IMAGE.layers[0].descriptor()]}
    raw = document({"schemaVersion": 2, "mediaType": IMAGE.manifest.media_type, **fields})
    manifest = Piece(IMAGE.manifest.media_type, raw)
    return BuiltImage(manifest, piece, IMAGE.layers, IMAGE.diff_ids)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("place", ["registry", "oci", "oci-archive", "docker-archive", "dir"])
def test_a_config_is_printed_as_it_is(
    fake: FakeRegistry, client: Client, tmp_path: Path, place: str, config: tuple[str, bytes]
) -> None:
    image = made(*config)
    match place:
        case "registry":
            fake.add_image("app", image, "t")
            address = f"{fake.host}/app:t"
        case "oci":
            address = f"oci:{write_files(tmp_path / 'layout', layout_files({'t': image}))}:t"
        case "dir":
            address = f"dir:{write_files(tmp_path / 'flat', flat_files(image))}"
        case "oci-archive":
            (tmp_path / "a.tar").write_bytes(tar_layer(dict(layout_files({"t": image}))))
            address = f"oci-archive:{tmp_path / 'a.tar'}"
        case _:
            files = docker_files(image, TARS, ["app:1"])
            (tmp_path / "a.tar").write_bytes(tar_layer(dict(files)))
            address = f"docker-archive:{tmp_path / 'a.tar'}"
    assert client.raw_config(address) == config[1]


def test_the_command_adds_nothing(wherry: Wherry, tmp_path: Path) -> None:
    image = made(*CONFIGS["helm"])
    layout = write_files(tmp_path / "layout", layout_files({"t": image}))
    done = wherry("inspect", "--config", "--raw", f"oci:{layout}:t")
    assert (done.returncode, done.stdout) == (0, CONFIGS["helm"][1].decode())
    done = wherry("inspect", "--config", f"oci:{layout}:t")
    assert (done.returncode, done.stdout) == (1, "")
    assert "this is a helm chart, not an image" in done.stderr


def test_an_index_and_the_store(fake: FakeRegistry, client: Client) -> None:
    index = build_index([(made(*CONFIGS["helm"]), None)])
    fake.add_image("chart", index, "t")
    assert client.raw_config(f"{fake.host}/chart:t") == CONFIGS["helm"][1]
    with pytest.raises(Unsupported):
        client.config(f"{fake.host}/chart:t")
    both = build_index([(IMAGE, AMD64), (ARM, {"os": "linux", "architecture": "arm64"})])
    fake.add_image("app", both, "t")
    name = f"{fake.host}/app:t"
    assert client.raw_config(name, platform="linux/arm64") == ARM.config.data
    client.pull(name, platform="linux/arm64")
    assert client.raw_config(f"store:{name}") == ARM.config.data
    fake.add_image("arm", ARM, "t")
    with pytest.raises(PlatformMismatch):
        client.raw_config(f"{fake.host}/arm:t", platform="linux/amd64")


def test_a_config_of_schema1_is_made(fake: FakeRegistry, client: Client) -> None:
    built = build_schema1([compress(TARS[0], "gzip")])
    digest = fake.add_manifest("old", built.manifest.data, built.manifest.media_type)
    name = f"{fake.host}/old@{digest}"
    assert client.raw_config(name) == client.config(name).raw


def test_an_archive_of_several_images(client: Client, tmp_path: Path) -> None:
    files = docker_files(made(*CONFIGS["bytes"]), TARS, ["app:1"])
    (first,) = json.loads(files["manifest.json"])
    second = {"Config": "c.json", "RepoTags": ["b:1"], "Layers": first["Layers"]}
    files |= {"c.json": IMAGE.config.data, "manifest.json": document([first, second])}
    path = tmp_path / "a.tar"
    path.write_bytes(tar_layer(dict(files)))
    assert client.raw_config(f"docker-archive:{path}:app:1") == CONFIGS["bytes"][1]
    assert client.raw_config(f"docker-archive:{path}:@1") == IMAGE.config.data
    for unclear in ("", ":gone:1", ":@2"):
        with pytest.raises(NotFound):
            client.raw_config(f"docker-archive:{path}{unclear}")
