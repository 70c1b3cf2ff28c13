"""Archives and layouts as skopeo, podman and umoci write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dray.testing import (
    build_image,
    build_index,
    find_binary,
    layout_files,
    pseudo_random_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dray import Client

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
):
    address = target.format(tmp_path / "copy")
    skopeo("copy", *options, f"oci:{layout}:v1", address)
    good(client, address)
    good(client, ":".join(address.split(":")[:2]))


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("target", ["oci:{}:x", "oci-archive:{}:x", "dir:{}"])
def test_skopeo_copies_a_whole_index(
    client: Client, skopeo: Peer, layout: Path, tmp_path: Path, target: str
):
    address = target.format(tmp_path / "copy")
    skopeo("copy", "--all", f"oci:{layout}:all", address)
    report = client.validate(address)
    assert [found for found in report.findings if found.error] == []
    assert report.documents == 3
    assert str(report.root) == INDEX.digest


@pytest.mark.peer("skopeo")
def test_a_docker_archive_has_the_digest_that_skopeo_gives_it(
    client: Client, skopeo: Peer, layout: Path, tmp_path: Path
):
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
    client: Client, podman: Peer, layout: Path, tmp_path: Path, kind: str, address: str
):
    podman("pull", "--quiet", f"oci:{layout}:v1")
    image = podman("images", "--quiet").split()[0]
    podman("tag", image, "localhost/app:1")
    podman("save", "--quiet", "--format", kind, "--output", tmp_path / "saved", "localhost/app:1")
    good(client, address.format(tmp_path / "saved"))


@pytest.mark.peer("podman", "skopeo")
def test_podman_saves_several_images_in_one_archive(client: Client, podman: Peer, tmp_path: Path):
    names = []
    for number in range(3):
        image = build_image(TARS[: number + 1], env=[f"N={number}"])
        layout = write_files(tmp_path / f"layout{number}", layout_files({"v1": image}))
        podman("pull", "--quiet", f"oci:{layout}:v1")
        names.append(f"localhost/many:{number}")
        podman("tag", image.id.removeprefix("sha256:"), names[-1])
    file = tmp_path / "saved"
    podman("save", "--quiet", "--multi-image-archive", "--output", file, *names)
    for number, name in enumerate(names):
        good(client, f"docker-archive:{file}:{name}")
        good(client, f"docker-archive:{file}:@{number}")


@pytest.mark.peer("umoci")
def test_umoci(client: Client, umoci: Peer, tmp_path: Path):
    layout = tmp_path / "layout"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:new")
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / "file").write_text("content")
    umoci("insert", "--image", f"{layout}:new", "--tag", "full", tmp_path / "rootfs", "/srv")
    good(client, f"oci:{layout}:full")
    assert client.validate(f"oci:{layout}:new").blobs == 0


@pytest.mark.peer("skopeo", "tar")
@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
def test_archives_that_somebody_has_compressed(
    client: Client, skopeo: Peer, layout: Path, tmp_path: Path, program: str
):
    import subprocess

    if find_binary(program) is None:
        pytest.skip(f"there is no {program}")
    file = tmp_path / "archive"
    skopeo("copy", f"oci:{layout}:v1", f"docker-archive:{file}")
    packed = subprocess.run([program, "-c", file], stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "packed").write_bytes(packed)
    good(client, f"docker-archive:{tmp_path / 'packed'}")
