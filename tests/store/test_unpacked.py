"""Unpacked layers in a store, and their removal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.errors import StoreError
from wherry.model.digest import Digest
from wherry.store.root_directory import open_store
from wherry.store.unpacked import UnpackedLayers, measure, sweep

if TYPE_CHECKING:
    from collections.abc import Callable

LAYER, OTHER = Digest.of(b"layer"), Digest.of(b"other")
UID = str(os.geteuid())


def writes(content: str) -> Callable[[int], None]:
    def write(directory: int) -> None:
        Path(f"/proc/self/fd/{directory}/file").write_text(content, encoding="utf-8")

    return write


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    root = open_store(str(tmp_path))
    layers = UnpackedLayers(root)

    def write_after_another(directory: int) -> None:
        UnpackedLayers(root).add(LAYER, "a", writes("first"))
        writes("second")(directory)

    layers.add(LAYER, "a", write_after_another)
    found = layers.open(LAYER, "a")
    assert found is not None
    assert Path(f"/proc/self/fd/{found}/file").read_text(encoding="utf-8") == "first"
    os.close(found)
    assert layers.open(LAYER, "b") is None
    assert layers.open(OTHER, "a") is None
    assert len(list((tmp_path / "unpacked" / UID).iterdir())) == 1


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    layers = UnpackedLayers(open_store(str(tmp_path)))

    def fail(directory: int) -> None:
        writes("half")(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layers.add(LAYER, "a", fail)
    assert list((tmp_path / "unpacked" / UID).iterdir()) == []


def test_only_directories_of_layers_are_removed(tmp_path: Path) -> None:
    root = open_store(str(tmp_path))
    layers = UnpackedLayers(root)
    for digest in (LAYER, OTHER):
        layers.add(digest, "a", writes("x"))
    name = f"sha256-{LAYER.hex}.a"
    outside = tmp_path / "outside" / name
    outside.mkdir(parents=True)
    own = tmp_path / "unpacked" / UID
    (tmp_path / "unpacked" / "99").symlink_to(tmp_path / "outside")
    (tmp_path / "unpacked" / "98").write_text("a file", encoding="utf-8")
    (own / f"sha256-{OTHER.hex}.b").symlink_to(tmp_path / "outside")
    (own / f"sha256-{OTHER.hex}.c").write_text("a file", encoding="utf-8")
    (own / "notes").mkdir()
    assert measure(root)[0] == 2
    assert sweep(root, {str(OTHER)}, dry_run=True)[0] == 1
    assert sweep(root, {str(OTHER)}, dry_run=False)[0] == 1
    assert sweep(root, set(), dry_run=False)[0] == 1
    assert outside.is_dir()
    assert sorted(each.name for each in own.iterdir()) == sorted(
        [f"sha256-{OTHER.hex}.b", f"sha256-{OTHER.hex}.c", "notes"]
    )


@pytest.mark.parametrize("mode", [0o750, 0o701])
def test_a_directory_that_others_can_use(tmp_path: Path, mode: int) -> None:
    root = open_store(str(tmp_path))
    UnpackedLayers(root)
    (tmp_path / "unpacked" / UID).chmod(mode)
    with pytest.raises(StoreError, match="not private"):
        UnpackedLayers(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_that_another_user_made(tmp_path: Path) -> None:
    root = open_store(str(tmp_path))
    UnpackedLayers(root)
    os.chown(tmp_path / "unpacked" / UID, 1234, 1234)
    with pytest.raises(StoreError, match="another user"):
        UnpackedLayers(root)
