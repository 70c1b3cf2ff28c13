"""Contract tests for sinks of images.

Derive from the suite and define how the sink is made, as with `SourceContract`::

    class TestMyStore(SinkContract):
        @contextlib.contextmanager
        def sink(self):
            with MyStore() as store:
                yield store, store

The suite tests what `wherry.content.protocols.Sink` states. A failure names the rule that was
broken.
"""

from __future__ import annotations

import contextlib
import gzip
from functools import partial
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Busy
from wherry.errors import Cancelled, IntegrityError, NetworkError, Unsupported
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.mediatype import OCI_INDEX
from wherry.testing._contract_helpers import (
    LARGE,
    SMALL,
    THREADS,
    FakeBlob,
    SinkUnderTest,
    contents,
    put_bytes,
    put_image,
    raises,
    require,
    require_images,
    run_together,
    two_images,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from wherry.content.protocols import Sink, Source

__all__ = ["SinkContract"]

_INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'


class SinkContract:
    """The rules of a `Sink`, read back through a source of the same blobs."""

    names: tuple[str, ...] = ("first", "second")  # names of images; empty if there are none
    several = True  # whether the sink holds several images

    def sink(self) -> AbstractContextManager[tuple[Sink, Source | None]]:
        """Make an empty sink to test.

        Returns:
            A context manager of the sink, and a source that reads what was put into it. The
            source is None if nothing can be read before the end of the block. Several threads
            use both within the block.
        """
        raise NotImplementedError

    def stored(self) -> AbstractContextManager[Source]:
        """Open what the latest sink has stored; only for sinks without a source."""
        raise NotImplementedError

    def test_a_blob_that_was_put_can_be_read(self) -> None:
        """After `put` a blob can be read, and the receipt describes it."""
        with self._opened() as probe:
            for data in contents():
                receipt = probe.put(data)
                require(receipt.descriptor == Descriptor.of(data, ""), "a receipt is wrong")
                require(not receipt.existed, "`existed` is true for a new blob")
                require(probe.read(data) == data, "a blob was changed")

    def test_has_tells_what_is_there(self) -> None:
        """`has` is false before `put` and true after it; the sink has a ``label``."""
        with self._opened() as probe:
            require(bool(probe.label), "the label is empty")
            for data in contents():
                require(not probe.has(data), "`has` is true for an absent blob")
                probe.put(data)
                require(probe.has(data), "`has` is false for a blob that was put")

    def test_putting_again_reads_nothing(self) -> None:
        """`put` is idempotent: it does not open a blob that the sink has."""
        with self._opened() as probe:
            probe.put(SMALL)
            again = probe.put(FakeBlob(SMALL, refuse=True))
            require(again.existed, "`existed` is false for a blob that the sink had")
            require(probe.read(SMALL) == SMALL, "the second `put` changed the blob")

    def test_an_unknown_size_is_found(self) -> None:
        """A descriptor may have no size; that of the receipt has one."""
        with self._opened() as probe:
            receipt = probe.put(FakeBlob(LARGE, size=None))
            require(receipt.descriptor.size == len(LARGE), "a receipt has no size")
            require(probe.read(LARGE) == LARGE, "a blob was changed")

    def test_sha512(self) -> None:
        """Digests are sha256 or sha512."""
        with self._opened() as probe:
            digest = Digest.of(SMALL, "sha512")
            probe.put(FakeBlob(SMALL, digest=digest))
            require(probe.read(SMALL, digest) == SMALL, "a blob was not stored by its sha512")

    def test_wrong_content_is_refused(self) -> None:
        """A wrong digest or size raises `IntegrityError`, and nothing is visible after it."""
        for wrong in (LARGE[:-1] + b"x", LARGE[:-1], LARGE + b"x", b""):
            with self._opened() as probe:
                source = FakeBlob(wrong, digest=Digest.of(LARGE), size=len(LARGE))
                with raises(IntegrityError, f"{len(wrong)} wrong bytes were accepted"):
                    probe.put(source)
                probe.require_nothing(LARGE)
                probe.put(LARGE)
                require(probe.read(LARGE) == LARGE, "a failure affects the next attempt")

    def test_a_source_that_fails(self) -> None:
        """`put` raises the source's error, nothing is visible, and a later `put` succeeds."""
        for seeks in (True, False):
            with self._opened() as probe:
                with raises(NetworkError, "the failure of a source was ignored"):
                    probe.put(FakeBlob(LARGE, fails_at=100_000))
                probe.require_nothing(LARGE)
                probe.put(FakeBlob(LARGE, seeks=seeks))
                require(probe.read(LARGE) == LARGE, "a resumed blob is not complete")

    def test_cancelling(self) -> None:
        """A cancelled `put` raises `Cancelled`, nothing is visible, and a later `put` succeeds."""
        with self._opened() as probe:
            token = CancelToken()
            with raises(Cancelled, "cancelling had no effect"):
                probe.put(FakeBlob(LARGE, on_read=token.cancel), cancel=token)
            probe.require_nothing(LARGE)
            probe.put(LARGE)
            require(probe.read(LARGE) == LARGE, "cancelling affects the next attempt")

    def test_diff_ids(self) -> None:
        """With ``follow`` the receipt has the digest and size of the decompressed layer.

        A sink that does not `follow` has receipts without them.
        """
        layer = gzip.compress(LARGE, mtime=0)
        with self._opened() as probe:
            for _ in range(2):  # the second time for a blob that the sink has
                receipt = probe.put(layer, follow=True)
                if not probe.follows:
                    require(receipt.diff_id is None, "a receipt has a DiffID of no layer")
                    continue
                require(receipt.diff_id == Digest.of(LARGE), "a receipt has a wrong DiffID")
                require(receipt.raw_size in {None, len(LARGE)}, "a receipt has a wrong raw size")

    def test_progress(self) -> None:
        """`on_bytes` gets the number of bytes so far: it never decreases, and ends at the size."""
        counts: list[int] = []
        with self._opened() as probe:
            probe.put(LARGE, on_bytes=counts.append)
        require(counts == sorted(counts), "progress goes backwards")
        require(counts[-1:] == [len(LARGE)], "progress does not reach the size")

    def test_threads_that_put_the_same_blob(self) -> None:
        """Each `put` succeeds or raises `Busy`; after it succeeds the blob is complete."""
        with self._opened() as probe:

            def work() -> None:
                while True:
                    with contextlib.suppress(Busy):
                        probe.put(LARGE)
                        break
                require(probe.read(LARGE) == LARGE, "`put` returned before the blob was complete")

            run_together([work] * THREADS)

    def test_threads_that_put_different_blobs(self) -> None:
        """Several threads may put blobs, even into a sink that is ordered."""
        blobs = [bytes([number]) * 70_000 for number in range(THREADS)]
        with self._opened() as probe:
            run_together([partial(probe.put, data) for data in blobs])
            for data in blobs:
                require(probe.has(data), "a blob is missing")
                require(probe.read(data) == data, "a blob was changed")

    def test_documents(self) -> None:
        """`put_document` is idempotent, and the source returns the document.

        A sink may refuse an index.
        """
        with self.sink() as (sink, source):
            put_bytes(sink, Descriptor.of(SMALL, ""), SMALL)
            children = [(Digest.of(SMALL), True)]
            index = Descriptor.of(_INDEX, OCI_INDEX)
            if not sink.indexes:
                with raises(Unsupported, "an index was accepted"):
                    sink.put_document(index, _INDEX, children, CancelToken())
                return
            for _ in range(2):
                sink.put_document(index, _INDEX, children, CancelToken())
                if source is not None:
                    stored = source.document(index.digest)
                    require(stored.raw == _INDEX, "a document was changed")

    def test_it_describes_itself(self) -> None:
        """The attributes of a sink have the types that the protocol states."""
        with self.sink() as (sink, _):
            for fact in ("remote", "mounts", "ordered", "indexes", "follows"):
                require(isinstance(getattr(sink, fact), bool), f"`{fact}` is not a bool")
            require(sink.mounts == hasattr(sink, "mount"), "`mounts` is wrong")
            require(sink.follows == hasattr(sink, "read_config"), "`follows` is wrong")
            known = {"keep", "none"}
            require(sink.layer_compression in known, "`layer_compression` is unknown")

    def test_names(self) -> None:
        """`name` makes `resolve` find a root. It is idempotent and has no effect on other names."""
        with self.sink() as (sink, _):
            root = put_image(sink, two_images()[0])
            for name in self.names:
                require(sink.resolve(name) is None, "there is a name before `name`")
                for _ in range(2):
                    sink.name(name, root)
                    require(sink.resolve(name) == root.digest, "a name was not set")
            for name in self.names:
                require(sink.resolve(name) == root.digest, "a name was lost")

    def test_names_move(self) -> None:
        """`name` moves a name to another root, and leaves others where they are."""
        if not self.several:
            return
        with self.sink() as (sink, _):
            roots = [put_image(sink, image) for image in two_images()]
            for name in self.names:
                sink.name(name, roots[0])
            sink.name(self.names[0], roots[1])
            require(sink.resolve(self.names[0]) == roots[1].digest, "a name was not moved")
            for name in self.names[1:]:
                require(sink.resolve(name) == roots[0].digest, "another name was moved too")

    def test_named_images_can_be_read(self) -> None:
        """Images that have names can be read, at the latest after the end of the block."""
        images = two_images() if self.several else two_images()[:1]
        with self.sink() as (sink, source):
            for name, image in zip(self.names, images, strict=False):
                sink.name(name, put_image(sink, image))
            if source is not None:
                require_images(images, source, sink)
        if source is None:
            with self.stored() as source:
                require_images(images, source, sink)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[SinkUnderTest]:
        with self.sink() as (sink, source):
            yield SinkUnderTest(sink, source)
