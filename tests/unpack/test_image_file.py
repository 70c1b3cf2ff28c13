"""Reading files of an unpacked tree that an image may have prepared."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from wherry.errors import UnsafeArchive, Unsupported
from wherry.unpack.image_file import MAX_READ, located, read_file, resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"of the host")
    directory = tmp_path / "root"
    (directory / "etc").mkdir(parents=True)
    (directory / "secret").write_bytes(b"of the image")
    return directory


def read(root: Path, path: str = "/etc/passwd") -> bytes:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        return read_file(descriptor, path)
    finally:
        assert open_below(root) == [str(root)]
        os.close(descriptor)


def open_below(root: Path) -> list[str]:
    """Return the paths at or below a directory that this process has open."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed by another thread
            found.append(str(each.readlink()))
    return [each for each in found if each.startswith(str(root))]


def link(root: Path, target: str) -> None:
    (root / "etc" / "passwd").symlink_to(target)


def test_a_file_and_none(root: Path) -> None:
    assert read(root) == b""
    assert read(root, "/none/passwd") == b""
    assert read(root, "/secret/passwd") == b""
    assert read(root, "/" + "n" * 300) == b""
    (root / "etc" / "passwd").write_bytes(b"text")
    assert read(root) == b"text"


@pytest.mark.parametrize(
    "target",
    [
        "/secret",
        "../secret",
        "../../secret",
        "../../../../../../../../../secret",
        "/../secret",
        "/etc/../secret",
        "./.././/secret",
    ],
)
def test_links_stay_in_the_image(root: Path, target: str) -> None:
    link(root, target)
    assert read(root) == b"of the image"


def test_links_to_directories(root: Path, tmp_path: Path) -> None:
    (root / "up").symlink_to("..")
    link(root, "../up/up/secret")
    assert read(root) == b"of the image"
    (root / "host").symlink_to(tmp_path)
    assert read(root, "/host/secret") == b""


def test_a_link_to_a_process_is_one_of_the_image(root: Path) -> None:
    link(root, "/proc/self/environ")
    assert read(root) == b""


def test_links_in_a_circle(root: Path) -> None:
    link(root, "passwd")
    with pytest.raises(UnsafeArchive, match="more than 40 links") as caught:
        read(root)
    assert caught.value.member == "/etc/passwd"


def test_a_link_of_many_parts(root: Path) -> None:
    link(root, "../etc/" * 580 + "../secret")
    assert read(root) == b"of the image"


def test_a_deep_path(root: Path) -> None:
    (root / Path(*("d" * 200))).mkdir(parents=True)
    with pytest.raises(UnsafeArchive, match="128 levels"):
        read(root, "/d" * 200)


def test_what_is_no_file(root: Path) -> None:
    path = root / "etc" / "passwd"
    os.mkfifo(path)
    with pytest.raises(UnsafeArchive, match="not a regular file"):
        read(root)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnsafeArchive, match="not a regular file"):
        read(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_its_owner_may_not_read(root: Path) -> None:
    path = root / "etc" / "passwd"
    path.touch(mode=0)
    with pytest.raises(Unsupported, match="/etc/passwd: its owner may not read it"):
        read(root)


def test_a_large_file(root: Path) -> None:
    path = root / "etc" / "passwd"
    path.touch()
    os.truncate(path, MAX_READ)
    assert len(read(root)) == MAX_READ
    os.truncate(path, 2**40)
    with pytest.raises(UnsafeArchive, match="more than 4 MiB"):
        read(root)


def test_the_root_itself(root: Path) -> None:
    descriptor = os.open(root, os.O_RDONLY)
    with located(descriptor, "/etc/../..") as found:
        assert found == descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/etc", "/etc"),
        ("/link", "/proc"),
        ("/link/x/../y", "/proc/y"),
        ("/up/up/etc/none", "/etc/none"),
        ("/up", "/"),
        ("/secret/x", "/secret/x"),
        ("/none/../../link", "/link"),
    ],
)
def test_paths_without_links(root: Path, path: str, found: str) -> None:
    (root / "link").symlink_to("/etc/../proc")
    (root / "up").symlink_to("../..")
    descriptor = os.open(root, os.O_RDONLY)
    assert resolve(descriptor, path) == found
    os.close(descriptor)
