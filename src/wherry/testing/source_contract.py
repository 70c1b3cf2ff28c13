"""Contract tests for sources of images.

A suite is a class that needs no test runner of its own. Derive from it and define how the source
is made; pytest (or unittest, with ``unittest.TestCase`` as a second base) finds the tests::

    class TestMySource(SourceContract):
        @contextlib.contextmanager
        def source(self, blobs):
            with MySource(blobs) as source:
                yield source, source.root

The suite tests what `wherry.content.protocols.Source` states. A failure names the rule that was
broken.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.protocols import RangeRefused
from wherry.errors import NotFound
from wherry.model.descriptor import Descriptor
from wherry.testing._contract_helpers import (
    ABSENT,
    LARGE,
    THREADS,
    contents,
    raises,
    read_all,
    require,
    run_together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from wherry.content.protocols import Opened, Source
    from wherry.model.digest import Digest

__all__ = ["SourceContract"]


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
        """A stream returns the blob, at most as many bytes as asked for, and then b""."""
        with self._opener() as open_at:
            for data in contents():
                opened = open_at(data, 0)
                require(opened.start == 0, "a stream from 0 does not start there")
                require(opened.total in {None, len(data)}, "`total` is not the blob's size")
                require(read_all(opened) == data, f"a blob of {len(data)} bytes was changed")

    def test_blobs_are_read_from_any_offset(self) -> None:
        """A stream starts at the offset or before it, and `start` says where."""
        with self._opener() as open_at:
            for offset in (1, 4095, 65536, len(LARGE) - 1):
                opened = open_at(LARGE, offset)
                require(0 <= opened.start <= offset, "a stream starts after its offset")
                require(
                    read_all(opened) == LARGE[opened.start :], f"wrong bytes at offset {offset}"
                )

    def test_a_blob_may_be_open_more_than_once(self) -> None:
        """Streams do not affect each other, nor does closing one early."""
        with self._opener() as open_at:
            first, second, third = (open_at(LARGE, 0) for _ in range(3))
            head = first.stream.read1(100)
            third.stream.read1(1)
            third.stream.close()
            require(read_all(second) == LARGE, "a second stream is not complete")
            require(head + read_all(first) == LARGE, "a first stream is not complete")

    def test_threads_may_read_at_the_same_time(self) -> None:
        """A source may be used from any thread."""
        with self._opener() as open_at:
            found: list[bytes] = []
            run_together([lambda: found.append(read_all(open_at(LARGE, 0)))] * THREADS)
            require(found == [LARGE] * THREADS, "threads that read affect each other")

    def test_an_absent_blob_is_not_found(self) -> None:
        """Opening an absent blob raises `NotFound`."""
        with self._opener() as open_at, raises(NotFound, "an absent blob was opened"):
            open_at(b"something else", 0)

    def test_documents_are_verified(self) -> None:
        """`document` returns verified bytes, and raises `NotFound` for an absent document."""
        with self.source(contents()) as (source, root):
            require(root.matches(source.document(root).raw), "a document has another digest")
            with raises(NotFound, "an absent document was returned"):
                source.document(ABSENT.digest)

    def test_small_blobs_are_read_at_once(self) -> None:
        """`read` returns a whole blob, and raises `NotFound` for an absent one."""
        with self.source(contents()) as (source, _):
            for data in contents():
                require(source.read(Descriptor.of(data, "")) == data, "`read` returned less")
            with raises(NotFound, "an absent blob was read"):
                source.read(ABSENT)

    def test_blobs_are_verified_on_demand(self) -> None:
        """`verify` accepts an intact blob, and raises `NotFound` for an absent one."""
        with self.source(contents()) as (source, _):
            for data in contents():
                source.verify(Descriptor.of(data, ""), CancelToken())
            with raises(NotFound, "an absent blob was verified"):
                source.verify(ABSENT, CancelToken())

    def test_ranges_are_declared(self) -> None:
        """`open_range` sends the bytes asked for, or raises `RangeRefused` without ``ranges``."""
        with self.source(contents()) as (source, _):
            token, blob = CancelToken(), Descriptor.of(LARGE, "")
            if source.ranges:
                opened = source.open_range(blob, 1000, 70_000, token)
                require(read_all(opened) == LARGE[1000:70_000], "a range has other bytes")
            else:
                with raises(RangeRefused, "ranges were sent, though `ranges` is false"):
                    source.open_range(blob, 1000, 70_000, token)

    def test_the_source_describes_itself(self) -> None:
        """``label`` names the source; an absent document has no referrers, and no tag."""
        with self.source(contents()) as (source, _):
            require(bool(source.label), "the label is empty")
            require(source.schema1 in {"", "deny"}, "`schema1` is neither empty nor deny")
            require(not source.referrers(ABSENT.digest), "an absent document has referrers")
            require(source.find_tag("absent") is None, "an absent tag was found")
            require("absent" not in source.tags(), "an absent tag is listed")
