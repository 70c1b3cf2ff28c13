"""Load recognises archives by their first members, and refuses other files."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from saved_images import IMAGE, TARS, link
from wherry.errors import StoreError, UnsafeArchive, Unsupported, WherryError
from wherry.testing import build_image, compress, docker_files, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from pathlib import Path

    import wherry
    from conftest import Wherry
    from wherry import Client


def test_files_that_are_not_archives(wherry: Wherry, tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(tar_layer({"etc/passwd": b"root"}))
    write_files(tmp_path / "directory", {"README": b"nothing"})
    says = "is not an image archive or layout that wherry knows\n  wherry reads what docker"
    for name in ("tar", "directory"):
        done = wherry("load", "-i", str(tmp_path / name))
        assert done.returncode == 1
        assert done.stderr.startswith(f"wherry: {tmp_path / name}: {says}")
    assert wherry("load").stderr.startswith("wherry: stdin: is empty\n  wherry reads what docker")
    path = tmp_path / "file"
    empty = (b"", "is empty\n  wherry reads what docker")
    none = [
        b"hello",
        b"hello\n" * 1000,
        b"PK\3\4" + bytes(1000),
        *(compress(b"hello" * 999, how) for how in ("gzip", "zstd", "xz")),
    ]
    for data, what in (empty, *((data, says) for data in none)):
        path.write_bytes(data)
        for words in (["load", "-i", str(path)], ["inspect", f"docker-archive:{path}"]):
            done = wherry(*words)
            assert done.returncode == 1
            assert done.stderr.startswith(f"wherry: {path}: {what}")


@pytest.mark.parametrize("how", ["none", "gzip"])
def test_a_tar_of_a_file_system_is_not_an_archive(client: Client, tmp_path: Path, how: str) -> None:
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "usr/share/package.json": b'{"a": "file like others"}',
        "usr/lib/index.json": b"[]",
        **{f"usr/bin/{number}": b"\x7fELF" + bytes(999) for number in range(30)},
    }
    few = dict(list(files.items())[:5])
    for number, (chosen, early) in enumerate([(few, False), (files, True)]):
        path = tmp_path / f"file{number}"
        # Bytes behind the first files are not read: they are not a tar.
        tail = compress(b"!" * 2**20, how) if early else b""
        data = compress(tar_layer(chosen).rstrip(b"\0"), how) if early else tar_layer(chosen)
        path.write_bytes(data + tail)
        sources: list[io.BytesIO | Path] = [io.BytesIO(data + tail)]
        for source in sources + ([] if early and how == "none" else [path]):
            events: list[wherry.Event] = []
            with pytest.raises(StoreError, match="is not an image archive") as caught:
                client.load(source, on_event=events.append)
            assert "`wherry import`" in caught.value.hint
            assert events == []
    assert not any(path.is_file() for path in (tmp_path / "store" / "blobs").rglob("*"))


@pytest.mark.parametrize("piped", [False, True])
def test_a_tar_of_a_file_system_with_links_is_not_unsafe(
    client: Client, tmp_path: Path, *, piped: bool
) -> None:
    cases: list[tuple[dict[str, Any], type[WherryError]]] = [
        ({"etc/passwd": b"", "etc/mtab": link("/proc/mounts")}, StoreError),
        ({"etc/passwd": b"", "0/layer.tar": link("/etc/passwd")}, UnsafeArchive),
        ({"oci-layout": b"{}", "etc/mtab": link("/proc/mounts")}, UnsafeArchive),
        ({"etc/passwd": b"", "../passwd": b""}, UnsafeArchive),
    ]
    for files, error in cases:
        data = tar_layer(files)
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(
            error, match="is not an image archive" if error is StoreError else "outside"
        ):
            client.load(io.BytesIO(data) if piped else tmp_path / "file")


def test_layers_after_their_documents_may_have_any_name(client: Client, tmp_path: Path) -> None:
    files = docker_files(IMAGE, TARS, ["app:1"])
    entry = json.loads(files.pop("manifest.json"))
    config = {"config": files.pop(entry[0]["Config"])}
    entry[0] |= {"Config": "config", "Layers": ["base", "a/b/c", "top"]}
    layers = dict(zip(entry[0]["Layers"], TARS, strict=True))
    manifest = {"manifest.json": json.dumps(entry).encode()}
    (loaded,) = client.load(io.BytesIO(tar_layer({**manifest, **config, **layers})))
    client.store.remove(loaded.id)
    data = tar_layer({**layers, **config, **manifest})
    with pytest.raises(Unsupported, match="base comes before the document that names it"):
        client.load(io.BytesIO(data))
    (tmp_path / "archive").write_bytes(data)
    assert client.load(tmp_path / "archive")[0].id == loaded.id


@pytest.mark.parametrize(
    "called",
    [
        "{}.tar",  # podman, skopeo
        "{}/layer.tar",  # docker
        "{}.tar.gz",  # ko, jib, bazel
        "sha256:{}.tar.gz",
        "blobs/sha256/{}",
        "{}",
        "./{}/layer.tar",
        "layer-1.tar.zst",
    ],
)
def test_layers_before_their_documents(client: Client, called: str) -> None:
    image = build_image(TARS[1:2], style="docker")
    layer = called.format(IMAGE.layers[0].digest[7:])
    entry = {"Config": "config.json", "RepoTags": ["app:1"], "Layers": [layer]}
    files = {layer: TARS[1], "config.json": image.config.data}
    files["manifest.json"] = json.dumps([entry]).encode()
    (loaded,) = client.load(io.BytesIO(tar_layer(files)))
    assert str(loaded.id) == image.id


def test_a_damaged_tar_is_an_archive(wherry: Wherry, tmp_path: Path) -> None:
    data = tar_layer(layout_files({"app:1": IMAGE}))
    path = tmp_path / "file"
    second = data.index(b"ustar", 512)
    for damaged, says in (
        (b"!" + data[1:], "the archive is damaged: no tar header at byte 0 "),
        (data[:300], "the archive is damaged: it is cut off at byte 300"),
        (data[: second - 200] + b"!" + data[second - 199 :], "the archive is damaged: no tar head"),
        (data[: second + 9], "the archive is damaged: it is cut off at byte"),
    ):
        for how in ("none", "gzip"):
            path.write_bytes(compress(damaged, how))
            for words in (["load", "-i", str(path)], ["inspect", f"oci-archive:{path}"]):
                done = wherry(*words)
                assert done.returncode == 5
                assert done.stderr.startswith(f"wherry: {path}: {says}")
