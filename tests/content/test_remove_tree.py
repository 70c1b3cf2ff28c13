"""Trees that are removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wherry.content.remove_tree import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_tree_is_removed_with_all_kinds_of_files(tmp_path: Path, parent: int) -> None:
    tree = tmp_path / "tree"
    for name in ("a/b/c", "a/d", "e"):
        (tree / name).mkdir(parents=True)
        (tree / name / "file").write_text("x", encoding="utf-8")
    os.mkfifo(tree / "a/pipe")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tree / "a/link").symlink_to(outside)
    (tree / "e").chmod(0)
    remove_tree("tree", parent)
    assert [each.name for each in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").exists()


def test_depth_takes_neither_stack_nor_descriptors(tmp_path: Path, parent: int) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree("d", parent)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_no_tree(tmp_path: Path, parent: int) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(NotADirectoryError):
        remove_tree("link", parent)
    assert (tmp_path / "target").is_dir()
