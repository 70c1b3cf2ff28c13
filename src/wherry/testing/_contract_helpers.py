"""Helpers of the contract tests: assertions, and a blob that fails on request."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Opened
from wherry.errors import NetworkError, NotFound
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.testing.images import build_image
from wherry.testing.layers import tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.content.protocols import Receipt, Sink, Source
    from wherry.testing.images import BuiltImage, Piece

SMALL, LARGE = b"a small blob", bytes(range(256)) * 5000  # the larger one takes several reads
ABSENT = Descriptor.of(b"something else", "")
THREADS = 6


def contents() -> list[bytes]:
    """Return the blobs that a source under test must hold: an empty, a small and a large one."""
    return [b"", SMALL, LARGE]


def require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Raise `AssertionError` with ``what`` unless a rule holds."""
    if not holds:
        raise AssertionError(what)


@contextlib.contextmanager
def raises(kind: type[Exception], what: str) -> Iterator[None]:
    """Require that the block raises an exception of ``kind``."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{what}: no {kind.__name__} was raised")


def read_all(opened: Opened) -> bytes:
    """Read a stream to its end, and once more after that."""
    parts = []
    try:
        while data := opened.stream.read1(10_000):
            require(len(data) <= 10_000, "`read1` returned more than it was asked for")
            parts.append(data)
        require(opened.stream.read1(1) == b"", "a stream returned bytes after its end")
    finally:
        opened.stream.close()
    return b"".join(parts)


class SinkUnderTest:
    """A sink and a source of the same blobs, as the tests use them.

    Without a source, nothing can be read before the sink is closed.
    """

    def __init__(self, sink: Sink, source: Source | None) -> None:
        self._sink = sink
        self._source = source

    @property
    def label(self) -> str:
        """The name of the sink."""
        return self._sink.label

    @property
    def follows(self) -> bool:
        """Whether the sink can compute DiffIDs."""
        return self._sink.follows

    def has(self, data: bytes) -> bool:
        """Return whether the sink says that it has a blob."""
        return self._sink.has(Descriptor.of(data, ""))

    def put(
        self,
        content: bytes | FakeBlob,
        *,
        follow: bool = False,
        cancel: CancelToken | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Receipt:
        """Put a blob into the sink."""
        source = content if isinstance(content, FakeBlob) else FakeBlob(content)
        return self._sink.put(
            Blob(source.descriptor, source.open),
            follow=follow,
            cancel=cancel or CancelToken(),
            on_bytes=on_bytes,
        )

    def read(self, data: bytes, digest: Digest | None = None) -> bytes:
        """Return the stored blob with the digest of ``data``, or with ``digest``."""
        if self._source is None:
            return data
        descriptor = Descriptor("", digest or Digest.of(data), len(data))
        return read_all(self._source.open(descriptor, 0, CancelToken()))

    def require_nothing(self, data: bytes) -> None:
        """Require that the blob ``data`` is not visible."""
        require(not self.has(data), "`has` is true after a failure")
        if self._source is None:
            return
        with raises(NotFound, "something is visible after a failure"):
            self.read(data)


class FakeBlob:
    """A blob for a sink, which fails on request.

    Args:
        data: The content.
        digest: The digest that the descriptor states; by default the true one.
        size: The size that the descriptor states; by default (-1) the true one, or None.
        fails_at: The number of bytes after which reading raises `NetworkError`.
        refuse: Whether opening the blob breaks a rule.
        seeks: Whether a stream starts where it was asked to, and not always at 0.
        on_read: Called before each read.
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
        """Open the content at ``offset``, or at 0."""
        require(not self._refuse, "a stored blob was opened at its source")
        start = offset if self._seeks else 0
        return Opened(_FaultyStream(self._data[start:], self._fails_at, self._on_read), start)


class _FaultyStream:
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


def two_images() -> list[BuiltImage]:
    """Return two images with one layer in common; the layers are not compressed."""
    base = tar_layer({"etc/os-release": b"ID=base\n"})
    return [
        build_image([base, tar_layer({name: b"data"})], compression="none")
        for name in ("one", "two")
    ]


def put_image(sink: Sink, image: BuiltImage) -> Descriptor:
    """Put an image into a sink; return the descriptor of its root, which has no name yet."""
    pieces = (image.config, *image.layers)
    for piece in pieces:
        put_bytes(sink, descriptor_of(piece), piece.data)
    root = descriptor_of(image.manifest)
    children = [(Digest.parse(piece.digest), True) for piece in pieces]
    sink.put_document(root, image.manifest.data, children, CancelToken())
    return root


def put_bytes(sink: Sink, descriptor: Descriptor, data: bytes) -> None:
    """Put a blob into a sink."""
    blob = Blob(descriptor, FakeBlob(data).open)
    sink.put(blob, cancel=CancelToken(), on_bytes=lambda _: None)


def require_images(images: Sequence[BuiltImage], source: Source, sink: Sink) -> None:
    """Require that a source has images as they were put; a docker archive has no manifests."""
    for image in images:
        if sink.layer_compression == "keep":
            stored = source.document(Digest.parse(image.digest))
            require(stored.raw == image.manifest.data, "a manifest was changed")
        for piece in image.blobs():
            opened = source.open(descriptor_of(piece), 0, CancelToken())
            require(read_all(opened) == piece.data, "a blob of an image was changed")


def descriptor_of(piece: Piece) -> Descriptor:
    """Return the descriptor of a blob or document of an image."""
    return Descriptor(piece.media_type, Digest.parse(piece.digest), piece.size)


def run_together(tasks: Sequence[Callable[[], object]]) -> None:
    """Run each task in a thread, and raise the first failure."""
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
