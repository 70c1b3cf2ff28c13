"""Large blobs over several connections: each byte once and in order, after any failure."""

from __future__ import annotations

import random
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wherry as library
from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.errors import Cancelled, NetworkError, NotFound, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.registry.hosts import Endpoint
from wherry.registry.repository import Repository
from wherry.registry.session import Session
from wherry.testing import (
    ContentRange,
    Corrupt,
    Cut,
    FakeRegistry,
    Fault,
    FixedReply,
    IgnoreRange,
    Stall,
    Trickle,
    build_image,
    tar_layer,
)
from wherry.transfer.parallel_download import USUAL, ParallelDownloads
from wherry.transfer.segments import SEGMENT, WINDOW, SegmentedStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOISE = random.Random(11).randbytes(8 * SEGMENT - 700_000)  # noqa: S311 - not a secret
IMAGE = build_image([tar_layer({"noise": NOISE})], compression="none")
LAYER = IMAGE.layers[0]
BLOB = f"/blobs/{LAYER.digest}"
FAST = RetryPolicy(attempts=3, first=0.0)
PATIENCE = 20.0  # seconds after which a test that waits has failed


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    wait_for(lambda: not _splitting(), 5)


def _splitting() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "wherry-split" in thread.name]


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", IMAGE, "t")
    return f"{fake.host}/app:t"


def ranges(fake: FakeRegistry) -> list[tuple[int, int] | None]:
    """Return the requested ranges of the layer; None for the whole layer."""
    found: list[tuple[int, int] | None] = []
    for request in fake.requests:
        if request.method == "GET" and BLOB in request.path:
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range") or "")
            stop = int(match[2]) + 1 if match and match[2] else LAYER.size
            found.append((int(match[1]), stop) if match else None)
    return found


def part(store: library.Store) -> Path:
    return store.path / "ingest" / f"{LAYER.digest.replace(':', '-')}.part"


def is_whole(store: library.Store) -> bool:
    return (store.path / "blobs" / "sha256" / LAYER.digest[7:]).read_bytes() == LAYER.data


def pieces(start: int = 0) -> list[tuple[int, int]]:
    return [(at, min(at + SEGMENT, LAYER.size)) for at in range(start, LAYER.size, SEGMENT)]


# Through a registry


def test_each_segment_is_asked_for_once(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    with library.Client(store=store, split=3) as client:
        assert str(client.pull(name).id) == IMAGE.id
    assert is_whole(store)
    assert sorted(ranges(fake)) == pieces()  # type: ignore[type-var]


def test_one_connection_if_that_is_asked_for(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    with library.Client(store=store, split=1) as client:
        client.pull(name)
    assert ranges(fake) == [None]


def test_a_part_is_continued_in_segments(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    part(store).parent.mkdir(parents=True)
    part(store).write_bytes(LAYER.data[:1_234_567])
    with library.Client(store=store, split=4) as client:
        client.pull(name)
    assert is_whole(store)
    assert sorted(ranges(fake)) == pieces(1_234_567)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "action", [IgnoreRange(), ContentRange("bytes 0-9/10")], ids=["ignored", "another"]
)
def test_a_registry_without_ranges_sends_all_over_one_connection(
    fake: FakeRegistry, name: str, store: library.Store, action: IgnoreRange | ContentRange
) -> None:
    fake.inject(Fault(action, path=BLOB))
    with library.Client(store=store, split=4) as client:
        client.pull(name)
    assert is_whole(store)
    assert ranges(fake).count(None) == 1


def test_a_connection_that_breaks_is_resumed_where_it_stood(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    for after in (1, 100_000):
        fake.inject(Fault(Cut(after=after), path=BLOB, times=1))
    with library.Client(store=store, split=2) as client:
        client.pull(name)
    assert is_whole(store)
    asked = [found for found in ranges(fake) if found is not None]
    cut = [(start, stop) for start, stop in asked if (start, stop) not in pieces()]
    assert len(cut) == 2
    assert {stop for _, stop in cut} <= {stop for _, stop in pieces()}
    assert {(start - 1) % SEGMENT for start, _ in cut} == {0, 99_999}


def test_pieces_that_do_not_fit_are_fetched_once_more_in_one(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    """If the digest is wrong after a resume, the blob is fetched again from 0."""
    fake.inject(Fault(Corrupt(at=77), path=BLOB, skip=2, times=1))
    with library.Client(store=store, split=4) as client:
        client.pull(name)
    assert is_whole(store)
    assert ranges(fake)[-1] is None


def test_a_failure_keeps_the_contiguous_bytes(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(FixedReply(404), path=BLOB, skip=3, times=1))
    with library.Client(store=store, split=1, retries=1) as plain:
        with library.Client(store=store, split=2) as client, pytest.raises(NotFound):
            client.pull(name)
        kept = part(store).read_bytes() if part(store).exists() else b""
        assert LAYER.data.startswith(kept)
        plain.pull(name)
    assert is_whole(store)
    assert ranges(fake)[-1] == ((len(kept), LAYER.size) if kept else None)


def test_a_slow_segment_holds_the_window(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    """No more is fetched ahead than the window allows, and the order is kept."""
    fake.inject(Fault(Stall(after=1000), path=BLOB, times=1))
    token = CancelToken()
    with library.Client(store=store, split=4) as client:
        failed: list[BaseException] = []

        def pull() -> None:
            try:
                client.pull(name, cancel=token)
            except Cancelled as error:
                failed.append(error)

        thread = threading.Thread(target=pull)
        thread.start()
        wait_for(lambda: part(store).exists() and part(store).stat().st_size % SEGMENT == 1000)
        # The first to be asked for need not be the first segment.
        ends = part(store).stat().st_size // SEGMENT * SEGMENT + WINDOW * SEGMENT
        ends = min(ends, LAYER.size)
        wait_for(lambda: max(found[1] for found in ranges(fake) if found) == ends)
        time.sleep(0.3)
        assert max(found[1] for found in ranges(fake) if found) == ends
        token.cancel()
        thread.join(PATIENCE)
        assert failed
    kept = part(store).read_bytes()
    assert LAYER.data.startswith(kept)
    assert len(kept) % SEGMENT == 1000


# One after the other, by itself, at several places


class Places:
    """A repository on several registries."""

    def __init__(self, registries: list[FakeRegistry]) -> None:
        self.session = Session(connections=8, policy=FAST)
        self.token = CancelToken()
        self.repository = Repository(
            self.session,
            Reference.parse("registry.example/app:t"),
            [Endpoint(each.host, each.host, "app", ("http",)) for each in registries],
            self.token,
            warn=lambda _: None,
            on_retry=lambda *_: None,
        )

    def read(self, splitter: ParallelDownloads, pause: float = 0) -> bytes:
        """Read the layer, with a pause of some seconds after each 200 kB."""
        descriptor = Descriptor("", Digest.parse(LAYER.digest), LAYER.size)
        blob = splitter.blob(descriptor, FAST, self.token, lambda *_: None)
        content = bytearray()
        stream = blob.open(0, lambda: descriptor.digest.matches(bytes(content))).stream
        try:
            while data := stream.read1(200_000):
                content += data
                time.sleep(pause)
        finally:
            stream.close()
        return bytes(content)


def test_segments_come_from_all_mirrors(fake: FakeRegistry) -> None:
    with FakeRegistry() as other:
        for each in (fake, other):
            each.add_image("app", IMAGE, "t")
        places = Places([fake, other])
        assert places.read(ParallelDownloads(places.repository, 2)) == LAYER.data
        places.session.close()
        assert sorted([*ranges(fake), *ranges(other)]) == pieces()  # type: ignore[type-var]
        assert ranges(fake)
        assert ranges(other)


def test_a_mirror_without_ranges_leaves_the_segments_to_the_others(fake: FakeRegistry) -> None:
    with FakeRegistry() as other:
        for each in (fake, other):
            each.add_image("app", IMAGE, "t")
        fake.inject(Fault(IgnoreRange()))
        places = Places([fake, other])
        assert places.read(ParallelDownloads(places.repository, 2)) == LAYER.data
        places.session.close()
        assert sorted(ranges(other)) == pieces()  # type: ignore[type-var]


def test_a_slow_connection_is_helped_by_others(fake: FakeRegistry, name: str) -> None:
    assert name
    fake.inject(Fault(Trickle(4e6), path=BLOB, times=1))
    places = Places([fake])
    splitter = ParallelDownloads(places.repository, large=2 * SEGMENT)
    assert places.read(splitter) == LAYER.data
    places.session.close()
    asked = ranges(fake)
    assert asked[0] is None
    begun = min(found[0] for found in asked if found is not None)
    assert sorted(asked[1:]) == pieces(begun)  # type: ignore[type-var]
    assert 0 < begun < LAYER.size // 2


def test_a_connection_that_is_fast_enough_stays_alone(fake: FakeRegistry, name: str) -> None:
    assert name
    places = Places([fake])
    assert places.read(ParallelDownloads(places.repository, large=2 * SEGMENT)) == LAYER.data
    places.session.close()
    assert ranges(fake) == [None]


def test_a_reader_that_is_slow_needs_no_help(fake: FakeRegistry, name: str) -> None:
    assert name
    places = Places([fake])
    splitter = ParallelDownloads(places.repository, large=2 * SEGMENT)
    assert places.read(splitter, pause=0.03) == LAYER.data
    places.session.close()
    assert ranges(fake) == [None]


def test_several_blobs_at_a_time_need_no_help(fake: FakeRegistry, name: str) -> None:
    assert name
    fake.inject(Fault(Trickle(12e6), path=BLOB))
    places = Places([fake])
    splitter = ParallelDownloads(places.repository, large=5 * SEGMENT)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(places.read(splitter))) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    places.session.close()
    assert found == [LAYER.data] * 2
    assert ranges(fake) == [None] * 2


def test_help_that_is_refused_is_not_needed(fake: FakeRegistry, name: str) -> None:
    assert name
    fake.inject(Fault(Trickle(8e6), path=BLOB, times=1))
    fault = fake.inject(Fault(FixedReply(503), path=BLOB, skip=1))
    places = Places([fake])
    assert places.read(ParallelDownloads(places.repository, large=2 * SEGMENT)) == LAYER.data
    places.session.close()
    assert 0 < fault.count <= USUAL  # unneeded requests are not awaited
    assert ranges(fake)[0] is None
    assert None not in ranges(fake)[1:]  # the first connection has gone on


# The stream alone


class Pieces:
    """A source that returns ranges in steps of any size, and fails at given offsets."""

    def __init__(self, content: bytes, seed: int, fails_at: int | None) -> None:
        self._content = content
        self._chance = random.Random(seed)  # noqa: S311 - to repeat it
        self._fails_at = fails_at

    def fetch(self, start: int, stop: int, token: CancelToken) -> _Piece:
        return _Piece(self._content, start, stop, token, self._chance, self._fails_at)


class _Piece:
    def __init__(
        self,
        content: bytes,
        start: int,
        stop: int,
        token: CancelToken,
        chance: random.Random,
        fails_at: int | None,
    ) -> None:
        self._content, self._at, self._stop = content, start, stop
        self._token, self._chance, self._fails_at = token, chance, fails_at

    def read1(self, size: int) -> bytes:
        self._token.sleep(self._chance.random() / 2000)
        end = min(self._at + size, self._at + self._chance.randint(1, 2 * SEGMENT), self._stop)
        if self._fails_at is not None and self._at <= self._fails_at < end:
            raise NetworkError("cut", host="h")
        data, self._at = self._content[self._at : end], end
        return data

    def close(self) -> None:
        pass


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    start=st.integers(0, 9_000_000),
    connections=st.integers(1, 7),
    failing=st.booleans(),
)
def test_bytes_are_read_in_order_whatever_arrives_first(
    seed: int, start: int, connections: int, *, failing: bool
) -> None:
    content = LAYER.data[: 2 * SEGMENT + 1_100_000]
    start = min(start, len(content))
    fails_at = random.Random(seed).randrange(start, len(content) + 1) if failing else None  # noqa: S311
    place = Pieces(content, seed, fails_at)
    stream = SegmentedStream(place.fetch, start, len(content), connections, CancelToken())
    got = bytearray()
    try:
        while data := stream.read1(300_000):
            got += data
    except WherryError:
        assert fails_at is not None
        assert len(got) <= fails_at - start
    else:
        assert len(got) == len(content) - start
    finally:
        stream.close()
    assert content[start:].startswith(got)
