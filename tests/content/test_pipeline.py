import io
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from running_threads import begun_since, running
from wherry.content.cancel import CancelToken
from wherry.content.pipeline import SMALL, BlobFacts, Limits, receive
from wherry.content.protocols import Blob, Opened
from wherry.content.verify import RawLimit
from wherry.errors import Cancelled, IntegrityError, NetworkError, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store.parts import Part, open_part
from wherry.store.root_directory import open_store
from wherry.testing import compress

NOISE = random.Random(3).randbytes(2 * SMALL)  # noqa: S311 - has to repeat
CONTENT = NOISE + b"text " * 50_000
PACKED = compress(CONTENT, "gzip")
FEW = b"text " * 5_000 + NOISE[:20_000]  # followed when it is there, without another thread


class Source:
    """A source of ``data`` that records its requests; returns ``step`` bytes a read."""

    def __init__(
        self,
        data: bytes,
        *,
        step: int = 1 << 20,
        fail_at: int | None = None,
        before_read: Callable[[int], None] | None = None,
    ) -> None:
        self.data = data
        self.step = step
        self.fail_at = fail_at
        self.before_read = before_read
        self.offsets: list[int] = []
        self.closed = 0

    def open(self, offset: int, _: object = None) -> Opened:
        self.offsets.append(offset)
        return Opened(_Reading(self, offset), offset, len(self.data))


class _Reading:
    def __init__(self, source: Source, at: int) -> None:
        self._source = source
        self._at = at

    def read1(self, size: int) -> bytes:
        source = self._source
        assert size > 0
        if source.before_read is not None:
            source.before_read(self._at)
        if source.fail_at is not None and self._at >= source.fail_at:
            raise NetworkError("cut", host="h")
        data = source.data[self._at : self._at + min(size, source.step)]
        if source.fail_at is not None:
            data = data[: source.fail_at - self._at]
        self._at += len(data)
        return data

    def close(self) -> None:
        self._source.closed += 1


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    found = open_part(open_store(str(tmp_path)), "blob.part")
    assert found is not None
    yield found
    found.close()


def describe(data: bytes, algorithm: str = "sha256") -> Descriptor:
    return Descriptor("application/x", Digest.of(data, algorithm), len(data))


def run(
    part: Part,
    source: Source,
    descriptor: Descriptor,
    *,
    follow: bool = False,
    limits: Limits | None = None,
    cancel: CancelToken | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> BlobFacts:
    before = running()
    try:
        return receive(
            part,
            Blob(descriptor, source.open),
            follow=follow,
            limits=limits or Limits(),
            cancel=cancel or CancelToken(),
            on_bytes=on_bytes,
        )
    finally:
        assert not begun_since(before), "a thread was left behind"


@pytest.mark.parametrize("step", [977, 1 << 20])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_arrives(part: Part, step: int, algorithm: str) -> None:
    source = Source(PACKED, step=step)
    told: list[int] = []
    found = run(part, source, describe(PACKED, algorithm), on_bytes=told.append)
    assert found == BlobFacts(len(PACKED))
    assert part.path.read_bytes() == PACKED
    assert told == sorted(told)
    assert told[-1] == len(PACKED)
    assert (source.offsets, source.closed) == ([0], 1)


@pytest.mark.parametrize("form", ["gzip", "zstd", "none", "bzip2", "xz"])
@pytest.mark.parametrize("content", [CONTENT, FEW], ids=["large", "small"])
def test_a_layer_is_followed(part: Part, content: bytes, form: str) -> None:
    packed = compress(content, form)
    assert (len(packed) > SMALL) == (content is CONTENT)
    found = run(part, Source(packed, step=10_000), describe(packed), follow=True)
    assert found == BlobFacts(len(packed), Digest.of(content), len(content))


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("there", [1, 1000, 256 * 1024, len(PACKED) - 1])
def test_a_prefix_is_resumed(part: Part, there: int, *, follow: bool) -> None:
    """A download resumes by a range request from the end of the part file."""
    part.append(PACKED[:there])
    source = Source(PACKED)
    found = run(part, source, describe(PACKED), follow=follow)
    assert source.offsets == [there]
    assert part.path.read_bytes() == PACKED
    assert found.diff_id == (Digest.of(CONTENT) if follow else None)


@pytest.mark.parametrize("follow", [False, True])
def test_a_complete_part_is_verified_without_a_request(part: Part, *, follow: bool) -> None:
    """A part file of the full size is verified without a request."""
    part.append(PACKED)
    source = Source(PACKED)
    assert run(part, source, describe(PACKED), follow=follow).size == len(PACKED)
    assert source.offsets == []


@pytest.mark.parametrize("size", [1, len(PACKED) - 1, len(PACKED) + 1, 2**50, None])
@pytest.mark.parametrize("follow", [False, True])
def test_a_complete_part_needs_no_request_though_the_size_is_wrong(
    part: Part, size: int | None, *, follow: bool
) -> None:
    part.append(PACKED)
    source = Source(PACKED)
    found = run(part, source, describe(PACKED)._replace(size=size), follow=follow)
    assert found.size == len(PACKED)
    assert source.offsets == []


def test_a_part_of_the_stated_size_is_not_complete_without_the_digest(part: Part) -> None:
    """The size may be wrong, so the rest is requested."""
    part.append(PACKED[:-7])
    source = Source(PACKED)
    short = describe(PACKED)._replace(size=len(PACKED) - 7)
    assert run(part, source, short).size == len(PACKED)
    assert source.offsets == [len(PACKED) - 7]
    part.restart()
    part.append(bytes(len(PACKED)))
    with pytest.raises(IntegrityError):
        run(part, source, describe(PACKED))


@pytest.mark.parametrize("size", [1, len(PACKED) - 1, len(PACKED) + 1, 2**50])
@pytest.mark.parametrize("there", [0, 1000, len(PACKED) - 1])
@pytest.mark.parametrize("follow", [False, True])
def test_a_wrong_size_does_not_matter_where_the_digest_holds(
    part: Part, size: int, there: int, *, follow: bool
) -> None:
    part.append(PACKED[:there])
    found = run(part, Source(PACKED), describe(PACKED)._replace(size=size), follow=follow)
    assert found == BlobFacts(len(PACKED), *((Digest.of(CONTENT), len(CONTENT)) if follow else ()))
    assert part.path.read_bytes() == PACKED


@pytest.mark.parametrize("size", [1, len(PACKED) - 1, len(PACKED) + 1])
@pytest.mark.parametrize("there", [0, len(PACKED)])
def test_an_exact_blob_has_to_have_its_size(part: Part, size: int, there: int) -> None:
    part.append(PACKED[:there])
    blob = Blob(describe(PACKED)._replace(size=size), Source(PACKED).open, exact=True)
    with pytest.raises(IntegrityError, match=f"expected {size:,}") as caught:
        receive(
            part, blob, follow=False, limits=Limits(), cancel=CancelToken(), on_bytes=lambda _: None
        )
    assert "proxy" not in caught.value.hint or size < len(PACKED)


@pytest.mark.parametrize("follow", [False, True])
def test_an_exact_blob_starts_over_where_its_part_is_longer(part: Part, *, follow: bool) -> None:
    part.append(PACKED + b"x")
    source = Source(PACKED)
    blob = Blob(describe(PACKED), source.open, exact=True)
    receive(
        part, blob, follow=follow, limits=Limits(), cancel=CancelToken(), on_bytes=lambda _: None
    )
    assert source.offsets == [0]
    assert part.path.read_bytes() == PACKED


def test_a_source_that_begins_before_the_offset_is_read_from_the_offset(part: Part) -> None:
    """The source may ignore the offset and start at 0; the first bytes are skipped."""
    part.append(PACKED[:5000])
    source = Source(PACKED, step=3000)

    def from_zero(_: int, __: object) -> Opened:
        return Opened(source.open(0).stream, 0, len(PACKED))

    blob = Blob(describe(PACKED), from_zero)
    received = receive(
        part, blob, follow=False, limits=Limits(), cancel=CancelToken(), on_bytes=lambda _: None
    )
    assert received.size == len(PACKED)
    assert part.path.read_bytes() == PACKED


def test_an_empty_blob_needs_no_request(part: Part) -> None:
    source = Source(b"")
    found = run(part, source, describe(b""), follow=True)
    assert found == BlobFacts(0, Digest.of(b""), 0)
    assert source.offsets == []


def test_other_content_is_refused(part: Part) -> None:
    """A wrong digest of a new download is an error."""
    wrong = PACKED[:-1] + bytes([PACKED[-1] ^ 1])
    with pytest.raises(IntegrityError, match="digest") as caught:
        run(part, Source(wrong), describe(PACKED))
    assert caught.value.expected == str(Digest.of(PACKED))
    assert caught.value.actual == str(Digest.of(wrong))
    assert not caught.value.transient


def test_a_prefix_of_other_content_is_noticed(part: Part) -> None:
    part.append(b"x" * 1000)
    with pytest.raises(IntegrityError, match="digest"):
        run(part, Source(PACKED), describe(PACKED))


@pytest.mark.parametrize("end", [0, 1, len(PACKED) - 1])
@pytest.mark.parametrize("follow", [False, True])
def test_a_short_blob_is_refused(part: Part, end: int, *, follow: bool) -> None:
    said = f"^it has {end:,} bytes, expected {len(PACKED):,}$"
    with pytest.raises(IntegrityError, match=said):
        run(part, Source(PACKED[:end]), describe(PACKED), follow=follow)


@pytest.mark.parametrize("more", [1, 100_000])
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_trailing_data_is_refused_and_not_written(part: Part, more: int, step: int) -> None:
    """umoci, VerifiedReadCloser: one byte more is read, to find trailing data."""
    said = f"^it has more than {len(PACKED):,} bytes, expected {len(PACKED):,}$"
    with pytest.raises(IntegrityError, match=said):
        run(part, Source(PACKED + b"x" * more, step=step), describe(PACKED))
    assert part.size <= len(PACKED)


def test_a_blob_of_no_known_size_is_taken_to_its_end(part: Part) -> None:
    descriptor = Descriptor("x", Digest.of(PACKED))
    found = run(part, Source(PACKED), descriptor, follow=True)
    assert found == BlobFacts(len(PACKED), Digest.of(CONTENT), len(CONTENT))


def test_a_blob_of_no_known_size_is_bounded(part: Part) -> None:
    """Without a size in the descriptor, the configured limit applies."""
    descriptor = Descriptor("x", Digest.of(PACKED))
    limits = Limits(blob=len(PACKED) - 1)
    for size in (None, 10, len(PACKED), 2**50):
        with pytest.raises(IntegrityError, match="limit") as caught:
            run(part, Source(PACKED), descriptor._replace(size=size), limits=limits)
        assert "proxy" not in caught.value.hint
        assert part.size <= len(PACKED) - 1
        part.restart()
    assert run(part, Source(PACKED), descriptor, limits=Limits(blob=len(PACKED))).size


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 300_000])
def test_bytes_before_a_failure_are_kept(part: Part, cut: int, *, follow: bool) -> None:
    """Only the missing bytes are fetched."""
    source = Source(PACKED, fail_at=cut, step=10_000)
    with pytest.raises(NetworkError):
        run(part, source, describe(PACKED), follow=follow)
    assert part.path.read_bytes() == PACKED[:cut]
    assert source.closed == 1


@pytest.mark.parametrize("content", [CONTENT, FEW], ids=["large", "small"])
def test_a_follower_that_fails_leaves_the_download_to_its_end(part: Part, content: bytes) -> None:
    """If the digest matches and the compression is damaged, that is the error."""
    packed = compress(content, "gzip")
    damaged = packed[:1000] + bytes(500) + packed[1500:]
    with pytest.raises(IntegrityError, match="gzip"):
        run(part, Source(damaged, step=10_000), describe(damaged), follow=True)
    assert part.path.read_bytes() == damaged


def test_a_wrong_digest_takes_precedence_over_a_damaged_layer(part: Part) -> None:
    """If both the digest and the compression are wrong, the digest is the error."""
    damaged = PACKED[:1000] + bytes(500) + PACKED[1500:]
    for _ in range(5):
        part.restart()
        with pytest.raises(IntegrityError, match="content does not match its digest"):
            run(part, Source(damaged, step=10_000), describe(PACKED), follow=True)


def test_a_failure_of_the_network_outranks_the_followers(part: Part) -> None:
    damaged = PACKED[:1000] + bytes(500) + PACKED[1500:]
    with pytest.raises(NetworkError):
        run(part, Source(damaged, fail_at=500_000), describe(damaged), follow=True)


@pytest.mark.parametrize("noise", [b"", NOISE], ids=["small", "large"])
def test_a_bomb_is_refused_while_the_download_goes_to_its_end(part: Part, noise: bytes) -> None:
    """The size limit of a decompressed layer depends on the bytes that arrived."""
    packed = compress(noise + bytes(8 * 2**20), "zstd")
    limits = Limits(raw=RawLimit(least=2**20, ratio=1))
    for size in (len(packed), 2**50, None):
        descriptor = describe(packed)._replace(size=size)
        with pytest.raises(IntegrityError, match="decompresses to more"):
            run(part, Source(packed), descriptor, follow=True, limits=limits)
        part.restart()
    assert run(part, Source(packed), describe(packed), limits=limits).size == len(packed)


@pytest.mark.parametrize("follow", [False, True])
def test_a_cancel_stops_between_two_reads_and_keeps_the_part_file(
    part: Part, *, follow: bool
) -> None:
    """A cancelled download stops within a second and keeps its part file."""
    token = CancelToken()
    source = Source(
        PACKED, step=10_000, before_read=lambda at: token.cancel() if at >= 300_000 else None
    )
    with pytest.raises(Cancelled):
        run(part, source, describe(PACKED), follow=follow, cancel=token)
    assert part.path.read_bytes() == PACKED[:310_000]
    assert source.closed == 1


def test_a_cancel_before_the_start_opens_nothing(part: Part) -> None:
    token = CancelToken()
    token.cancel()
    part.append(PACKED[:10])
    source = Source(PACKED)
    with pytest.raises(Cancelled):
        run(part, source, describe(PACKED), follow=True, cancel=token)
    assert source.offsets == []
    assert part.size == 10


def test_a_source_that_breaks_in_other_ways_leaves_no_thread(part: Part) -> None:
    def broken(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(part, Source(PACKED, before_read=broken), describe(PACKED), follow=True)


def test_a_listener_that_fails_leaves_no_thread(part: Part) -> None:
    def broken(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(part, Source(PACKED), describe(PACKED), follow=True, on_bytes=broken)


def test_the_follower_keeps_up_with_a_slow_writer(part: Part) -> None:
    """The download never waits for decompression, nor does a pause of the link end it."""
    pause = threading.Event()

    def slow(at: int) -> None:
        if at % 250_000 < 10_000:
            pause.wait(0.01)

    found = run(part, Source(PACKED, step=10_000, before_read=slow), describe(PACKED), follow=True)
    assert found.diff_id == Digest.of(CONTENT)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    step=st.integers(1, 700),
    form=st.sampled_from(["gzip", "zstd", "none"]),
)
def test_a_blob_arrives_whatever_happens_on_the_way(
    tmp_path: Path, content: bytes, cuts: list[int], step: int, form: str
) -> None:
    """A part file is a contiguous prefix of the blob, and its size is the progress."""
    path = tmp_path / "blob.part"
    path.unlink(missing_ok=True)
    packed = compress(b"plain" + content, form)
    for cut in [*cuts, None]:
        part = open_part(open_store(str(tmp_path)), path.name)  # as each run of the program does
        assert part is not None
        before = part.size
        source = Source(packed, step=step, fail_at=cut)
        try:
            found = run(part, source, describe(packed), follow=True)
        except WherryError:
            assert cut is not None
            assert part.size >= before
            assert packed.startswith(path.read_bytes())
            assert path.stat().st_size == part.size
        else:
            assert found == BlobFacts(len(packed), Digest.of(b"plain" + content), len(content) + 5)
        finally:
            part.close()
    assert path.read_bytes() == packed


def test_a_follower_reads_what_the_writer_wrote_before_it_came(part: Part) -> None:
    part.append(b"abc")
    reader = part.follow()
    assert isinstance(reader, io.RawIOBase)
    buffer = bytearray(10)
    assert reader.readinto(buffer) == 3
    part.finish()
    assert reader.readinto(buffer) == 0
