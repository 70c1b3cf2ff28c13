"""Contract tests for sources and sinks of images.

A suite is a class that needs no test runner of its own. Derive from it and define how the
source or sink is made; pytest (or unittest, with ``unittest.TestCase`` as a second base) finds
the tests::

    class TestMyStore(SinkContract):
        @contextlib.contextmanager
        def sink(self):
            with MyStore() as store:
                yield store, store

The suites test what `wherry.content.protocols` states. A failure names the rule that was broken.
"""

from __future__ import annotations

import contextlib
import gzip
import threading
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Busy, Opened, RangeRefused
from wherry.errors import Cancelled, IntegrityError, NetworkError, NotFound
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.mediatype import OCI_INDEX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from wherry.content.protocols import Receipt, Sink, Source

__all__ = ["SinkContract", "SourceContract", "contents"]

_SMALL, _LARGE = b"a small blob", bytes(range(256)) * 5000  # the larger one takes several reads
_INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
_ABSENT = Descriptor.of(b"something else", "")
_THREADS = 6


def contents() -> list[bytes]:
    """Return the blobs that a source under test has to hold: empty, small and larger."""
    return [b"", _SMALL, _LARGE]


def _require(promise: bool, what: str) -> None:  # noqa: FBT001 - reads like an assertion
    if not promise:
        raise AssertionError(what)


@contextlib.contextmanager
def _raises(kind: type[Exception], what: str) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{what}: no {kind.__name__} was raised")


def _read(opened: Opened) -> bytes:
    """Read a stream to its end and a step beyond."""
    parts = []
    try:
        while data := opened.stream.read1(10_000):
            _require(len(data) <= 10_000, "`read1` returned more than it was asked for")
            parts.append(data)
        _require(opened.stream.read1(1) == b"", "the end of a stream is no end")
    finally:
        opened.stream.close()
    return b"".join(parts)


class SourceContract:
    """The rules of a `Source`: its blobs, and the document that names them."""

    def source(self, blobs: Sequence[bytes]) -> AbstractContextManager[tuple[Source, Digest]]:
        """Make a source to test.

        Args:
            blobs: The blobs that the source has to hold, by their sha256. The tests pass what
                `contents` returns.

        Returns:
            A context manager of the source and the digest of a document in it.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def _opener(self) -> Iterator[Callable[[bytes, int], Opened]]:
        with self.source(contents()) as (source, _):
            token = CancelToken()
            yield lambda data, offset: source.open(Descriptor.of(data, ""), offset, token)

    def test_blobs_are_read_as_they_are(self) -> None:
        """A stream yields the blob, in steps of at most what is asked for, and then b''."""
        with self._opener() as open_at:
            for data in contents():
                opened = open_at(data, 0)
                _require(opened.start == 0, "a stream from 0 does not start there")
                _require(opened.total in {None, len(data)}, "`total` is not the blob's size")
                _require(_read(opened) == data, f"a blob of {len(data)} bytes is not as it was")

    def test_blobs_are_read_from_any_offset(self) -> None:
        """A stream starts where it was asked to, or before that and says so."""
        with self._opener() as open_at:
            for offset in (1, 4095, 65536, len(_LARGE) - 1):
                opened = open_at(_LARGE, offset)
                _require(0 <= opened.start <= offset, "a stream starts behind what was asked for")
                _require(_read(opened) == _LARGE[opened.start :], f"not what is at {offset}")

    def test_a_blob_may_be_open_more_than_once(self) -> None:
        """Streams do not disturb each other, nor does one that is given up."""
        with self._opener() as open_at:
            first, second, third = (open_at(_LARGE, 0) for _ in range(3))
            head = first.stream.read1(100)
            third.stream.read1(1)
            third.stream.close()
            _require(_read(second) == _LARGE, "a second stream is not whole")
            _require(head + _read(first) == _LARGE, "a first stream is not whole")

    def test_threads_may_read_at_the_same_time(self) -> None:
        """A source may be used from any thread."""
        with self._opener() as open_at:
            found: list[bytes] = []
            _together([lambda: found.append(_read(open_at(_LARGE, 0)))] * _THREADS)
            _require(found == [_LARGE] * _THREADS, "threads that read disturb each other")

    def test_what_is_not_there_is_not_found(self) -> None:
        """Opening what is not there raises `NotFound`."""
        with self._opener() as open_at, _raises(NotFound, "a blob that is not there was opened"):
            open_at(b"something else", 0)

    def test_documents_are_verified(self) -> None:
        """`document` returns the bytes of a digest, and raises `NotFound` without any."""
        with self.source(contents()) as (source, root):
            _require(root.matches(source.document(root).raw), "a document is not its digest's")
            with _raises(NotFound, "a document that is not there was returned"):
                source.document(_ABSENT.digest)

    def test_small_blobs_are_read_at_once(self) -> None:
        """`read` returns a whole blob, and raises `NotFound` without any."""
        with self.source(contents()) as (source, _):
            for data in contents():
                _require(source.read(Descriptor.of(data, "")) == data, "`read` returned less")
            with _raises(NotFound, "a blob that is not there was read"):
                source.read(_ABSENT)

    def test_blobs_are_verified_on_demand(self) -> None:
        """`verify` accepts a good blob, and raises `NotFound` without any."""
        with self.source(contents()) as (source, _):
            for data in contents():
                source.verify(Descriptor.of(data, ""), CancelToken())
            with _raises(NotFound, "a blob that is not there was verified"):
                source.verify(_ABSENT, CancelToken())

    def test_ranges_are_declared(self) -> None:
        """`open_range` sends the bytes asked for, or raises `RangeRefused` without ``ranges``."""
        with self.source(contents()) as (source, _):
            token, blob = CancelToken(), Descriptor.of(_LARGE, "")
            if source.ranges:
                opened = source.open_range(blob, 1000, 70_000, token)
                _require(_read(opened) == _LARGE[1000:70_000], "a range is not what is there")
            else:
                with _raises(RangeRefused, "ranges were sent, though `ranges` is false"):
                    source.open_range(blob, 1000, 70_000, token)

    def test_the_source_describes_itself(self) -> None:
        """``label`` names the source, and a document without referrers has none."""
        with self.source(contents()) as (source, _):
            _require(bool(source.label), "the label is empty")
            _require(source.schema1 in {"", "deny"}, "`schema1` is neither empty nor deny")
            _require(not source.referrers(_ABSENT.digest), "an absent document has referrers")


class SinkContract:
    """The rules of a `Sink`, read back through a source of the same blobs."""

    def sink(self) -> AbstractContextManager[tuple[Sink, Source]]:
        """Make an empty sink to test.

        Returns:
            A context manager of the sink and a source that reads what was put into it. Several
            threads use both within the block.
        """
        raise NotImplementedError

    def test_what_was_put_is_there(self) -> None:
        """After `put` a blob can be read, and the receipt says what it is."""
        with self._opened() as place:
            for data in contents():
                receipt = place.put(data)
                _require(receipt.descriptor == Descriptor.of(data, ""), "the receipt is not of it")
                _require(not receipt.existed, "a new blob is said to have existed")
                _require(place.read(data) == data, "what was put is not what is there")

    def test_putting_again_reads_nothing(self) -> None:
        """`put` is idempotent: a blob that is there is not fetched again."""
        with self._opened() as place:
            place.put(_SMALL)
            again = place.put(_FakeBlob(_SMALL, refuse=True))
            _require(again.existed, "a blob that was there is not said to have existed")
            _require(place.read(_SMALL) == _SMALL, "the second `put` changed the blob")

    def test_a_size_that_nobody_knows_is_found(self) -> None:
        """A descriptor may have no size; the receipt's has one."""
        with self._opened() as place:
            receipt = place.put(_FakeBlob(_LARGE, size=None))
            _require(receipt.descriptor.size == len(_LARGE), "the receipt does not say the size")
            _require(place.read(_LARGE) == _LARGE, "what was put is not what is there")

    def test_sha512(self) -> None:
        """Digests are sha256 or sha512."""
        with self._opened() as place:
            digest = Digest.of(_SMALL, "sha512")
            place.put(_FakeBlob(_SMALL, digest=digest))
            _require(place.read(_SMALL, digest) == _SMALL, "not stored by its sha512")

    def test_wrong_content_is_refused(self) -> None:
        """A wrong digest or size is an `IntegrityError`, and nothing is visible after it."""
        for wrong in (_LARGE[:-1] + b"x", _LARGE[:-1], _LARGE + b"x", b""):
            with self._opened() as place:
                source = _FakeBlob(wrong, digest=Digest.of(_LARGE), size=len(_LARGE))
                with _raises(IntegrityError, f"{len(wrong)} wrong bytes were taken"):
                    place.put(source)
                place.require_nothing(_LARGE)
                place.put(_LARGE)
                _require(place.read(_LARGE) == _LARGE, "a failure spoils the next attempt")

    def test_a_source_that_fails(self) -> None:
        """Its error is passed on, nothing is visible, and a later `put` succeeds."""
        for honest in (True, False):  # whether the source then starts where it is asked to
            with self._opened() as place:
                with _raises(NetworkError, "the failure of a source was swallowed"):
                    place.put(_FakeBlob(_LARGE, fails_at=100_000))
                place.require_nothing(_LARGE)
                place.put(_FakeBlob(_LARGE, seeks=honest))
                _require(place.read(_LARGE) == _LARGE, "what was resumed is not whole")

    def test_cancelling(self) -> None:
        """A cancelled `put` raises `Cancelled`; nothing is visible, and nothing is spoiled."""
        with self._opened() as place:
            token = CancelToken()
            with _raises(Cancelled, "cancelling had no effect"):
                place.put(_FakeBlob(_LARGE, on_read=token.cancel), cancel=token)
            place.require_nothing(_LARGE)
            place.put(_LARGE)
            _require(place.read(_LARGE) == _LARGE, "cancelling spoils the next attempt")

    def test_diff_ids(self) -> None:
        """With `follow` the receipt has the digest and the size of the decompressed layer."""
        layer = gzip.compress(_LARGE, mtime=0)
        with self._opened() as place:
            for _ in range(2):  # for a blob that is there already as well
                receipt = place.put(layer, follow=True)
                _require(receipt.diff_id == Digest.of(_LARGE), "not the layer's DiffID")
                _require(receipt.raw_size in {None, len(_LARGE)}, "not the layer's raw size")

    def test_progress(self) -> None:
        """`on_bytes` is told how many bytes there are, never fewer than before, at last all."""
        told: list[int] = []
        with self._opened() as place:
            place.put(_LARGE, on_bytes=told.append)
        _require(told == sorted(told), "progress goes backwards")
        _require(told[-1:] == [len(_LARGE)], "progress does not come to the end")

    def test_threads_that_put_the_same_blob(self) -> None:
        """All succeed, or are told by `Busy` to come back; the blob is whole for each."""
        with self._opened() as place:

            def work() -> None:
                while True:
                    with contextlib.suppress(Busy):
                        place.put(_LARGE)
                        break
                _require(place.read(_LARGE) == _LARGE, "`put` returned before the blob was whole")

            _together([work] * _THREADS)

    def test_documents(self) -> None:
        """`put_document` is idempotent, and the source returns the document."""
        with self.sink() as (sink, source):
            child = Descriptor.of(_SMALL, "")
            sink.put(
                Blob(child, _FakeBlob(_SMALL).open),
                cancel=CancelToken(),
                on_bytes=lambda _: None,
            )
            document = Descriptor.of(_INDEX, OCI_INDEX)
            for _ in range(2):
                sink.put_document(document, _INDEX, [(child.digest, True)], CancelToken())
                _require(source.document(document.digest).raw == _INDEX, "not what was put")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_SinkUnderTest]:
        with self.sink() as (sink, source):
            yield _SinkUnderTest(sink, source)


class _SinkUnderTest:
    """A sink and a source of the same blobs, as the tests use them."""

    def __init__(self, sink: Sink, source: Source) -> None:
        self._sink = sink
        self._source = source

    def put(
        self,
        content: bytes | _FakeBlob,
        *,
        follow: bool = False,
        cancel: CancelToken | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Receipt:
        source = content if isinstance(content, _FakeBlob) else _FakeBlob(content)
        return self._sink.put(
            Blob(source.descriptor, source.open),
            follow=follow,
            cancel=cancel or CancelToken(),
            on_bytes=on_bytes,
        )

    def read(self, data: bytes, digest: Digest | None = None) -> bytes:
        descriptor = Descriptor("", digest or Digest.of(data), len(data))
        return _read(self._source.open(descriptor, 0, CancelToken()))

    def require_nothing(self, data: bytes) -> None:
        with _raises(NotFound, "something is visible after a failure"):
            self.read(data)


class _FakeBlob:
    """A blob to put that fails as a test asks.

    It fails at the byte ``fails_at``, may not be opened at all (``refuse``), or always starts
    at 0 (not ``seeks``); ``on_read`` is called before each read.
    """

    def __init__(
        self,
        data: bytes,
        *,
        digest: Digest | None = None,
        size: int | None = -1,
        fails_at: int | None = None,
        refuse: bool = False,
        seeks: bool = True,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self.descriptor = Descriptor(
            "", digest or Digest.of(data), len(data) if size == -1 else size
        )
        self._data = data
        self._fails_at = fails_at
        self._refuse = refuse
        self._seeks = seeks
        self._on_read = on_read

    def open(self, offset: int, _: Callable[[], bool]) -> Opened:
        _require(not self._refuse, "a blob that is there was opened at its source")
        start = offset if self._seeks else 0
        return Opened(_Reading(self._data[start:], self._fails_at, self._on_read), start)


class _Reading:
    def __init__(self, data: bytes, fails_at: int | None, on_read: Callable[[], None]) -> None:
        self._left = data
        self._until_failure = fails_at
        self._on_read = on_read

    def read1(self, size: int) -> bytes:
        self._on_read()
        if self._until_failure is not None:
            if not self._until_failure:
                raise NetworkError("the connection is gone", host="contract.example")
            size = min(size, self._until_failure)
            self._until_failure -= size
        data, self._left = self._left[:size], self._left[size:]
        return data

    def close(self) -> None:
        self._left = b""


def _together(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks in a thread each, and raise the first failure."""
    failures: list[BaseException] = []

    def run(task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
