"""Saves that fail: the target stays as it was."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry
from saved_images import FORMATS, IMAGE, OTHER, TARS
from wherry.errors import Cancelled, IntegrityError, NotFound, StoreError, Unsupported
from wherry.image_store import local_store
from wherry.ops.listing import Filters, list_rows
from wherry.testing import FakeRegistry, build_image, layout_files, sha256, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry import Client, Store
    from wherry.ops.save_options import Format


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An image in the store."""
    fake.add_image("app", IMAGE, "v1")
    client.pull(f"{fake.host}/app:v1")
    return f"{fake.host}/app:v1"


@pytest.mark.parametrize("form", FORMATS)
def test_a_failed_save_leaves_the_old_file(
    client: Client, name: str, tmp_path: Path, form: Format
) -> None:
    blob = client.store.path / "blobs" / "sha256" / IMAGE.layers[2].digest[7:]
    blob.chmod(0o644)
    blob.write_bytes(b"rot" + blob.read_bytes()[3:])
    place = tmp_path / "place"
    place.mkdir()
    target = place / "saved"
    if form not in {"oci", "dir"}:
        target.write_bytes(b"before")
    with pytest.raises(IntegrityError):
        client.save(name, target, format=form)
    assert [path.name for path in place.iterdir()] == (["saved"] if target.exists() else [])
    assert not target.exists() or target.read_bytes() == b"before"


def test_a_damaged_layer_is_not_saved(client: Client, name: str, tmp_path: Path) -> None:
    for layer, says in ((0, "gzip"), (1, "zstd")):
        blob = client.store.path / "blobs" / "sha256" / IMAGE.layers[layer].digest[7:]
        before = blob.read_bytes()
        blob.chmod(0o644)
        blob.write_bytes(before[:-1])
        for form in FORMATS:
            with pytest.raises(IntegrityError, match="the store's copy is damaged") as caught:
                client.save(name, tmp_path / says, format=form)
            assert str(caught.value).startswith(IMAGE.layers[layer].digest)
            assert "wherry fsck --repair" in caught.value.hint
        blob.write_bytes(before)
    client.save(name, tmp_path / "saved")


def test_an_image_that_is_removed_meanwhile_is_saved_whole(
    client: Client, name: str, tmp_path: Path, stores: Iterator[Store]
) -> None:
    removed: list[int] = []

    def remove(event: wherry.Event) -> None:
        if event.status is wherry.Status.SAVED and not removed:
            for each in client.store.get(name).names:
                client.store.untag(each)
            removed.append(len(client.store.gc().digests))

    client.save(name, tmp_path / "saved", on_event=remove)
    assert removed
    assert not [row for row in list_rows(local_store(client.store), Filters()) if row.name]
    assert str(client.load(tmp_path / "saved", store=next(stores))[0].id) == IMAGE.id
    assert client.store.gc().digests


def test_directories_are_not_written_over(client: Client, name: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    client.save(name, tmp_path / "there", format="oci")  # empty
    with pytest.raises(StoreError, match="already exists"):
        client.save(name, tmp_path / "there", format="oci")
    with pytest.raises(StoreError, match="is a directory, a file is expected") as caught:
        client.save(name, tmp_path / "there")
    assert "--format oci" in caught.value.hint
    with pytest.raises(NotFound, match="no such directory"):
        client.save(name, tmp_path / "nowhere" / "file")
    with pytest.raises(NotFound):
        client.save("store:nothing", tmp_path / "file")


def test_a_link_is_followed_and_a_fifo_is_written_to(
    client: Client, name: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("target")
    client.save(name, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    client.save(name, tmp_path / "fifo")
    reader.join(30)
    assert got == [(tmp_path / "target").read_bytes()]


def test_a_link_to_a_pipe_without_a_path_is_followed(
    client: Client, name: str, tmp_path: Path
) -> None:
    """/dev/stdout may be such a link."""
    reading, writing = os.pipe()
    got: list[bytes] = []
    with os.fdopen(reading, "rb") as pipe:
        reader = threading.Thread(target=lambda: got.append(pipe.read()))
        reader.start()
        with os.fdopen(writing, "wb"):
            client.save(name, Path(f"/proc/self/fd/{writing}"))
        reader.join(30)
    client.save(name, tmp_path / "file")
    assert got == [(tmp_path / "file").read_bytes()]


def test_cancelling(client: Client, name: str, tmp_path: Path) -> None:
    token = wherry.CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        client.save(name, tmp_path / "saved", cancel=token)
    client.save(name, tmp_path / "saved")
    for source in (tmp_path / "saved", io.BytesIO((tmp_path / "saved").read_bytes())):
        with pytest.raises(Cancelled):
            client.load(source, cancel=token)


def test_images_that_cannot_be_saved(
    client: Client, name: str, tmp_path: Path, fake: FakeRegistry
) -> None:
    fake.add_image("other", OTHER, "v1")
    client.pull(f"{fake.host}/other:v1")
    with pytest.raises(Unsupported, match="holds only one image"):
        client.save([name, f"{fake.host}/other:v1"], tmp_path / "x", format="dir")
    with (tmp_path / "file").open("wb") as file, pytest.raises(Unsupported, match="directory"):
        client.save(name, file, format="oci")


def test_a_terminal_gets_no_archive(name: str, environment: dict[str, str]) -> None:
    import pty

    controller, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "save", name],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
        timeout=60,
    )
    os.close(terminal)
    os.close(controller)
    assert done.returncode == 2
    assert b"cannot write an archive to a terminal" in done.stderr


def test_a_reader_that_goes_away_makes_a_failure(client: Client, name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", 0) as file, pytest.raises(StoreError, match="closed the pipe"):
        client.save(name, file)


# Layouts whose documents contradict each other


def replaced(files: Mapping[str, bytes], *blobs: tuple[str, bytes]) -> dict[str, bytes]:
    """Replace the blobs of a layout that have these digests."""
    return {**files, **{f"blobs/sha256/{digest[7:]}": data for digest, data in blobs}}


def test_a_layer_of_a_layout_has_to_be_the_one_that_the_config_means(
    client: Client, tmp_path: Path
) -> None:
    """The bytes match the digest, so the layout is not damaged."""
    image = build_image(TARS[:1], diff_ids=[sha256(b"x")])
    layout = write_files(tmp_path / "layout", layout_files({"v1": image}))
    with pytest.raises(IntegrityError, match="does not match its DiffID") as caught:
        client.save(f"oci:{layout}", tmp_path / "saved.tar")
    assert str(caught.value).startswith(f"{layout}: layer {image.layers[0].digest}: ")
    assert caught.value.hint == ""
    assert not (tmp_path / "saved.tar").exists()


def test_layers_and_diff_ids_must_have_the_same_number(client: Client, tmp_path: Path) -> None:
    config = json.loads(IMAGE.config.data)
    config["rootfs"]["diff_ids"].pop()
    short = json.dumps(config).encode()
    raw = IMAGE.manifest.data.replace(IMAGE.config.digest.encode(), sha256(short).encode())
    raw = raw.replace(b'"size":%d' % len(IMAGE.config.data), b'"size":%d' % len(short))
    files = replaced(layout_files({"v1": IMAGE}), (sha256(short), short), (sha256(raw), raw))
    index = json.loads(files["index.json"])
    index["manifests"][0] |= {"digest": sha256(raw), "size": len(raw)}
    files["index.json"] = json.dumps(index).encode()
    layout = write_files(tmp_path / "layout", files)
    with pytest.raises(IntegrityError, match="3 layers, 2 DiffIDs"):
        client.save(f"oci:{layout}", tmp_path / "saved.tar")
