"""Content that arrives piece by piece is checked to be a tar."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from wherry.archive.tar import NotATar
from wherry.archive.tar_check import TarCheck
from wherry.errors import IntegrityError
from wherry.testing import tar_layer

if TYPE_CHECKING:
    from pathlib import Path

LONG = "long" * 60
FILES: dict[str, bytes | None] = {
    "directory": None,
    "empty": b"",
    "block": b"x" * 512,
    LONG: b"y" * 3000,
    "last": b"z" * 700,
}
SIZES = (1, 7, 512, 513, 100_000)


def check(content: bytes, step: int) -> None:
    found = TarCheck()
    for at in range(0, len(content), step):
        found.add(memoryview(content)[at : at + step])
    found.finish()


def written(form: int) -> bytes:
    """Return a tar with the extended headers of a format."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, pax_headers={"comment": "c"}) as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content or b"")
            if form == tarfile.PAX_FORMAT:
                member.pax_headers = {"SCHILY.xattr.user.a": "value", "size": str(member.size)}
            tar.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


@pytest.mark.parametrize("step", SIZES)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars(form: int, step: int) -> None:
    if form == tarfile.USTAR_FORMAT:
        check(tar_layer({"a": b"1" * 1000}), step)
    else:
        check(written(form), step)


@pytest.mark.parametrize("content", [b"", bytes(512), bytes(1024), bytes(1024) + b"anything"])
@pytest.mark.parametrize("step", SIZES)
def test_a_tar_without_members(content: bytes, step: int) -> None:
    check(content, step)


@pytest.mark.peer("tar")
def test_sparse_files_of_gnu(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for place in range(40):
            file.seek(place * 100_000)
            file.write(b"x" * 5000)
    command = ["tar", "--format=oldgnu", "--sparse", "-C", str(tmp_path), "-c", "sparse"]
    content = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    for step in SIZES:
        check(content, step)
    with pytest.raises(IntegrityError, match="cut off at byte 700"):
        check(content[:700], 100)


@pytest.mark.parametrize("step", SIZES)
@pytest.mark.parametrize(
    "content",
    [b"<html>not found</html>", b"x", b"x" * 511, b"x" * 4096, b'{"error": "denied"}' * 40],
)
def test_what_is_no_tar(content: bytes, step: int) -> None:
    with pytest.raises(NotATar):
        check(content, step)


@pytest.mark.parametrize("step", SIZES)
def test_a_tar_that_is_cut_off(step: int) -> None:
    """The end-of-archive marker and the padding of the last member may be missing."""
    whole = written(tarfile.PAX_FORMAT)
    end = len(whole.rstrip(b"\0")) + 511  # within the padding of the last member
    members = {0, *range(512 + 13, 1025)}  # after the global header
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        for member in tar:
            padded = member.offset_data + -(-member.size // 512) * 512
            members |= set(range(member.offset_data + member.size, padded + 1))
    random.seed(step)
    for at in [*random.sample(range(1, end), 30), *random.sample(sorted(members), 5)]:
        if at in members:
            check(whole[:at], step)
            continue
        with pytest.raises(IntegrityError) as caught:
            check(whole[:at], step)
        assert f"{at:,}" in caught.value.message or isinstance(caught.value, NotATar)


@pytest.mark.parametrize("step", SIZES)
def test_what_is_no_tar_after_a_member(step: int) -> None:
    content = bytearray(tar_layer({"a": b"1", "b": b"2"}))
    content[1024 + 20] ^= 1
    with pytest.raises(IntegrityError, match="damaged: no tar header at byte 1,024"):
        check(bytes(content), step)


def test_a_large_extended_header() -> None:
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, 2**20 + 1
    with pytest.raises(IntegrityError, match="an extended header of 1,048,577 bytes"):
        check(header.tobuf(), 512)
