"""Layers that need much memory or time when they are unpacked."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from typing import TYPE_CHECKING

import pytest

from peak_memory import MOST, run
from trees import member, tar
from wherry.testing import build_image, layout_files, write_files

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20


def packed_zeros(start: bytes, size: int) -> tuple[bytes, str]:
    """Return a layer that goes on with zeros, and its DiffID."""
    chunk, hasher = bytes(16 * MIB), hashlib.sha256(start)
    for _ in range(size // len(chunk)):
        hasher.update(chunk)
    zeros = gzip.compress(chunk, 6, mtime=0) * (size // len(chunk))
    return gzip.compress(start, mtime=0) + zeros, f"sha256:{hasher.hexdigest()}"


@pytest.mark.parametrize("size", [200 * MIB, pytest.param(10_240 * MIB, marks=pytest.mark.long)])
@pytest.mark.parametrize("verb", ["unpack", "export"])
def test_zeros_behind_a_small_member(
    environment: dict[str, str], tmp_path: Path, size: int, verb: str
) -> None:
    layer, diff_id = packed_zeros(tar((member("f"), b"content")), size)
    image = build_image([layer], compression="none", diff_ids=[diff_id])
    write_files(tmp_path / "layout", layout_files({"x": image}))
    output = ("-o",) if verb == "export" else ()
    done = run(environment, verb, f"oci:{tmp_path}/layout:x", *output, str(tmp_path / "root"))
    assert (done.code, done.peak < MOST) == (0, True), done


def test_large_attributes_of_directories(environment: dict[str, str], tmp_path: Path) -> None:
    one = tar(member("d", tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.user.k": "v" * 900_000}))
    end = -(-len(one.rstrip(b"\0")) // 512) * 512  # without the blocks of the tar's end
    layer = one[:end] * 100
    write_files(tmp_path / "layout", layout_files({"x": build_image([layer])}))
    done = run(environment, "unpack", f"oci:{tmp_path}/layout:x", str(tmp_path / "root"))
    assert (done.code, done.peak < 150) == (5, True), done
    assert not (tmp_path / "root").exists()
