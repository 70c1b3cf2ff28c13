"""Unpack layers, and compare the tree with that of their export."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from trees import describe
from wherry import Client
from wherry.content.remove_tree import remove_tree
from wherry.errors import WherryError
from wherry.testing import build_image, layout_files, write_files

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = 512
_CHECKSUM = slice(148, 156)
_SIZE, _FILES = 1 << 20, 5000


def unpack_and_export(layers: list[bytes], place: Path) -> list[str]:
    """Unpack layers and their export; return how the trees differ.

    Raises:
        WherryError: The layers are refused.
    """
    place.mkdir(exist_ok=True)
    parent = os.open(place.parent, os.O_RDONLY)
    try:
        remove_tree(place.name, parent)
    finally:
        os.close(parent)
    outside = place / "outside"
    outside.mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    before = describe(outside)
    try:
        trees = [describe(each) for each in _unpack(layers, place)]
    finally:
        if describe(outside) != before:
            raise AssertionError("a layer has changed a file outside of its root")
    names = trees[0].keys() | trees[1].keys()
    ours, theirs = ({name: _timeless(tree.get(name)) for name in names} for tree in trees)
    return [
        f"{name!r}: {ours[name]} and {theirs[name]}" for name in names if ours[name] != theirs[name]
    ]


def _unpack(layers: list[bytes], place: Path) -> list[Path]:
    with Client(store=place / "store") as client:
        client.unpack(
            _layout(place / "layout", layers), place / "tree", max_size=_SIZE, max_files=_FILES
        )
        output = io.BytesIO()
        client.export(f"oci:{place / 'layout'}:x", output, max_size=_SIZE, max_files=_FILES)
        flat = _layout(place / "flat", [output.getvalue()])
        try:
            client.unpack(flat, place / "again")
        except WherryError as error:
            raise AssertionError(f"the export is refused: {error}") from error
    return [place / "tree", place / "again"]


def _layout(path: Path, layers: list[bytes]) -> str:
    write_files(path, layout_files({"x": build_image(layers, compression="none")}))
    return f"oci:{path}:x"


def _timeless(about: tuple[object, ...] | None) -> object:
    """Return a description without what a directory lacks that has no entry: a time."""
    if about is None or not str(about[0]).startswith("d"):
        return about
    return (*about[:3], *about[4:])


def with_checksums(data: bytes) -> bytes:
    """Correct the checksums of what looks like headers; mutations would rarely get past them."""
    made = bytearray(data)
    for at in range(0, len(made) - _BLOCK + 1, _BLOCK):
        block = made[at : at + _BLOCK]
        if block[257:262] == b"ustar":
            block[_CHECKSUM] = b" " * 8
            made[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(made)
