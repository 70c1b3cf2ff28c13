"""Directories that change while they are imported; no outside file enters the image."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from wherry.errors import StoreError
from wherry.ops.directory_tar import DirectoryTar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Wherry

SECRET = b"root:$y$j9T$secret-of-the-victim:19000:0:::\n"
LARGE = 4 * 2**20  # bytes: more than a pipe holds, so the packer waits in this file
ROUNDS = 150  # imports while names are swapped

SWAPPING = """
import contextlib, os, sys, time
os.chdir(sys.argv[1])
secret, elsewhere = sys.argv[2:]
print("ready", flush=True)
ends = time.monotonic() + 60
while time.monotonic() < ends:
    for name, target in (("file", secret), ("directory", elsewhere), ("deep/directory", elsewhere)):
        os.rename(name, name + ".aside")
        os.symlink(target, name)
        os.unlink(name)
        os.link(secret, name) if name == "file" else os.mkdir(name)
        os.unlink(name) if name == "file" else os.rmdir(name)
        os.mkfifo(name)
        os.unlink(name)
        os.rename(name + ".aside", name)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for directory in (root / "directory", root / "deep" / "directory"):
        directory.mkdir(parents=True)
        (directory / "passwd").write_bytes(b"of the tree")
    (root / "file").write_bytes(b"of the tree")
    return root


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    (directory / "passwd").write_bytes(SECRET)
    return directory


def pack(root: Path, meanwhile: Callable[[], object] = lambda: None) -> bytes:
    """Pack a directory; call `meanwhile` after the first bytes."""
    found, buffer = bytearray(), bytearray(16 * 1024)
    with DirectoryTar(root) as packing:
        while count := packing.readinto(buffer):
            if not found:
                meanwhile()
            found += buffer[:count]
    return bytes(found)


@pytest.fixture
def swapped(tree: Path, elsewhere: Path) -> Iterator[None]:
    command = [sys.executable, "-c", SWAPPING, str(tree), str(elsewhere / "passwd")]
    with subprocess.Popen([*command, str(elsewhere)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        assert process.poll() is None, "the swapping has ended too soon"
        process.kill()


def test_names_that_are_swapped_all_the_time(tree: Path, swapped: None) -> None:
    """A hard link that exists when the directory is listed is one of its files."""
    assert swapped is None
    refusals: list[str] = []
    for _ in range(ROUNDS):
        try:
            packed = pack(tree)
        except StoreError as error:
            refusals.append(str(error))
            continue
        with tarfile.open(fileobj=BytesIO(packed)) as tar:
            for member in tar:
                if member.isfile() and not member.name.startswith("file"):
                    content = tar.extractfile(member)
                    assert content is not None
                    assert content.read() == b"of the tree"
    assert refusals
    assert all("changed while it was read" in refusal for refusal in refusals)


CHANGES: dict[str, Callable[[Path], object]] = {
    "grows": lambda file: file.write_bytes(bytes(LARGE + 1)),
    "is cut off": lambda file: os.truncate(file, 10),
    "is written over": lambda file: file.open("r+b").write(b"x"),
    "grows at its end": lambda file: os.truncate(file, 2 * LARGE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read(tree: Path, change: str) -> None:
    large = tree / "a-large-file"
    large.write_bytes(bytes(LARGE))
    with pytest.raises(StoreError, match="a-large-file: changed while it was read"):
        pack(tree, lambda: CHANGES[change](large))


@pytest.mark.parametrize("target", ["passwd", ""])
def test_a_name_that_becomes_a_link_is_packed_as_a_link(
    tree: Path, elsewhere: Path, target: str
) -> None:
    """The packer lists names first, and opens each file later."""
    (tree / "a-large-file").write_bytes(bytes(LARGE))

    def swap() -> None:
        (tree / "file").unlink()
        (tree / "file").symlink_to(elsewhere / target)

    packed = pack(tree, swap)
    assert SECRET not in packed
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        assert tar.getmember("file").issym()


def test_a_directory_that_is_moved_away_on_the_way_down(tree: Path, elsewhere: Path) -> None:
    """Above the levels that are kept open, the packer returns by ".."."""
    top = tree / "b"
    deepest = top
    for _ in range(100):
        deepest /= "d"
    deepest.mkdir(parents=True)
    (deepest / "a-large-file").write_bytes(bytes(LARGE))
    moved = top / "d" / "d"

    with pytest.raises(StoreError, match="changed while it was read"):
        pack(tree, lambda: moved.rename(elsewhere / "moved"))


def test_a_deep_tree_needs_few_descriptors(tree: Path, wherry: Wherry) -> None:
    deepest = tree
    for _ in range(600):
        deepest /= "d"
    deepest.mkdir(parents=True)
    (deepest / "file").write_bytes(b"at the bottom")
    limited = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh", sys.executable, "-m", "wherry"]
    result = subprocess.run(
        [*limited, "import", str(tree), "deep:1"],
        env=wherry.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == 0


def test_a_change_is_told_in_one_line(tree: Path, wherry: Wherry) -> None:
    large = tree / "growing"
    large.write_bytes(bytes(64 * 2**20))
    stop = threading.Event()

    def grow() -> None:
        with large.open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b"x")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        result = wherry("import", str(tree), "changing:1")
    finally:
        stop.set()
        thread.join()
    assert result.returncode == 1
    first, hint = result.stderr.splitlines()
    assert first == f"wherry: {tree}/growing: changed while it was read"
    assert hint.startswith("  import a copy")
    assert "changing" not in wherry("images").stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tree: Path, wherry: Wherry) -> None:
    (tree / "closed").touch(mode=0)
    result = wherry("import", str(tree), "closed:1")
    assert result.stderr == f"wherry: {tree}/closed: Permission denied\n"
