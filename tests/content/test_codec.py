from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import subprocess
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.content.codec import decompress, detect
from wherry.content.decoder_memory import MAX_DECODER
from wherry.errors import IntegrityError
from wherry.testing import compress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

QUICK = settings(max_examples=60, deadline=None)
FORMS = ["gzip", "zstd", "none", "bzip2", "xz"]
PACKED = [form for form in FORMS if form != "none"]
NAMES = {"none": None}


class Dribble(io.RawIOBase):
    """A raw source that returns 1 to ``most`` bytes at a time, as connections do."""

    def __init__(self, data: bytes, most: int, seed: int = 0) -> None:
        self._data = memoryview(data)
        self._random = random.Random(seed)  # noqa: S311 - has to repeat
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        count = min(len(view), len(self._data), self._random.randint(1, self._most))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


class Failing(io.RawIOBase):
    """A source whose disk fails after some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not self._data:
            raise OSError(5, "Input/output error")
        view = memoryview(buffer)
        count = min(len(view), len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def steps(source: io.RawIOBase, size: int = 64 * 1024) -> Iterator[bytes]:
    stream = decompress(source)
    buffer = bytearray(size)
    while count := stream.readinto(buffer):
        assert count <= size
        yield bytes(buffer[:count])
    assert stream.readinto(buffer) == 0


def unpacked(data: bytes, most: int = 1 << 20, size: int = 64 * 1024, seed: int = 0) -> bytes:
    return b"".join(steps(Dribble(data, most, seed), size))


def checked(data: bytes) -> bytes:
    """Return zstd with a checksum of its content, which most programs leave out."""
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


NOISE = random.Random(1).randbytes(30_000)  # noqa: S311 - has to repeat
TEXT = b"".join(b"%d lines of text\n" % number for number in range(8_000)) + NOISE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("most", [1, 7, 4096, 1 << 20])
def test_what_was_compressed_comes_back(form: str, most: int) -> None:
    data = TEXT if most > 1 else TEXT[-40_000:]
    source = Dribble(compress(data, form), most)
    stream = decompress(source)
    assert stream.compression == NAMES.get(form, form)
    assert unpacked(compress(data, form), most) == data


@pytest.mark.parametrize("form", FORMS)
def test_small_buffers_lose_nothing(form: str) -> None:
    data = TEXT[-3000:]
    assert unpacked(compress(data, form), 100, size=1) == data
    assert unpacked(compress(data, form), 3, size=7) == data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "one"])
def test_next_to_nothing_comes_back(form: str, data: bytes) -> None:
    assert unpacked(compress(data, form), 1) == data


@QUICK
@given(
    st.sampled_from(FORMS),
    st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(0, 2**16),
)
def test_cuts_between_reads_do_not_matter(
    form: str, pieces: list[bytes], most: int, size: int, seed: int
) -> None:
    """OCI image spec, layer.md, "gzip Media Types": several members, or frames (RFC 8878, 3),
    one after the other are one stream, wherever the reads are cut.
    """
    if form == "none":
        pieces = [b"plain:" + b"".join(pieces)]
    packed = b"".join(compress(piece, form) for piece in pieces)
    assert unpacked(packed, most, size, seed) == b"".join(pieces)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_gzip_header_with_all_fields_may_be_cut_anywhere(cut: int) -> None:
    """RFC 1952, 2.3: the header may have FEXTRA, FNAME, FCOMMENT and FHCRC."""
    head = b"\x1f\x8b\x08\x1e" + b"\0" * 6 + b"\x04\x00ABCD" + b"name\0" + b"comment\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    packed = head + gzip.compress(b"content", mtime=0)[10:]

    class Cut(Dribble):
        def readinto(self, buffer: Buffer) -> int:
            view, first = memoryview(buffer), len(packed) - len(self._data)
            count = min(len(view), len(self._data), cut - first if first < cut else len(packed))
            view[:count] = self._data[:count]
            self._data = self._data[count:]
            return count

    assert b"".join(steps(Cut(packed, 1))) == b"content"


@pytest.mark.parametrize("form", PACKED)
def test_many_members_are_one_stream(form: str) -> None:
    pieces = [b"%d" % number * (number % 50) for number in range(200)]
    packed = b"".join(compress(piece, form) for piece in pieces)
    assert unpacked(packed, 11) == b"".join(pieces)


@pytest.mark.parametrize(
    ("form", "padding"),
    [("gzip", b"\0" * 512), ("bzip2", b"\0" * 512), ("xz", b"\0" * 8)],
)
def test_zeros_after_the_end_are_padding(form: str, padding: bytes) -> None:
    packed = compress(TEXT, form)
    assert unpacked(packed + padding, 1000) == TEXT
    if form != "gzip":
        assert unpacked(packed + padding + compress(b"more", form), 1000) == TEXT + b"more"


def test_skippable_frames_of_zstd_are_skipped() -> None:
    """RFC 8878, 3.1.2: magic 0x184D2A50 to 0x184D2A5F, four bytes of size, content."""
    skipped = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"any"
    frame = compress(b"content", "zstd")
    assert detect(skipped[:6]) == "zstd"
    for packed in (skipped + frame, frame + skipped, frame + skipped + frame, skipped):
        expected = b"content" * packed.count(frame)
        assert unpacked(packed, 5) == expected


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"\x28\xb5\x2f\xfd\0\0", "zstd"),
        (b"\x50\x2a\x4d\x18\0\0", "zstd"),
        (b"\x5f\x2a\x4d\x18", "zstd"),
        (b"\x60\x2a\x4d\x18\0\0", None),
        (b"BZh91A", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\xfd7zXZ", None),
        (b"\x1f", None),
        (b"", None),
        (b"file.t", None),
    ],
)
def test_forms_are_known_by_their_magic(head: bytes, name: str | None) -> None:
    assert detect(head) == name


@pytest.mark.parametrize("form", PACKED)
def test_a_truncated_stream_is_an_error_wherever_it_ends(form: str) -> None:
    packed = compress(b"some content " * 20 + NOISE[:50], form)
    shortest = {"gzip": 2, "bzip2": 3, "xz": 6, "zstd": 4}[form]
    for end in range(shortest, len(packed)):
        with pytest.raises(IntegrityError) as caught:
            unpacked(packed[:end])
        assert form in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"a", NOISE, bytes(300_000), TEXT], ids=len)
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("sized", [False, True])
def test_a_truncated_zstd_stream_does_not_pass_for_a_shorter_one(
    content: bytes,
    checksum: bool,
    sized: bool,
) -> None:
    """The library itself takes the end of its input for the end of a frame.

    Blocks of all kinds (RFC 8878, 3.1.1.2), whole ones too.
    """
    frames = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=sized)
    stream = frames.compressobj(len(content) if sized else -1)
    half = len(content) // 2
    packed = stream.compress(content[:half]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    ends = {max(4, len(packed))}
    packed += stream.compress(content[half:]) + stream.flush()
    assert unpacked(packed) == content
    ends |= {*range(4, min(100, len(packed))), *range(max(4, len(packed) - 100), len(packed))}
    for end in ends | set(range(4, len(packed), 997)):
        with pytest.raises(IntegrityError, match="zstd"):
            unpacked(packed[:end])


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize("second", [1, 5, 9, -1])
def test_a_truncated_second_member_is_an_error(form: str, second: int) -> None:
    packed = compress(TEXT, form) + compress(b"more and more" * 9, form)[:second]
    with pytest.raises(IntegrityError):
        unpacked(packed)


@pytest.mark.parametrize("form", PACKED)
def test_garbage_after_the_end_is_an_error(form: str) -> None:
    with pytest.raises(IntegrityError):
        unpacked(compress(TEXT, form) + b"garbage that is no member at all")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["gzip", "bzip2", "xz"]),
    st.integers(6, 10_000),
    st.integers(1, 255),
    st.integers(1, 5000),
)
def test_a_flipped_byte_is_noticed_or_makes_no_difference(
    form: str, place: int, flip: int, most: int
) -> None:
    """Each format has a checksum (RFC 1952, 2.3.1; xz 1.0.4, 3.4): what passes it is what was
    compressed, or is no content (a name in a header, padding).
    """
    content = b"some content, " * 30 + NOISE[:80]
    packed = bytearray(compress(content, form))
    packed[place % (len(packed) - 6) + 6] ^= flip
    try:
        found = unpacked(bytes(packed), most)
    except IntegrityError:
        return
    assert found == content


@pytest.mark.parametrize("place", [-1, -2, -3, -4])
def test_a_wrong_checksum_of_zstd_is_noticed(place: int) -> None:
    """RFC 8878, 3.1.1: an optional checksum ends the frame.

    A flipped byte before it may also lengthen a block: then the frame is one that is cut.
    """
    packed = bytearray(checked(TEXT))
    assert unpacked(bytes(packed)) == TEXT
    packed[place] ^= 1
    with pytest.raises(IntegrityError):
        unpacked(bytes(packed))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            b"\x1f\x8b",
            b"\x1f\x8b\x08\0",
            b"\x28\xb5\x2f\xfd",
            b"BZh9",
            b"\xfd7zXZ\0",
            b"\x50\x2a\x4d\x18",
            b"",
        ]
    ),
    st.binary(max_size=200),
    st.integers(1, 50),
)
def test_any_bytes_are_a_stream_or_an_error_of_ours(magic: bytes, rest: bytes, most: int) -> None:
    """Invalid compressed data is decompressed or refused; no other error is raised."""
    total = 0
    try:
        for step in steps(Dribble(magic + rest, most)):
            total += len(step)
            if total > 1 << 20:
                break
    except IntegrityError as error:
        assert error.expected  # noqa: PT017 - either outcome is allowed


@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_breaks_is_not_the_streams_fault(form: str) -> None:
    packed = compress(TEXT, form)
    with pytest.raises(OSError, match="Input/output") as caught:
        for _ in steps(Failing(packed[: len(packed) // 2])):
            pass
    assert caught.value.errno == 5


BOMB = 64 * 2**20


def bomb(form: str) -> bytes:
    """Return ``BOMB`` zero bytes, compressed."""
    packers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
        "zstd": lambda: zstandard.ZstdCompressor(level=3).compressobj(),
        "bzip2": lambda: bz2.BZ2Compressor(9),
        "xz": lambda: lzma.LZMACompressor(preset=0),
    }
    packer = packers[form]()
    zeros = bytes(1 << 20)
    return b"".join([*(packer.compress(zeros) for _ in range(BOMB >> 20)), packer.flush()])


@pytest.mark.parametrize("form", PACKED)
def test_a_bomb_takes_no_more_memory_than_a_few_buffers(form: str) -> None:
    """Memory use does not depend on the decompressed size of a layer."""
    packed = bomb(form)
    assert len(packed) < BOMB // 500
    stream = decompress(Dribble(packed, 1 << 20))
    buffer, total = bytearray(256 * 1024), 0
    tracemalloc.start()
    try:
        while count := stream.readinto(buffer):
            assert count <= len(buffer)
            total += count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == BOMB
    assert peak < 4 * 2**20


@pytest.mark.parametrize("form", PACKED)
def test_a_bomb_takes_no_memory_of_the_process_either(form: str) -> None:
    """As above, with the memory that C libraries allocate."""
    program = (
        "import io, sys, resource\n"
        "from wherry.content.codec import decompress\n"
        "packed = sys.stdin.buffer.read()\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "buffer, total = bytearray(262144), 0\n"
        "stream = decompress(io.BytesIO(packed))\n"
        "stream.readinto(buffer)\n"
        "before = peak()\n"
        "while count := stream.readinto(buffer): total += count\n"
        "print(total, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=bomb(form), capture_output=True, check=True
    )
    total, grown = map(int, done.stdout.split())
    assert total > BOMB - 2**20
    assert grown < 24 * 1024  # KiB


def frame_of_window(log: int) -> bytes:
    """Return an empty zstd frame with a window of 2**log bytes (RFC 8878, 3.1.1.1.2)."""
    return b"\x28\xb5\x2f\xfd\0" + bytes([(log - 10) << 3]) + b"\x01\0\0"


def test_zstd_gets_no_larger_a_window_than_is_allowed() -> None:
    assert unpacked(frame_of_window(MAX_DECODER.bit_length() - 1)) == b""
    for log in (28, 31, 40):
        with pytest.raises(IntegrityError):
            unpacked(frame_of_window(log))


def test_xz_gets_no_larger_a_dictionary_than_is_allowed() -> None:
    """xz 1.0.4, 5.3.1: the byte 40 stands for a dictionary of 4 GiB."""
    packed = bytearray(compress(b"content" * 100, "xz"))
    at = packed.index(b"\x21\x01", 12)  # LZMA2 and the size of its properties
    size = (packed[12] + 1) * 4
    for code, allowed in ((18, True), (40, False), (36, False)):
        packed[at + 2] = code
        header = bytes(packed[12 : 12 + size - 4])
        packed[12 + size - 4 : 12 + size] = zlib.crc32(header).to_bytes(4, "little")
        if allowed:
            assert unpacked(bytes(packed)) == b"content" * 100
        else:
            with pytest.raises(IntegrityError):
                unpacked(bytes(packed))


@pytest.mark.parametrize("make", [io.BytesIO, lambda data: Dribble(data, 3)], ids=["bytes", "raw"])
def test_plain_bytes_pass_through(make: Callable[[bytes], io.RawIOBase]) -> None:
    stream = decompress(make(TEXT))
    assert stream.compression is None
    buffer, found = bytearray(1000), hashlib.sha256()
    while count := stream.readinto(buffer):
        found.update(buffer[:count])
    assert found.digest() == hashlib.sha256(TEXT).digest()
