from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from running_threads import begun_since, running
from wherry.content.cancel import CancelToken
from wherry.content.pipeline import Limits
from wherry.content.protocols import Blob, Opened
from wherry.content.streams import blob_of
from wherry.content.verify import RawLimit
from wherry.errors import Cancelled, IntegrityError, NetworkError, StoreFull
from wherry.model.compression import KEEP, Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.testing import compress
from wherry.transfer.pack import Packed, pack_layer, unpacked_blob
from wherry.transfer.spool import spooled_blob

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = random.Random(3).randbytes(600_000) + b"text " * 200_000  # noqa: S311 - has to repeat
FORMS = ["gzip", "zstd", "none", "bzip2", "xz"]
TARGETS = ["gzip", "zstd", "none"]


@pytest.fixture
def spool() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def layer_of(raw: bytes, digest: Digest | None = None, size: int | None = None) -> Blob:
    return blob_of(Descriptor("", digest or Digest.of(raw), size), raw)


def pack(
    layer: Blob,
    spool: BinaryIO,
    target: str = "gzip",
    diff_id: Digest | None = None,
    cancel: CancelToken | None = None,
    limits: Limits | None = None,
) -> Packed:
    return pack_layer(
        layer,
        Compression.parse(target),
        diff_id,
        spool,
        cancel or CancelToken(),
        lambda _: None,
        limits=limits or Limits(),
    )


def unpacked(raw: bytes) -> bytes:
    with tempfile.TemporaryFile() as file:
        packed = pack(layer_of(raw), file, "none")
        return read(spooled_blob(file, packed.descriptor))


def read(blob: Blob, offset: int = 0) -> bytes:
    opened = blob.open(offset, lambda: False)
    assert opened.start == offset
    return b"".join(iter(lambda: opened.stream.read1(100_000), b""))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_a_layer_is_packed_anew(form: str, target: str, spool: BinaryIO) -> None:
    found = pack(layer_of(compress(CONTENT, form)), spool, target, Digest.of(CONTENT))
    blob = spooled_blob(spool, found.descriptor)
    raw = read(blob)
    assert found.diff_id == Digest.of(CONTENT)
    assert found.raw_size == len(CONTENT)
    assert found.descriptor == Descriptor.of(raw, found.descriptor.media_type)
    end = {"gzip": "tar+gzip", "zstd": "tar+zstd", "none": "tar"}[target]
    assert found.descriptor.media_type == f"application/vnd.oci.image.layer.v1.{end}"
    assert unpacked(raw) == CONTENT


@pytest.mark.parametrize("target", TARGETS)
def test_the_compression_of_the_source_does_not_matter(target: str) -> None:
    found = set()
    for form in FORMS:
        with tempfile.TemporaryFile() as spool:
            found.add(pack(layer_of(compress(CONTENT, form)), spool, target).descriptor.digest)
    assert len(found) == 1


def test_an_empty_layer_is_packed(spool: BinaryIO) -> None:
    found = pack(layer_of(b""), spool, "gzip", Digest.of(b""))
    assert found.raw_size == 0
    assert unpacked(read(spooled_blob(spool, found.descriptor))) == b""


def test_a_packed_layer_is_read_from_any_offset_again_and_again(spool: BinaryIO) -> None:
    found = pack(layer_of(CONTENT), spool, "zstd")
    blob = spooled_blob(spool, found.descriptor)
    whole, first = read(blob), blob.open(0, lambda: False)
    assert first.total == len(whole)
    start = first.stream.read1(10)
    for offset in (0, 1, len(whole) - 1, len(whole), len(whole) + 5):
        assert read(blob, offset) == whole[offset:]
    assert start + first.stream.read1(10) == whole[:20], "another stream has moved this one"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("form", FORMS)
def test_another_layer_than_the_digest_says_is_refused(
    form: str, algorithm: str, spool: BinaryIO
) -> None:
    wrong = Digest.of(b"another", algorithm)
    with pytest.raises(IntegrityError, match="does not match its digest") as caught:
        pack(layer_of(compress(CONTENT, form), wrong), spool)
    assert caught.value.altered
    assert caught.value.expected == str(wrong)
    assert caught.value.where == (f"layer {algorithm}:{wrong.short}…",)


def test_bytes_after_the_packed_content_count(spool: BinaryIO) -> None:
    """A decoder may stop before them."""
    raw = compress(CONTENT, "xz")
    with pytest.raises(IntegrityError, match="does not match its digest"):
        pack(layer_of(raw + bytes(4 * 300_000), Digest.of(raw)), spool)


def test_a_wrong_digest_explains_a_damaged_layer(spool: BinaryIO) -> None:
    raw = compress(CONTENT, "gzip")
    damaged = raw[:50_000] + bytes(1000) + raw[51_000:]
    with pytest.raises(IntegrityError, match="does not match its digest"):
        pack(layer_of(damaged, Digest.of(raw)), spool)
    with pytest.raises(IntegrityError, match="not a valid gzip stream") as caught:
        pack(layer_of(damaged), spool)
    assert not caught.value.altered


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_diff_id_is_refused(algorithm: str, spool: BinaryIO) -> None:
    layer = layer_of(compress(CONTENT, "gzip"))
    assert pack(layer, spool, diff_id=Digest.of(CONTENT, algorithm)).diff_id.algorithm == algorithm
    wrong = Digest.of(CONTENT + b"x", algorithm)
    with pytest.raises(IntegrityError, match="DiffID") as caught:
        pack(layer, spool, diff_id=wrong)
    assert caught.value.expected == str(wrong)
    assert caught.value.where == (f"layer sha256:{layer.descriptor.digest.short}…",)


@pytest.mark.parametrize("size", [0, 1, 10**9])
def test_the_stated_size_is_only_a_hint(size: int, spool: BinaryIO) -> None:
    layer = layer_of(compress(CONTENT, "gzip"), size=size)
    assert pack(layer, spool).raw_size == len(CONTENT)


def test_a_layer_over_a_limit_is_refused(spool: BinaryIO) -> None:
    raw = compress(CONTENT, "gzip")
    limits = Limits(raw=RawLimit(least=len(CONTENT) - 1, ratio=1))
    with pytest.raises(IntegrityError, match="decompresses to more than"):
        pack(layer_of(raw), spool, limits=limits)
    with pytest.raises(IntegrityError, match="which is the limit"):
        pack(layer_of(raw), spool, limits=Limits(blob=len(raw) - 1))
    fits = Limits(raw=RawLimit(least=len(CONTENT), ratio=1), blob=len(raw))
    assert pack(layer_of(raw), spool, limits=fits).raw_size == len(CONTENT)


# Unpacking while the layer is read


def unpack(layer: Blob, limits: Limits | None = None) -> bytes:
    made = unpacked_blob(layer, Digest.of(CONTENT), CancelToken(), limits=limits or Limits())
    assert made.descriptor == Descriptor("", Digest.of(CONTENT))
    return read(made)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_is_unpacked_while_it_is_read(form: str) -> None:
    assert unpack(layer_of(compress(CONTENT, form))) == CONTENT
    assert unpack(layer_of(compress(b"", form))) == b""


@pytest.mark.parametrize("form", FORMS)
def test_another_layer_is_not_unpacked(form: str) -> None:
    raw = compress(CONTENT, form)
    for wrong in (raw[:-1], raw[:9], raw[:-1] + b"~", raw + bytes(1_200_000), b""):
        with pytest.raises(IntegrityError, match="does not match its digest") as caught:
            unpack(layer_of(wrong, Digest.of(raw)))
        assert caught.value.altered
        assert caught.value.expected == str(Digest.of(raw))


def test_a_layer_that_is_damaged_at_its_source_is_not_unpacked() -> None:
    raw = compress(CONTENT, "gzip")
    with pytest.raises(IntegrityError, match="not a valid gzip stream") as caught:
        unpack(layer_of(raw[:50_000] + bytes(1000) + raw[51_000:]))
    assert not caught.value.altered


def test_a_layer_over_a_limit_is_not_unpacked() -> None:
    layer = layer_of(compress(CONTENT, "gzip"))
    with pytest.raises(IntegrityError, match="decompresses to more than"):
        unpack(layer, Limits(raw=RawLimit(least=len(CONTENT) - 1, ratio=1)))
    assert unpack(layer, Limits(raw=RawLimit(least=len(CONTENT), ratio=1))) == CONTENT


class _Endless:
    """A stream of zeros that calls ``then`` at its fifth piece."""

    def __init__(self, then: CancelToken | Exception) -> None:
        self._then = then
        self.reads = 0
        self.is_closed = False

    def read1(self, size: int) -> bytes:
        self.reads += 1
        if self.reads == 5:
            if isinstance(self._then, Exception):
                raise self._then
            self._then.cancel()
        return bytes(size)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("target", TARGETS)
def test_a_cancelled_one_stops_between_two_steps(target: str, spool: BinaryIO) -> None:
    token, before = CancelToken(), running()
    stream = _Endless(token)
    layer = Blob(Descriptor("", Digest.of(b"")), lambda offset, _: Opened(stream, offset))
    with pytest.raises(Cancelled):
        pack(layer, spool, target, cancel=token)
    assert stream.reads == 5
    assert stream.is_closed
    assert not begun_since(before)


def test_a_source_that_fails_is_not_taken_for_a_damaged_layer(spool: BinaryIO) -> None:
    stream = _Endless(NetworkError("it broke", host="h"))
    layer = Blob(Descriptor("", Digest.of(b"")), lambda offset, _: Opened(stream, offset))
    with pytest.raises(NetworkError, match="it broke"):
        pack(layer, spool)
    assert stream.is_closed


@pytest.mark.parametrize("form", FORMS)
def test_progress_counts_the_bytes_of_the_source(form: str, spool: BinaryIO) -> None:
    told: list[int] = []
    raw = compress(CONTENT, form)
    layer = layer_of(raw)
    pack_layer(layer, Compression.parse("zstd"), None, spool, CancelToken(), told.append)
    assert told == sorted(told)
    assert told[-1] == len(raw)


def test_a_full_disk_is_named() -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed below
    with full, pytest.raises(StoreFull, match="temporary") as caught:
        pack(layer_of(CONTENT), full, "none")
    assert "TMPDIR" in caught.value.hint


def test_a_layer_that_is_kept_is_not_packed(spool: BinaryIO) -> None:
    with pytest.raises(ValueError, match="type"):
        pack_layer(layer_of(CONTENT), KEEP, None, spool, CancelToken(), lambda _: None)


MEASURE = """
import json, re, sys, tempfile
from pathlib import Path
from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Opened
from wherry.errors import IntegrityError
from wherry.model.compression import Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.transfer.pack import pack_layer

class Content:
    def __init__(self, left): self.left = left
    def read1(self, size):
        count = min(size, self.left)
        self.left -= count
        return (b"%09d\\n" % self.left) * (count // 10) or bytes(count)
    def close(self): pass

peaks = []
for size in (40_000_000, 400_000_000):
    layer = Blob(Descriptor("", Digest.of(b"")), lambda at, _: Opened(Content(size), at))
    with tempfile.TemporaryFile() as spool:
        try:
            pack_layer(layer, Compression.parse(sys.argv[1]), None, spool, CancelToken(), id)
        except IntegrityError as error:
            assert error.altered, error
    peaks.append(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]))
print(json.dumps(peaks))
"""


@pytest.mark.parametrize("target", TARGETS)
def test_memory_does_not_grow_with_the_layer(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, target], capture_output=True, check=True, timeout=110
    )
    small, large = json.loads(done.stdout)  # the peak of the resident set in KiB
    assert large - small < 4096
    assert large < 80 * 1024


def test_a_spool_is_read_without_its_position(spool: BinaryIO) -> None:
    found = pack(layer_of(CONTENT), spool, "none")
    spool.seek(0, io.SEEK_END)
    assert read(spooled_blob(spool, found.descriptor)) == CONTENT
