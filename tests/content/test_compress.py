from __future__ import annotations

import gzip
import io
import random

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.codec import detect
from wherry.content.compress import compressor
from wherry.content.verify import follow_diff_id
from wherry.model.compression import KEEP, Compression
from wherry.model.digest import Digest

CONTENT = random.Random(4).randbytes(300_000) + b"text " * 100_000  # noqa: S311 - has to repeat
LEVELS = ["gzip:1", "gzip:2", "gzip:3", "gzip:4", "gzip:9", "zstd:1", "zstd:3", "zstd:19"]


def packed(text: str, content: bytes = CONTENT, step: int = 100_000) -> bytes:
    found = compressor(Compression.parse(text))
    steps = range(0, len(content), step)
    parts = [bytes(found.compress(memoryview(content)[at : at + step])) for at in steps]
    return b"".join([*parts, found.flush()])


@pytest.mark.parametrize("content", [b"", CONTENT], ids=["empty", "full"])
@pytest.mark.parametrize("text", [*LEVELS, "none"])
def test_what_is_packed_can_be_unpacked(text: str, content: bytes) -> None:
    found = packed(text, content)
    assert detect(found) == (None if text == "none" else text.partition(":")[0])
    unpacked = follow_diff_id(io.BytesIO(found), 2**30, CancelToken())
    assert unpacked == (Digest.of(content), len(content))


@pytest.mark.parametrize("text", [*LEVELS, "none"])
def test_the_bytes_are_the_same_each_time(text: str) -> None:
    """A network cuts content anywhere."""
    assert len({packed(text, step=step) for step in (777, 100_000, 100_000, 10**7)}) == 1


@pytest.mark.parametrize("text", ["gzip:1", "gzip:2", "gzip:3", "gzip:4", "gzip:9"])
def test_a_gzip_header_has_neither_time_nor_name(text: str) -> None:
    """RFC 1952, 2.3: the flags, and the time."""
    header = packed(text)[:8]
    assert header == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_other_tools_read_igzip() -> None:
    assert gzip.decompress(packed("gzip:2")) == CONTENT


def test_a_higher_level_of_gzip_packs_more() -> None:
    words = random.Random(5).choices([b"one ", b"two ", b"three ", b"\n"], k=200_000)  # noqa: S311 - has to repeat
    sizes = [len(packed(f"gzip:{level}", b"".join(words))) for level in (1, 3, 4, 6)]
    assert sizes == sorted(sizes, reverse=True)


def test_keeping_a_layer_needs_no_compressor() -> None:
    with pytest.raises(ValueError, match="keep"):
        compressor(KEEP)
