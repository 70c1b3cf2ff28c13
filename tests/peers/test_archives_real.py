"""Archives and layouts of skopeo, podman and umoci."""

from __future__ import annotations

import io
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from wherry import Store
from wherry.testing import (
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
    from wherry.ops.save_options import Format
    from wherry.testing import FakeRegistry

    Peer = Callable[..., str]

TARS = [tar_layer(pseudo_random_files(seed, 40_000, 3)) for seed in (1, 2, 3)]
IMAGE = build_image(TARS, cmd=["sh"], labels={"k": "<&>"})
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (
            build_image(TARS, architecture="arm64", compression="zstd"),
            {"os": "linux", "architecture": "arm64"},
        ),
    ]
)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_files(tmp_path / "layout", layout_files({"v1": IMAGE, "all": INDEX}))


def pull_layout(podman: Peer, layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pull from a layout by a relative path, since podman makes a lower-case name of it."""
    monkeypatch.chdir(layout.parent)
    podman("pull", "--quiet", f"oci:{layout.name}:v1")


def good(client: Client, address: str) -> None:
    report = client.validate(address)
    assert [found for found in report.findings if found.error] == []
    assert report.blobs


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("docker-archive:{}", ()),
        ("docker-archive:{}:acme/app:1", ()),
        ("oci:{}:x", ()),
        ("oci-archive:{}:x", ()),
        ("oci:{}:x", ("--dest-compress-format", "zstd")),
        ("dir:{}", ()),
        ("dir:{}", ("--format", "v2s1")),
        ("dir:{}", ("--format", "v2s2")),
        ("dir:{}", ("--format", "oci")),
    ],
)
def test_skopeo(
    client: Client,
    skopeo: Peer,
    layout: Path,
    tmp_path: Path,
    target: str,
    options: tuple[str, ...],
) -> None:
    address = target.format(tmp_path / "copy")
    skopeo("copy", *options, f"oci:{layout}:v1", address)
    good(client, address)
    good(client, ":".join(address.split(":")[:2]))


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("target", ["oci:{}:x", "oci-archive:{}:x", "dir:{}"])
def test_skopeo_copies_a_whole_index(
    client: Client, skopeo: Peer, layout: Path, tmp_path: Path, target: str
) -> None:
    address = target.format(tmp_path / "copy")
    skopeo("copy", "--all", f"oci:{layout}:all", address)
    report = client.validate(address)
    assert [found for found in report.findings if found.error] == []
    assert report.documents == 3
    assert str(report.root) == INDEX.digest


@pytest.mark.peer("skopeo")
def test_a_docker_archive_has_the_digest_that_skopeo_gives_it(
    client: Client, skopeo: Peer, layout: Path, tmp_path: Path
) -> None:
    address = f"docker-archive:{tmp_path / 'archive'}"
    skopeo("copy", f"oci:{layout}:v1", address)
    digest = skopeo("inspect", "--format", "{{.Digest}}", address).strip()
    assert str(client.validate(address).root) == digest


@pytest.mark.peer("podman", "skopeo")
@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("docker-archive", "docker-archive:{}"),
        ("docker-archive", "docker-archive:{}:localhost/app:1"),
        ("oci-archive", "oci-archive:{}"),
        ("oci-dir", "oci:{}"),
        ("docker-dir", "dir:{}"),
    ],
)
def test_podman_save(
    client: Client,
    podman: Peer,
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    address: str,
) -> None:
    pull_layout(podman, layout, monkeypatch)
    image = podman("images", "--quiet").split()[0]
    podman("tag", image, "localhost/app:1")
    podman("save", "--quiet", "--format", kind, "--output", tmp_path / "saved", "localhost/app:1")
    good(client, address.format(tmp_path / "saved"))


@pytest.mark.peer("podman", "skopeo")
def test_podman_saves_several_images_in_one_archive(
    client: Client, podman: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for number in range(3):
        image = build_image(TARS[: number + 1], env=[f"N={number}"])
        layout = write_files(tmp_path / f"layout{number}", layout_files({"v1": image}))
        pull_layout(podman, layout, monkeypatch)
        names.append(f"localhost/many:{number}")
        podman("tag", image.id.removeprefix("sha256:"), names[-1])
    file = tmp_path / "saved"
    podman("save", "--quiet", "--multi-image-archive", "--output", file, *names)
    for number, name in enumerate(names):
        good(client, f"docker-archive:{file}:{name}")
        good(client, f"docker-archive:{file}:@{number}")


@pytest.mark.peer("umoci")
def test_umoci(client: Client, umoci: Peer, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:new")
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / "file").write_text("content")
    umoci("insert", "--image", f"{layout}:new", "--tag", "full", tmp_path / "rootfs", "/srv")
    good(client, f"oci:{layout}:full")
    assert client.validate(f"oci:{layout}:new").blobs == 0


@pytest.mark.peer("skopeo", "tar")
@pytest.mark.parametrize(
    "program",
    [pytest.param(name, marks=pytest.mark.peer(name)) for name in ("gzip", "bzip2", "xz", "zstd")],
)
def test_compressed_archives(
    client: Client, skopeo: Peer, layout: Path, tmp_path: Path, program: str
) -> None:
    file = tmp_path / "archive"
    skopeo("copy", f"oci:{layout}:v1", f"docker-archive:{file}")
    packed = subprocess.run([program, "-c", file], stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "packed").write_bytes(packed)
    good(client, f"docker-archive:{tmp_path / 'packed'}")


# Archives of wherry

OTHER = build_image([TARS[2], TARS[0], TARS[2]], style="docker", env=["A=b"])


@pytest.fixture
def saved(client: Client, fake: FakeRegistry) -> list[str]:
    """Two images in the store: one repeats layers, and the other shares them."""
    fake.add_image("app", IMAGE, "v1")
    fake.add_image("other", OTHER, "v2")
    names = [f"{fake.host}/app:v1", f"{fake.host}/other:v2"]
    for name in names:
        client.pull(name)
    return names


@pytest.mark.peer("podman")
@pytest.mark.parametrize("form", ["docker", "oci-archive"])
def test_podman_loads_what_wherry_saves(
    client: Client, podman: Peer, saved: list[str], tmp_path: Path, form: Format
) -> None:
    for name, image in zip(saved, (IMAGE, OTHER), strict=True):
        client.save(name, tmp_path / "saved", format=form)
        assert name in podman("load", "--quiet", "--input", tmp_path / "saved")
        assert podman("inspect", "--format", "{{.Id}}", name).strip() == image.id[7:]
        podman("rmi", "--force", name)


@pytest.mark.peer("podman")
def test_podman_loads_several_images_from_one_archive(
    client: Client, podman: Peer, saved: list[str], tmp_path: Path
) -> None:
    client.save(saved, tmp_path / "saved")
    told = podman("load", "--quiet", "--input", tmp_path / "saved")
    assert all(name in told for name in saved)
    for name, image in zip(saved, (IMAGE, OTHER), strict=True):
        assert podman("inspect", "--format", "{{.Id}}", name).strip() == image.id[7:]


@pytest.mark.peer("skopeo")
def test_skopeo_reads_what_wherry_saves(
    client: Client, skopeo: Peer, saved: list[str], tmp_path: Path
) -> None:
    def config(address: str) -> str:
        return skopeo("inspect", "--config", "--raw", address)

    client.save(saved, tmp_path / "a.tar")
    client.save(saved, tmp_path / "b.tar", format="oci-archive")
    client.save(saved, tmp_path / "layout2", format="oci")
    for number, (name, image) in enumerate(zip(saved, (IMAGE, OTHER), strict=True)):
        client.save(name, tmp_path / f"flat{number}", format="dir")
        addresses = [
            f"docker-archive:{tmp_path}/a.tar:{name}",
            f"docker-archive:{tmp_path}/a.tar:@{number}",
            f"oci-archive:{tmp_path}/b.tar:{name}",
            f"oci:{tmp_path}/layout2:{name}",
            f"dir:{tmp_path}/flat{number}",
        ]
        for place, address in enumerate(addresses):
            assert config(address).encode() == image.config.data
            skopeo("copy", address, f"dir:{tmp_path}/copy{number}-{place}")
            good(client, f"dir:{tmp_path}/copy{number}-{place}")


@pytest.mark.peer("umoci")
def test_umoci_reads_what_wherry_saves(
    client: Client, umoci: Peer, saved: list[str], tmp_path: Path
) -> None:
    client.save(saved, tmp_path / "layout2", format="oci")
    for number, (name, image) in enumerate(zip(saved, (IMAGE, OTHER), strict=True)):
        told = umoci("stat", "--image", f"{tmp_path}/layout2:{name}", "--json")
        layers = [entry["layer"]["digest"] for entry in json.loads(told)["history"]]
        assert layers == [layer.digest for layer in image.layers]
        bundle = tmp_path / f"bundle{number}"
        umoci("unpack", "--rootless", "--image", f"{tmp_path}/layout2:{name}", bundle)
        assert any((bundle / "rootfs").iterdir())


@pytest.mark.peer("skopeo", "podman")
@pytest.mark.parametrize("piped", [False, True])
def test_what_skopeo_and_podman_save_is_loaded(
    client: Client,
    skopeo: Peer,
    podman: Peer,
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    piped: bool,
) -> None:
    pull_layout(podman, layout, monkeypatch)
    podman("tag", IMAGE.id[7:], "localhost/app:1")
    for kind in ("docker-archive", "oci-archive"):
        podman("save", "--quiet", "--format", kind, "--output", tmp_path / kind, "localhost/app:1")
        skopeo("copy", f"oci:{layout}:v1", f"{kind}:{tmp_path}/skopeo-{kind}:localhost/app:1")
        for file in (tmp_path / kind, tmp_path / f"skopeo-{kind}"):
            source = io.BytesIO(file.read_bytes()) if piped else file
            store = Store(tmp_path / f"store-{file.name}")
            (loaded,) = client.load(source, store=store)
            assert (str(loaded.id), loaded.names) == (IMAGE.id, ("localhost/app:1",))
            assert client.validate(f"store:{loaded.id}", store=store).findings == []
