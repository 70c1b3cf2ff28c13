"""Writing to OCI layouts: new ones and existing ones, by several writers, with bad input."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sink_images import (
    ONE,
    TWO,
    copy_to,
    descriptor_of,
    open_sink,
    put,
    put_image,
    tree,
)
from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Busy, Opened
from wherry.content.streams import blob_of
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    NotFound,
    StoreError,
    UnsafeArchive,
    Unsupported,
)
from wherry.model.digest import Digest
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_schema1,
    layout_files,
    make_key,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


class Broken(Exception):
    """What ends a copy in these tests."""


def entries(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((path / "index.json").read_bytes())["manifests"]
    return found


def names(path: Path) -> dict[str, str]:
    """Return the digests in a layout by their names."""
    return {
        entry["annotations"][REF_NAME]: entry["digest"]
        for entry in entries(path)
        if "annotations" in entry
    }


def whole(path: Path) -> None:
    """Check that all blobs match their names, and that no other file is left."""
    for file in path.rglob("*"):
        if file.is_file() and file.parent.name == "sha256":
            assert Digest.of(file.read_bytes()).hex == file.name
        elif file.is_file():
            assert file.name in {"oci-layout", "index.json"}


def test_a_new_layout_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    with open_sink(f"oci:{path}") as sink:
        root = put_image(sink, ONE)
        sink.name("v1", root)
        assert not path.exists()
    assert tree(path) == layout_files({"v1": ONE})
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_failed_copy(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    with pytest.raises(Broken), open_sink(f"oci:{path}") as sink:  # noqa: PT012 - the block fails
        sink.name("v1", put_image(sink, ONE))
        raise Broken
    with open_sink(f"oci:{path}") as sink:
        put_image(sink, ONE)  # without a name
    with open_sink(f"oci:{path}") as sink:
        assert sink.resolve("v1") is None
        assert not sink.has(descriptor_of(ONE.config))
    assert list(tmp_path.iterdir()) == []


def test_adding_to_a_layout(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    copy_to(f"oci:{path}", ONE, "t1")
    copy_to(f"oci:{path}", TWO, "t2", "ghcr.io/team/app:1")
    assert names(path) == {"t1": ONE.digest, "t2": TWO.digest, "ghcr.io/team/app:1": TWO.digest}
    assert entries(path)[2]["annotations"][IMAGE_NAME] == "ghcr.io/team/app:1"
    whole(path)


def test_a_layout_of_other_tools_keeps_what_it_has(tmp_path: Path) -> None:
    path = write_files(tmp_path / "layout", layout_files({"t1": ONE}))
    index = json.loads((path / "index.json").read_bytes())
    foreign = {
        "mediaType": "application/x",
        "digest": "sha256:" + "0" * 64,
        "size": 3,
        "x": [1.5, 10**30],
    }
    index |= {"annotations": {"of": "the index"}, "more": 1}
    index["manifests"] = [foreign, "odd", *index["manifests"]]
    (path / "index.json").write_text(json.dumps(index))
    copy_to(f"oci:{path}", TWO, "t2")
    after = json.loads((path / "index.json").read_bytes())
    added = after["manifests"].pop()
    assert (added["digest"], added["annotations"]) == (TWO.digest, {REF_NAME: "t2"})
    assert after == index


@pytest.mark.parametrize("missing", [{}, {"index.json": b'{"schemaVersion":2,"manifests":null}'}])
def test_a_layout_without_images(tmp_path: Path, missing: dict[str, bytes]) -> None:
    """As `umoci init` and interrupted tools leave them."""
    path = write_files(
        tmp_path / "layout", {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'} | missing
    )
    copy_to(f"oci:{path}", ONE, "t1")
    assert names(path) == {"t1": ONE.digest}


def test_an_empty_directory_becomes_a_layout(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    assert tree(tmp_path) == layout_files({"t1": ONE})


def test_a_copy_into_an_empty_directory_goes_on_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Broken), open_sink(f"oci:{tmp_path}") as sink:  # noqa: PT012 - it fails
        put(sink, ONE.config)
        raise Broken
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]
    with open_sink(f"oci:{tmp_path}") as sink:
        assert sink.has(descriptor_of(ONE.config))
        sink.name("t1", put_image(sink, ONE))
    assert tree(tmp_path) == layout_files({"t1": ONE})


def test_a_failed_copy_leaves_the_names(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    before = tree(tmp_path)
    with pytest.raises(Broken), open_sink(f"oci:{tmp_path}") as sink:  # noqa: PT012 - it fails
        sink.name("t1", put_image(sink, TWO))
        raise Broken
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    whole(tmp_path)


# Names


def test_a_name_moves_and_its_old_root_stays(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    copy_to(f"oci:{tmp_path}", TWO, "t1")
    assert [entry["digest"] for entry in entries(tmp_path)] == [ONE.digest, TWO.digest]
    assert "annotations" not in entries(tmp_path)[0]
    copy_to(f"oci:{tmp_path}", ONE, "t1")  # and back: the entry without a name gets it
    assert [entry.get("annotations") for entry in entries(tmp_path)] == [{REF_NAME: "t1"}, None]


def test_a_whole_name_moves_with_the_tag_beside_it(tmp_path: Path) -> None:
    noted = {IMAGE_NAME: "docker.io/library/app:1", REF_NAME: "1", "other": "stays"}
    write_files(tmp_path, layout_files({"": ONE}))
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"][0]["annotations"] = noted
    (tmp_path / "index.json").write_text(json.dumps(index))
    copy_to(f"oci:{tmp_path}", TWO, "docker.io/library/app:1")
    assert entries(tmp_path)[0]["annotations"] == {"other": "stays"}
    assert set(entries(tmp_path)[1]["annotations"].values()) == {"docker.io/library/app:1"}


def test_a_root_without_a_name_is_listed_once(tmp_path: Path) -> None:
    for _ in range(2):
        copy_to(f"oci:{tmp_path}", ONE)
    assert [entry["digest"] for entry in entries(tmp_path)] == [ONE.digest]
    before = (tmp_path / "index.json").stat()
    copy_to(f"oci:{tmp_path}", ONE)
    assert os.path.samestat((tmp_path / "index.json").stat(), before)


def test_what_names_stand_for(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    with open_sink(f"oci:{tmp_path}") as sink:
        assert sink.resolve("") == sink.resolve("t1") == sink.resolve(ONE.digest) == ONE.digest
        assert sink.resolve("t2") is None
        assert sink.resolve(TWO.digest) is None
    copy_to(f"oci:{tmp_path}", TWO, "t2")
    with open_sink(f"oci:{tmp_path}") as sink:
        assert sink.resolve("") is None  # there are two


@pytest.mark.parametrize("name", ["a b", "-x", "app/UPPER:1", "app@sha256:1", "a:b:c", "\n"])
def test_names_that_a_layout_cannot_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidReference), open_sink(f"oci:{tmp_path / 'layout'}") as sink:
        sink.name(name, put_image(sink, ONE))
    assert list(tmp_path.iterdir()) == []


def test_an_address_by_digest_is_no_destination(tmp_path: Path) -> None:
    for address in (f"oci:{tmp_path}:@{ONE.digest}", f"docker-archive:{tmp_path}:@0"):
        with pytest.raises(InvalidReference, match="neither a digest nor a position"):
            open_sink(address)


# Docker's formats, which other tools do not read in layouts

DOCKER = build_image([tar_layer({"a": b"b"})], style="docker")


def test_a_docker_image_is_listed_in_oci_format(tmp_path: Path, client: Client) -> None:
    with FakeRegistry() as registry:
        registry.add_image("app", DOCKER, "1")
        client.pull(f"{registry.host}/app:1")
        name = f"{registry.host}/app:1"
    client.save(name, tmp_path / "saved", format="oci")
    copy_to(f"oci:{tmp_path}/copied", DOCKER, name)
    assert tree(tmp_path / "copied") == tree(tmp_path / "saved")
    with open_sink(f"oci:{tmp_path}/copied") as sink:
        assert sink.resolve(name) == sink.resolve("") == DOCKER.digest
    before = tree(tmp_path / "copied")
    copy_to(f"oci:{tmp_path}/copied", DOCKER, name)
    assert tree(tmp_path / "copied") == before


def test_an_entry_that_lies_about_its_origin(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", DOCKER, "t1")
    copy_to(f"oci:{tmp_path}", ONE, "t2")
    index = json.loads((tmp_path / "index.json").read_bytes())
    for lie in (DOCKER.digest, TWO.digest, "sha256:x", 7):
        index["manifests"][1]["annotations"]["wherry.original"] = lie
        (tmp_path / "index.json").write_text(json.dumps(index))
        with open_sink(f"oci:{tmp_path}") as sink:
            assert sink.resolve("t2") in {ONE.digest, None}
            assert sink.resolve("t1") == DOCKER.digest


def test_the_entry_of_another_tool_learns_its_origin(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", DOCKER, "t1")
    index = json.loads((tmp_path / "index.json").read_bytes())
    del index["manifests"][0]["annotations"]["wherry.original"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    copy_to(f"oci:{tmp_path}", DOCKER, "t1")
    with open_sink(f"oci:{tmp_path}") as sink:
        assert sink.resolve("t1") == DOCKER.digest
    assert len(entries(tmp_path)) == 1


# Several writers


def add(path: str, number: int, start: Any) -> None:
    """Add an image to a layout at the same time as others do."""
    image = build_image([tar_layer({"shared": b"x"}), tar_layer({f"f{number}": b"y"})])
    start.wait(30)
    for round_ in range(3):
        copy_to(f"oci:{path}", image, f"n{number}.{round_}")


@pytest.mark.parametrize("new", [True, False], ids=["new", "existing"])
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, *, new: bool) -> None:
    path = tmp_path / "layout"
    if not new:
        write_files(path, layout_files({"before": ONE}))
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    writers = [context.Process(target=add, args=(str(path), n, start)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    expected = {f"n{number}.{round_}" for number in range(4) for round_ in range(3)}
    assert set(names(path)) == expected | (set() if new else {"before"})
    whole(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_another_writer_makes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    with open_sink(f"oci:{path}") as sink:
        sink.name("t1", put_image(sink, ONE))
        copy_to(f"oci:{path}", TWO, "t2")
    assert names(path) == {"t2": TWO.digest, "t1": ONE.digest}
    whole(path)
    other = f"oci:{path}x"
    with pytest.raises(StoreError, match="not an OCI"), open_sink(other) as sink:  # noqa: PT012
        sink.name("t1", put_image(sink, ONE))
        write_files(tmp_path / "layoutx", {"other": b"file"})
    assert tree(tmp_path / "layoutx") == {"other": b"file"}


def test_two_threads_with_the_same_blob(tmp_path: Path) -> None:
    reading, go_on = threading.Event(), threading.Event()
    descriptor = descriptor_of(ONE.config)

    def open_slowly(offset: int, _: Callable[[], bool]) -> Opened:
        reading.set()
        go_on.wait(30)
        return blob_of(descriptor, ONE.config.data).open(offset, lambda: False)

    with open_sink(f"oci:{tmp_path}") as sink:
        slow = threading.Thread(
            target=lambda: sink.put(
                Blob(descriptor, open_slowly), cancel=CancelToken(), on_bytes=lambda _: None
            )
        )
        slow.start()
        reading.wait(30)
        with pytest.raises(Busy):
            put(sink, ONE.config)
        go_on.set()
        slow.join(30)
        assert sink.has(descriptor)


KILLED = """
import os, signal
from sink_images import *
with open_sink(os.environ["TARGET"]) as sink:
    put(sink, ONE.config)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("new", [True, False], ids=["new", "existing"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, *, new: bool) -> None:
    path = tmp_path / "layout"
    if not new:
        write_files(path, layout_files({"before": TWO}))
    helpers = os.path.dirname(sys.modules["sink_images"].__file__ or "")  # noqa: PTH120 - a string
    environment = os.environ | {"TARGET": f"oci:{path}", "PYTHONPATH": helpers}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False, timeout=60)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    assert path.exists() != new
    copy_to(f"oci:{path}", ONE, "t1")
    assert list(tmp_path.iterdir()) == [path]
    assert set(names(path)) == {"t1"} | (set() if new else {"before"})
    whole(path)


# Bad directories


def test_other_things_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    write_files(tmp_path / "files", {"notes.txt": b"mine"})
    write_files(tmp_path / "old", {"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'})
    write_files(tmp_path / "bad", {"oci-layout": b"{}", "index.json": b"{}"})
    write_files(
        tmp_path / "worse", {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b"["}
    )
    for name, kind, says in (
        ("file", StoreError, "a directory is expected"),
        ("files", StoreError, "already exists, and is not an OCI layout"),
        ("nowhere/layout", NotFound, "no such directory"),
        ("old", Unsupported, "version '2.0.0' are not supported"),
        ("bad", Unsupported, "version ''"),
        ("worse", InvalidDocument, "index.json is not JSON"),
    ):
        before = tree(tmp_path)
        with pytest.raises(kind, match=says) as caught:
            open_sink(f"oci:{tmp_path}/{name}")
        assert str(tmp_path) in str(caught.value)
        assert tree(tmp_path) == before


@pytest.mark.parametrize("link", ["blobs", "blobs/sha256", "index.json", "oci-layout"])
def test_links_inside_a_layout_are_not_followed(tmp_path: Path, link: str) -> None:
    path, outside = tmp_path / "layout", tmp_path / "outside"
    write_files(path, layout_files({"before": TWO}))
    (path / link).rename(outside)
    (path / link).symlink_to(outside)
    before = tree(outside)
    with pytest.raises(UnsafeArchive, match="is a link"):
        copy_to(f"oci:{path}", ONE, "t1")
    assert tree(outside) == before


def test_a_link_in_place_of_a_blob_is_replaced(tmp_path: Path) -> None:
    path, outside = tmp_path / "layout", tmp_path / "outside"
    write_files(path, layout_files({"before": ONE}))
    blob = path / "blobs" / "sha256" / ONE.layers[0].digest[7:]
    blob.rename(outside)
    blob.symlink_to(outside)
    outside.write_bytes(b"x" * ONE.layers[0].size)
    copy_to(f"oci:{path}", ONE, "t1")
    assert not blob.is_symlink()
    assert outside.read_bytes() == b"x" * ONE.layers[0].size
    whole(path)


def test_the_path_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    copy_to(f"oci:{tmp_path}/link", ONE, "t1")
    copy_to(f"oci:{tmp_path}/link", TWO, "t2")
    assert (tmp_path / "link").is_symlink()
    assert set(names(tmp_path / "real")) == {"t1", "t2"}


@pytest.mark.parametrize("kind", ["short", "fifo", "directory"])
def test_a_damaged_blob(tmp_path: Path, kind: str) -> None:
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    blob = tmp_path / "blobs" / "sha256" / ONE.layers[1].digest[7:]
    content = blob.read_bytes()
    blob.unlink()
    if kind == "short":
        blob.write_bytes(content[:-1])
    elif kind == "fifo":
        os.mkfifo(blob)
    else:
        blob.mkdir()
        with pytest.raises(StoreError):
            copy_to(f"oci:{tmp_path}", ONE, "t1")
        return
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    assert blob.read_bytes() == content


def test_a_damaged_document_is_replaced(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    blob = tmp_path / "blobs" / "sha256" / ONE.digest[7:]
    blob.write_bytes(b"x" * ONE.manifest.size)
    copy_to(f"oci:{tmp_path}", ONE, "t1")
    whole(tmp_path)


def test_a_layout_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path = write_files(tmp_path / "layout", layout_files({"before": TWO}))
    for directory in (path, path / "blobs" / "sha256"):
        directory.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="Permission denied"):
            copy_to(f"oci:{path}", ONE, "t1")
        with pytest.raises(StoreError, match="Permission denied"):
            copy_to(f"oci:{path}/new", ONE, "t1")
    finally:
        for directory in (path, path / "blobs" / "sha256"):
            directory.chmod(0o755)


def test_content_that_does_not_match(tmp_path: Path) -> None:
    copy_to(f"oci:{tmp_path}", TWO, "t2")
    before = tree(tmp_path)
    wrong = blob_of(descriptor_of(ONE.config), ONE.config.data[:-1] + b"x")
    for broken in (wrong, wrong.replace(descriptor=wrong.descriptor._replace(size=None))):
        with pytest.raises(IntegrityError), open_sink(f"oci:{tmp_path}") as sink:
            sink.put(broken, cancel=CancelToken(), on_bytes=lambda _: None)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
def test_schema1_is_refused(tmp_path: Path, client: Client, form: str, *, signed: bool) -> None:
    keys = [("ES256", make_key("ES256"))] if signed else []
    built = build_schema1([gzip.compress(tar_layer({}))], keys=keys)
    with FakeRegistry() as registry:
        registry.add_blob(built.layers[0])
        manifest = built.manifest
        registry.add_manifest("app", manifest.data, manifest.media_type, "1", digest=built.digest)
        with pytest.raises(Unsupported, match="schema1") as caught:
            client.copy(f"{registry.host}/app:1", f"{form}:{tmp_path}/x:1")
        assert "wherry save" in caught.value.hint
        client.copy(f"{registry.host}/app:1", f"dir:{tmp_path}/flat")
    assert client.digest(f"dir:{tmp_path}/flat") == built.digest
    assert [path.name for path in tmp_path.iterdir() if path.name not in {"home", "store"}] == [
        "flat"
    ]
