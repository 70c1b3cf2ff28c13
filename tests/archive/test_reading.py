"""Reading images from archives and layouts."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.archive.docker import DockerArchive
from wherry.archive.tar_files import TarFiles
from wherry.content.cancel import CancelToken
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    NotFound,
    StoreError,
    UnsafeArchive,
    Unsupported,
    WherryError,
)
from wherry.testing import (
    build_image,
    build_index,
    compress,
    docker_files,
    flat_files,
    layout_files,
    sha256,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Wherry
    from wherry import Client
    from wherry.content.protocols import Opened

TARS = [tar_layer({f"f{number}": b"x" * 999 * number}) for number in range(3)]
IMAGE = build_image(TARS)
OTHER = build_image(TARS[1:], compression="zstd")
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
INDEX = build_index([(IMAGE, AMD64), (build_image(TARS, architecture="arm64"), ARM64)])


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.linkname = kind, target
    return made


def good(client: Client, address: str) -> str:
    """Validate an image and return its digest."""
    report = client.validate(address)
    assert report.findings == []
    return str(report.root)


def archived(path: Path, files: Mapping[str, bytes | tarfile.TarInfo | None]) -> Path:
    path.write_bytes(tar_layer(files))
    return path


# OCI layouts


def test_a_layout_with_one_image_needs_no_name(client: Client, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    assert good(client, f"oci:{layout}") == IMAGE.digest
    assert good(client, f"oci:{layout}:v1") == IMAGE.digest
    assert good(client, f"oci:{layout}:@{IMAGE.digest}") == IMAGE.digest


def test_among_several_images_one_has_to_be_named(client: Client, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE, "v2": INDEX, "v3": OTHER}))
    assert good(client, f"oci:{layout}:v2") == INDEX.digest
    assert good(client, f"oci:{layout}:v3") == OTHER.digest
    for name in ("", ":v4", f":@{sha256(b'')}"):
        with pytest.raises(NotFound):
            client.validate(f"oci:{layout}{name}")
    with pytest.raises(NotFound) as caught:
        client.validate(f"oci:{layout}")
    assert caught.value.hint == "it has: v1 v2 v3"


def test_links_to_one_layer_are_one_layer(tmp_path: Path) -> None:
    """Otherwise a small archive could have a large layer decompressed once for each link."""
    packed = compress(bytes(100_000), "gzip")
    config = json.loads(IMAGE.config.data)
    config["rootfs"]["diff_ids"] = [f"sha256:{number:064x}" for number in range(20)]
    layers = [f"{number}.tar" for number in range(20)]
    items = [{"Config": "config", "Layers": layers}]
    files = {"config": json.dumps(config).encode(), "manifest.json": json.dumps(items).encode()}
    path = archived(
        tmp_path / "archive", {"layer": packed, **{name: link("layer") for name in layers}, **files}
    )
    opened: list[str] = []

    class Counting(TarFiles):
        def open(self, name: str, offset: int = 0) -> Opened:
            opened.append(name)
            return super().open(name, offset)

    with contextlib.closing(Counting(str(path), CancelToken())) as counting:
        (held,) = DockerArchive(counting, CancelToken()).images()
    assert held.root.size
    assert opened == ["manifest.json", "config", "layer", "layer"]


def test_an_error_lists_at_most_fifty_images(client: Client, tmp_path: Path) -> None:
    files = layout_files({"v0": IMAGE})
    index = json.loads(files["index.json"])
    (entry,) = index["manifests"]
    index["manifests"] = [
        entry
        | {"digest": sha256(b"%d" % number)}
        | {"annotations": {"org.opencontainers.image.ref.name": f"v{number}"}}
        for number in range(200)
    ]
    files["index.json"] = json.dumps(index).encode()
    layout = write_files(tmp_path / "layout", files)
    with pytest.raises(NotFound) as caught:
        client.validate(f"oci:{layout}")
    assert caught.value.hint.endswith(" v48 v49 and 150 more")


def test_a_manifest_inside_of_an_index_is_found_by_digest(client: Client, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"": INDEX}))
    assert good(client, f"oci:{layout}:@{IMAGE.digest}") == IMAGE.digest


def test_whole_names_are_understood_with_latest_left_out(client: Client, tmp_path: Path) -> None:
    names = {"localhost/app:latest": IMAGE, "docker.io/library/other:latest": OTHER}
    layout = write_files(tmp_path / "layout", layout_files(names))
    assert good(client, f"oci:{layout}:localhost/app") == IMAGE.digest
    assert good(client, f"oci:{layout}:other") == OTHER.digest


def test_a_tag_is_enough_to_name_an_image_of_a_layout(client: Client, tmp_path: Path) -> None:
    names = {"localhost:5000/app:1.4": IMAGE, "docker.io/library/other:1.5": OTHER, "1.6": OTHER}
    layout = write_files(tmp_path / "one", layout_files(names))
    assert good(client, f"oci:{layout}:1.4") == IMAGE.digest
    assert good(client, f"oci:{layout}:1.5") == OTHER.digest
    for part in ("5000/app:1.4", ".4", "other:1.4"):
        with pytest.raises(NotFound):
            client.validate(f"oci:{layout}:{part}")
    names = {"a:1": IMAGE, "b:1": OTHER, "a:2": IMAGE, "2": OTHER, "b:3": OTHER, "c:3": OTHER}
    layout = write_files(tmp_path / "two", layout_files(names))
    with pytest.raises(NotFound, match="there are 2 images named 1 in it; choose one"):
        client.validate(f"oci:{layout}:1")
    assert good(client, f"oci:{layout}:2") == OTHER.digest
    assert good(client, f"oci:{layout}:3") == OTHER.digest


def test_an_index_json_that_lists_platforms_is_an_image(client: Client, tmp_path: Path) -> None:
    files = layout_files({"": IMAGE, "x": build_image(TARS, architecture="arm64")})
    document = json.loads(files["index.json"])
    for entry, platform in zip(document["manifests"], (AMD64, ARM64), strict=True):
        entry["platform"] = platform
        entry.pop("annotations", None)
    files["index.json"] = json.dumps(document).encode()
    layout = write_files(tmp_path / "layout", files)
    assert good(client, f"oci:{layout}") == sha256(files["index.json"])


@pytest.mark.parametrize("how", ["none", "gzip", "zstd", "bzip2", "xz"])
def test_a_tar_of_a_layout_however_compressed(client: Client, tmp_path: Path, how: str) -> None:
    file = tmp_path / "archive"
    dotted = {f"./{name}": data for name, data in layout_files({"v1": INDEX}).items()}
    file.write_bytes(compress(tar_layer({"./": None, **dotted}), how))
    assert good(client, f"oci-archive:{file}") == INDEX.digest
    assert good(client, f"oci-archive:{file}:v1") == INDEX.digest


def test_a_blob_that_is_not_what_its_name_says_is_found(client: Client, tmp_path: Path) -> None:
    files = layout_files({"v1": IMAGE})
    files["blobs/sha256/" + IMAGE.layers[0].digest[7:]] = IMAGE.layers[0].data[:-1] + b"!"
    layout = write_files(tmp_path / "layout", files)
    assert [found.where for found in client.validate(f"oci:{layout}").findings] == [
        "layers[0].digest"
    ]
    files["blobs/sha256/" + IMAGE.digest[7:]] = OTHER.manifest.data
    with pytest.raises(IntegrityError):
        client.validate(f"oci:{write_files(layout, files)}")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"oci-layout": None}, StoreError),
        ({"oci-layout": b"{}"}, Unsupported),
        ({"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'}, Unsupported),
        ({"index.json": None}, StoreError),
        ({"index.json": b"[]"}, InvalidDocument),
        ({"index.json": IMAGE.manifest.data}, InvalidDocument),
        ({"index.json": b" " * (4 * 2**20 + 1)}, InvalidDocument),
        ({"index.json": b'{"schemaVersion":2,"manifests":[]}'}, NotFound),
    ],
)
def test_a_directory_that_is_not_a_layout(
    client: Client, tmp_path: Path, change: dict[str, bytes | None], error: type[WherryError]
) -> None:
    files = {**layout_files({"v1": IMAGE}), **change}
    layout = write_files(
        tmp_path / "layout", {name: data for name, data in files.items() if data is not None}
    )
    with pytest.raises(error) as caught:
        client.validate(f"oci:{layout}")
    assert str(layout) in str(caught.value)


# Flat directories


@pytest.mark.parametrize("image", [IMAGE, OTHER, INDEX], ids=["gzip", "zstd", "index"])
def test_a_flat_directory(client: Client, tmp_path: Path, image: object) -> None:
    place = write_files(tmp_path / "flat", flat_files(image))  # type: ignore[arg-type]
    assert good(client, f"dir:{place}") == image.digest  # type: ignore[attr-defined]


# Docker archives

DOCKER = build_image(TARS, style="docker", compression="none")


def test_a_docker_archive_has_one_image_or_names_them(client: Client, tmp_path: Path) -> None:
    files = docker_files(DOCKER, TARS, ["docker.io/acme/app:1", "x.io/y:latest"])
    one = archived(tmp_path / "one.tar", files)
    found = good(client, f"docker-archive:{one}")
    entries = json.loads(files["manifest.json"])
    config = build_image(TARS[:1], compression="none").config
    entries.append({"Config": "other.json", "RepoTags": None, "Layers": [entries[0]["Layers"][0]]})
    files |= {"other.json": config.data, "manifest.json": json.dumps(entries).encode()}
    two = archived(tmp_path / "two.tar", files)
    for name in ("acme/app:1", "x.io/y", "@0"):
        assert good(client, f"docker-archive:{two}:{name}") == found
    assert good(client, f"docker-archive:{two}:@1") != found
    for name in ("", ":acme/app", ":@2"):
        with pytest.raises(NotFound):
            client.validate(f"docker-archive:{two}{name}")


@pytest.mark.parametrize("how", ["gzip", "zstd", "bzip2", "xz"])
def test_compressed_layers_are_given_out_plain(client: Client, tmp_path: Path, how: str) -> None:
    plain = archived(tmp_path / "plain.tar", docker_files(DOCKER, TARS))
    layers = [compress(tar, how) for tar in TARS]
    packed = archived(tmp_path / "packed.tar", docker_files(DOCKER, layers))
    assert good(client, f"docker-archive:{packed}") == good(client, f"docker-archive:{plain}")


def test_layers_may_be_links_inside_of_the_archive(client: Client, tmp_path: Path) -> None:
    files: dict[str, bytes | tarfile.TarInfo | None] = dict(docker_files(DOCKER, TARS))
    content = [files.pop(f"{number}/layer.tar") for number in range(3)]
    files |= {"first.tar": content[0], "deep/down/second.tar": content[1], "third.tar": content[2]}
    files["0/layer.tar"] = link("../first.tar")
    files["1/layer.tar"] = link("./../2/../deep/./down/second.tar")
    files["2/layer.tar"] = link("third.tar", tarfile.LNKTYPE)
    archive = archived(tmp_path / "archive.tar", files)
    good(client, f"docker-archive:{archive}")


def test_a_layer_with_another_diff_id_is_found(client: Client, tmp_path: Path) -> None:
    archive = archived(tmp_path / "a.tar", docker_files(DOCKER, [TARS[1], TARS[1], TARS[2]]))
    findings = client.validate(f"docker-archive:{archive}").findings
    assert [found.where for found in findings] == ["layers[0].digest"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"manifest.json": b"{}"}, InvalidDocument),
        ({"manifest.json": b'[{"Config":1}]'}, InvalidDocument),
        ({"manifest.json": b'[{"Layers":[]}]'}, InvalidDocument),
        ({"manifest.json": b"[]"}, NotFound),
        ({"manifest.json": b'[{"Config":"x.json","Layers":[]}]'}, NotFound),
        ({"manifest.json": b'[{"Config":"../x.json","Layers":[]}]'}, UnsafeArchive),
        ({"1/layer.tar": link("../../../etc/passwd")}, UnsafeArchive),
        ({"1/layer.tar": link("/etc/passwd")}, UnsafeArchive),
        ({"1/layer.tar": link("../etc/passwd", tarfile.LNKTYPE)}, UnsafeArchive),
        ({"1/layer.tar": link("layer.tar")}, UnsafeArchive),
        ({"1/layer.tar": link("../nowhere")}, NotFound),
        ({"../outside": b""}, UnsafeArchive),
        ({"/outside": b""}, UnsafeArchive),
        ({"./manifest.json": b"[]"}, UnsafeArchive),
    ],
    ids=itertools.count(),
)
def test_a_file_that_is_not_a_docker_archive(
    client: Client, tmp_path: Path, change: dict[str, bytes], error: type[WherryError]
) -> None:
    archive = archived(tmp_path / "archive.tar", {**docker_files(DOCKER, TARS), **change})
    with pytest.raises(error):
        client.validate(f"docker-archive:{archive}")


def test_layers_and_diff_ids_must_have_the_same_number(client: Client, tmp_path: Path) -> None:
    files = docker_files(DOCKER, TARS[:2])
    archive = archived(tmp_path / "archive.tar", files)
    with pytest.raises(IntegrityError, match="3 DiffIDs for 2 layers"):
        client.validate(f"docker-archive:{archive}")


# Nothing outside is ever read


@pytest.mark.parametrize("name", ["index.json", "blobs/sha256/" + IMAGE.layers[0].digest[7:]])
@pytest.mark.parametrize("absolute", [False, True])
def test_links_that_lead_out_of_a_layout_are_refused(
    client: Client, tmp_path: Path, name: str, *, absolute: bool
) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    outside = tmp_path / "outside"
    (layout / name).rename(outside)
    target = outside if absolute else os.path.relpath(outside, (layout / name).parent)
    (layout / name).symlink_to(target)
    if name == "index.json":
        with pytest.raises(UnsafeArchive, match="outside"):
            client.validate(f"oci:{layout}")
        return
    (finding,) = client.validate(f"oci:{layout}").findings
    assert (finding.where, "outside" in finding.message) == ("layers[0]", True)


def test_links_inside_of_a_layout_are_followed_directories_that_are_links_are_not(
    client: Client, tmp_path: Path
) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    (layout / "index.json").rename(layout / "blobs" / "real")
    (layout / "index.json").symlink_to("blobs/../blobs/real")
    good(client, f"oci:{layout}")
    (layout / "blobs").rename(tmp_path / "blobs")
    (layout / "blobs").symlink_to("../blobs")
    with pytest.raises(UnsafeArchive):
        client.validate(f"oci:{layout}")


def test_a_special_file_does_not_block(client: Client, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"v1": IMAGE}))
    (layout / "index.json").unlink()
    os.mkfifo(layout / "index.json")
    with pytest.raises(UnsafeArchive, match="is not a regular file"):
        client.validate(f"oci:{layout}")
    with pytest.raises(StoreError, match="is not a regular file"):
        client.validate(f"oci-archive:{tmp_path}")
    with pytest.raises(StoreError, match="is a file"):
        client.validate(f"oci:{layout / 'oci-layout'}")
    with pytest.raises(NotFound):
        client.validate(f"oci:{tmp_path / 'nothing'}")


# Damage


@pytest.mark.parametrize(
    "make", [lambda: docker_files(DOCKER, TARS), lambda: layout_files({"v": IMAGE})]
)
def test_an_archive_cut_off_at_any_byte_is_an_error(
    client: Client, tmp_path: Path, make: object
) -> None:
    files = make()  # type: ignore[operator]
    # The document that leads to all others last, as tools write it.
    data = tar_layer(files)
    end = data.rstrip(b"\0")
    content = -(-len(end) // 512) * 512  # what follows is the terminator
    file = tmp_path / "archive.tar"
    kind = "docker-archive" if "manifest.json" in files else "oci-archive"
    for length in [*range(0, content, 509), content - 1]:
        file.write_bytes(data[:length])
        with pytest.raises(WherryError):
            client.validate(f"{kind}:{file}")
    file.write_bytes(data[:content])
    good(client, f"{kind}:{file}")


@pytest.mark.parametrize("how", ["gzip", "zstd", "xz"])
def test_a_compressed_archive_that_is_cut_off(client: Client, tmp_path: Path, how: str) -> None:
    data = compress(tar_layer(docker_files(DOCKER, TARS)), how)
    file = tmp_path / "archive"
    before = len(list(Path("/proc/self/fd").iterdir()))
    cut_before = compress(tar_layer(docker_files(DOCKER, TARS))[:5000], how)
    # What is left of so small a frame of zstd decompresses to nothing, without an error.
    for damaged in (data[: len(data) // 2], cut_before)[how == "zstd" :]:
        file.write_bytes(damaged)
        with pytest.raises(IntegrityError) as caught:
            client.validate(f"docker-archive:{file}")
        assert str(caught.value).startswith(f"{file}: ")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_bytes_that_are_not_a_tar_are_refused(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    for data in (b"", b"no tar", b"x" * 10_000, b"\0" * 10_000):
        file.write_bytes(data)
        with pytest.raises(WherryError):
            client.validate(f"docker-archive:{file}")


def test_extended_headers_are_bounded(client: Client, tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.pax_headers = {"comment": "y" * 2**21}
    archive = archived(tmp_path / "a.tar", {"x": member, **docker_files(DOCKER, TARS)})
    with pytest.raises(IntegrityError, match="extended header"):
        client.validate(f"docker-archive:{archive}")


def test_names_of_any_length(client: Client, tmp_path: Path) -> None:
    files = docker_files(DOCKER, TARS)
    deep = "d" * 90 + "/" + "e" * 200 + ".json"
    entries = json.loads(files["manifest.json"])
    files[deep] = files.pop(entries[0]["Config"])
    entries[0]["Config"] = deep
    files["manifest.json"] = json.dumps(entries).encode()
    for name, kind in (("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)):
        with tarfile.open(tmp_path / name, "w", format=kind) as archive:
            for path, data in files.items():
                (tmp_path / "file").write_bytes(data)
                archive.add(tmp_path / "file", path)
        good(client, f"docker-archive:{tmp_path / name}")


@pytest.mark.parametrize("how", ["oci", "oci-archive", "docker-archive", "dir"])
def test_the_command_exits_with_1_for_other_files(wherry: Wherry, tmp_path: Path, how: str) -> None:
    if how in {"oci", "dir"}:
        write_files(tmp_path / "thing", {"README": b"nothing"})
    else:
        (tmp_path / "thing").write_bytes(tar_layer({"README": b"nothing"}))
    done = wherry("inspect", f"{how}:{tmp_path / 'thing'}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"wherry: {tmp_path / 'thing'}: is not a")
    assert "  wherry reads what docker, podman, skopeo and wherry save" in done.stderr
    missing = wherry("inspect", f"{how}:{tmp_path / 'nowhere'}")
    assert missing.returncode == 3
