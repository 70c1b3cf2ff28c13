"""Writing to flat directories: new ones, and ones that hold another image."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sink_images import ONE, TWO, copy_to, descriptor_of, open_sink, put, put_image, tree
from wherry.content.cancel import CancelToken
from wherry.errors import NotFound, StoreError, UnsafeArchive, Unsupported
from wherry.model.digest import Digest
from wherry.testing import build_index, flat_files, write_files

if TYPE_CHECKING:
    from pathlib import Path

AMD64 = {"os": "linux", "architecture": "amd64"}
INDEX = build_index([(ONE, AMD64), (TWO, {"os": "linux", "architecture": "arm64"})])


class Broken(Exception):
    """What ends a copy in these tests."""


def test_a_new_directory_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "flat"
    with open_sink(f"dir:{path}") as sink:
        sink.name("", put_image(sink, ONE))
        assert not path.exists()
        assert sink.resolve("") == sink.resolve(ONE.digest) == ONE.digest
    assert tree(path) == flat_files(ONE)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_failed_copy(tmp_path: Path) -> None:
    path = tmp_path / "flat"
    with pytest.raises(Broken), open_sink(f"dir:{path}") as sink:  # noqa: PT012 - it fails
        sink.name("", put_image(sink, ONE))
        raise Broken
    assert list(tmp_path.iterdir()) == []
    path.mkdir()
    with pytest.raises(Broken), open_sink(f"dir:{path}") as sink:  # noqa: PT012 - it fails
        sink.name("", put_image(sink, ONE))
        raise Broken
    assert list(path.iterdir()) == []


def test_an_index(tmp_path: Path) -> None:
    with open_sink(f"dir:{tmp_path}") as sink:
        for image in (ONE, TWO):
            put_image(sink, image)
        root = descriptor_of(INDEX.index)
        children = [(Digest.parse(image.digest), True) for image in (ONE, TWO)]
        sink.put_document(root, INDEX.index.data, children, CancelToken())
        sink.name("", root)
    assert tree(tmp_path) == flat_files(INDEX)


def test_another_image_is_replaced(tmp_path: Path) -> None:
    more = {"signature-1": b"s", f"{'0' * 64}.tar": b"", f"{'1' * 64}.signature-2": b"s"}
    write_files(tmp_path, flat_files(INDEX) | more)
    with open_sink(f"dir:{tmp_path}") as sink:
        assert sink.resolve("") == INDEX.digest
        assert sink.has(descriptor_of(ONE.layers[0]))
        sink.name("", put_image(sink, ONE))
        assert set(tree(tmp_path)) > set(flat_files(INDEX) | more) - {"manifest.json"}
    assert tree(tmp_path) == flat_files(ONE)


def test_the_same_image_again(tmp_path: Path) -> None:
    write_files(tmp_path, flat_files(ONE))
    copy_to(f"dir:{tmp_path}", ONE)
    assert tree(tmp_path) == flat_files(ONE)
    with open_sink(f"dir:{tmp_path}") as sink:
        sink.name("", descriptor_of(ONE.manifest))  # as a plan does that finds it there
    assert tree(tmp_path) == flat_files(ONE)


def test_a_failed_copy_leaves_the_other_image(tmp_path: Path) -> None:
    write_files(tmp_path, flat_files(ONE))
    with pytest.raises(Broken), open_sink(f"dir:{tmp_path}") as sink:  # noqa: PT012 - it fails
        sink.name("", put_image(sink, TWO))
        raise Broken
    assert tree(tmp_path) == flat_files(ONE)
    with open_sink(f"dir:{tmp_path}") as sink:
        put_image(sink, TWO)  # without `name`
    assert tree(tmp_path) == flat_files(ONE)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    write_files(tmp_path, flat_files(ONE))
    with open_sink(f"dir:{tmp_path}") as first, open_sink(f"dir:{tmp_path}") as second:
        first.name("", put_image(first, TWO))
        with pytest.raises(StoreError, match="another process is writing to it"):
            put(second, ONE.config)
    assert tree(tmp_path) == flat_files(TWO)


def test_an_image_that_another_process_writes_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(Broken), open_sink(f"dir:{tmp_path}") as sink:  # noqa: PT012 - it fails
        copy_to(f"dir:{tmp_path}", TWO)
        put_image(sink, TWO)
        raise Broken
    assert tree(tmp_path) == flat_files(TWO)
    with pytest.raises(StoreError, match="with other files"), open_sink(f"dir:{tmp_path}") as sink:  # noqa: PT012
        (tmp_path / "notes.txt").write_bytes(b"mine")
        put_image(sink, ONE)


def test_a_directory_that_another_process_makes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "flat"
    with pytest.raises(StoreError, match="meanwhile"), open_sink(f"dir:{path}") as sink:  # noqa: PT012
        sink.name("", put_image(sink, ONE))
        write_files(path, flat_files(TWO))
    assert tree(path) == flat_files(TWO)
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal
from sink_images import *
with open_sink(os.environ["TARGET"]) as sink:
    put_image(sink, TWO)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["new", "empty", "image"])
def test_a_copy_after_one_that_was_killed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "flat"
    if kind != "new":
        path.mkdir()
    if kind == "image":
        write_files(path, flat_files(ONE))
    helpers = os.path.dirname(sys.modules["sink_images"].__file__ or "")  # noqa: PTH120 - a string
    environment = os.environ | {"TARGET": f"dir:{path}", "PYTHONPATH": helpers}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False, timeout=60)
    assert done.returncode == -9
    if kind == "image":
        assert (path / "manifest.json").read_bytes() == ONE.manifest.data
    copy_to(f"dir:{path}", ONE)
    assert tree(path) == flat_files(ONE)
    assert list(tmp_path.iterdir()) == [path]


def test_other_things_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    write_files(tmp_path / "more", flat_files(ONE) | {"notes.txt": b"mine"})
    write_files(tmp_path / "hashes", {"0" * 64: b"mine"})
    (tmp_path / "folders" / "0").mkdir(parents=True)
    for name, kind, says in (
        ("file", StoreError, "a directory is expected"),
        ("more", StoreError, "with other files than those of an image, such as notes.txt"),
        ("hashes", StoreError, "there is no version in it"),
        ("folders", StoreError, "with other files"),
        ("nowhere/flat", NotFound, "no such directory"),
    ):
        before = tree(tmp_path)
        with pytest.raises(kind, match=says) as caught:
            open_sink(f"dir:{tmp_path}/{name}")
        assert str(tmp_path) in str(caught.value)
        assert tree(tmp_path) == before


def test_a_damaged_manifest_is_replaced(tmp_path: Path) -> None:
    write_files(tmp_path, flat_files(ONE) | {"manifest.json": b"{"})
    with open_sink(f"dir:{tmp_path}") as sink:
        assert sink.resolve("") is None
        sink.name("", put_image(sink, TWO))
    assert tree(tmp_path) == flat_files(TWO)


@pytest.mark.parametrize("link", ["manifest.json", "version"])
def test_links_are_not_followed(tmp_path: Path, link: str) -> None:
    path, outside = tmp_path / "flat", tmp_path / "outside"
    write_files(path, flat_files(ONE))
    (path / link).rename(outside)
    (path / link).symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(UnsafeArchive, match="is a link"), open_sink(f"dir:{path}") as sink:
        sink.resolve("")
    assert outside.read_bytes() == before


def test_a_directory_has_no_names(tmp_path: Path) -> None:
    with (
        pytest.raises(Unsupported, match="cannot hold a name"),
        open_sink(f"dir:{tmp_path}") as sink,
    ):
        sink.name("app:1", put_image(sink, ONE))
    assert list(tmp_path.iterdir()) == []
