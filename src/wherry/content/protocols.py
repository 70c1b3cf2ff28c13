"""Protocols of sources, sinks and streams, and what they pass on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    from typing_extensions import Buffer

    from wherry.content.cancel import CancelToken
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

    # Only for type checkers: creating protocol classes takes as long as a request.

    class Stream(Protocol):
        """Bytes that arrive in order; ``read1`` returns what is there, ``b""`` at the end."""

        def read1(self, size: int, /) -> bytes:
            """Wait for at least one byte and return at most ``size``."""
            ...

        def close(self) -> None:
            """Close the stream and discard the bytes that have not been read."""
            ...

    class RawStream(Protocol):
        """A file that reads into a buffer of the caller, like `io.RawIOBase`."""

        def readinto(self, buffer: Buffer, /) -> int | None:
            """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
            ...

    class BlobSource(Protocol):
        """Read blobs."""

        def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
            """Open a blob at ``offset`` bytes, or at a lower offset; raises `NotFound`."""
            ...

    class RangedSource(BlobSource, Protocol):
        """Read blobs and ranges of blobs."""

        def open_range(
            self, descriptor: Descriptor, start: int, stop: int, cancel: CancelToken
        ) -> Opened:
            """Open the bytes from ``start`` up to ``stop``; raises `RangeRefused`."""
            ...

    class Source(RangedSource, Protocol):
        """Read images: documents, and the blobs that they name.

        A repository, the local store, an archive and a layout are sources. What differs
        between them is declared by attributes.
        """

        @property
        def label(self) -> str:
            """The name of the source in messages: a repository's name, or a path."""
            ...

        @property
        def remote(self) -> bool:
            """Whether reading sends requests, which may fail for a moment."""
            ...

        @property
        def ranges(self) -> bool:
            """Whether `open_range` may succeed."""
            ...

        @property
        def verified(self) -> bool:
            """Whether content was verified on arrival, as in the local store."""
            ...

        @property
        def schema1(self) -> str:
            """``deny`` where the settings of the source refuse schema1 images, else empty."""
            ...

        @property
        def keeps_referrers(self) -> bool:
            """Whether `referrers` and `find_tag` may find anything."""
            ...

        def document(self, digest: Digest) -> Document:
            """Return a verified document; raises `NotFound` and `IntegrityError`."""
            ...

        def read(self, descriptor: Descriptor) -> bytes:
            """Return a small blob, verified; raises `NotFound` and `IntegrityError`.

            Raises `InvalidDocument` for a blob of more than 4 MiB.
            """
            ...

        def verify(self, descriptor: Descriptor, cancel: CancelToken) -> None:
            """Hash a blob; raises `NotFound`, and `IntegrityError` for a damaged one."""
            ...

        def referrers(self, digest: Digest, artifact_type: str = "") -> list[Descriptor]:
            """Return the documents whose subject is ``digest``, of one type or of any."""
            ...

        def find_tag(self, tag: str) -> Digest | None:
            """Return the digest of the document that has a tag; None if no document has it."""
            ...

        def tags(self) -> Iterator[str]:
            """Yield all tags; a remote source sends requests as they are read."""
            ...

    class BlobSink(Protocol):
        """Store blobs."""

        def put(
            self,
            blob: Blob,
            *,
            follow: bool = False,
            cancel: CancelToken,
            on_bytes: Callable[[int], None],
        ) -> Receipt:
            """Store a blob unless it is stored already; idempotent.

            After a failure nothing is visible. ``follow`` asks for the DiffID. ``on_bytes`` gets
            the number of bytes so far. Raises `Busy` while another writer stores the same blob.
            """
            ...

    class Sink(BlobSink, Protocol):
        """Store images and name them: blobs, then documents, then names.

        A repository, the local store, an archive and a layout are sinks. What differs between
        them is declared by attributes.
        """

        @property
        def label(self) -> str:
            """The name of the sink in messages: a repository's name, or a path."""
            ...

        @property
        def follows(self) -> bool:
            """Whether the sink is a `CheckingSink`, so that `put` can compute DiffIDs."""
            ...

        def has(self, descriptor: Descriptor) -> bool:
            """Return whether a blob is stored; a sink that can lose it keeps it from now on."""
            ...

        def put_document(
            self,
            descriptor: Descriptor,
            raw: bytes,
            children: Sequence[tuple[Digest, bool]],
            cancel: CancelToken,
        ) -> None:
            """Store a document after what it names; idempotent.

            ``children`` are the digests that it names, each with whether it has to be kept.
            """
            ...

        @property
        def remote(self) -> bool:
            """Whether writing sends requests, which may fail for a moment."""
            ...

        @property
        def mounts(self) -> bool:
            """Whether the sink is a `MountingSink`."""
            ...

        @property
        def ordered(self) -> bool:
            """Whether the order of the calls of `put` is the order of the content.

            Such a sink takes one blob at a time: for each image its config, then its layers from
            the bottom. Other orders are accepted, and give an archive with other bytes.
            """
            ...

        @property
        def indexes(self) -> bool:
            """Whether an index can be stored; otherwise a place holds images of one platform."""
            ...

        @property
        def keeps_referrers(self) -> bool:
            """Whether a stored document is found by its subject from then on."""
            ...

        @property
        def layer_compression(self) -> str:
            """``keep``, or ``none`` if layers have to be put uncompressed, by their DiffIDs."""
            ...

        def resolve(self, name: str) -> Digest | None:
            """Return the digest of the root that a name stands for, or None.

            An empty name stands for the only image of a place that has names, and for the image
            of a place that has none.
            """
            ...

        def name(self, name: str, root: Descriptor) -> None:
            """Give a root a name, after all below it is stored; always the last call.

            ``root.data`` may have the bytes of the root.
            The name moves if it stands for another root. Idempotent. An archive or layout takes
            an empty name: its root is found without one. An image becomes visible with its name.
            """
            ...

    class CheckingSink(Sink, Protocol):
        """A sink that compares the layers of images with their configs.

        Its `put_document` raises `IntegrityError` for an image with other layers than the
        config says.
        """

        @property
        def image_limit(self) -> int:
            """Bytes that the layers of one image may have together."""
            ...

        def has_image(self, manifest: Descriptor) -> bool:
            """Tell whether an image is complete and checked, and keep it from now on."""
            ...

        def read_config(self, config: Descriptor) -> ImageConfig:
            """Return the config of an image after its `put`; raises `InvalidDocument`."""
            ...

    class MountingSink(Sink, Protocol):
        """A sink that can take blobs from elsewhere at the same place."""

        def set_tags(self, tags: Sequence[str], root: Descriptor) -> None:
            """Set several names at once, as `name` sets one."""
            ...

        def mount(self, descriptor: Descriptor, sources: Sequence[str]) -> str | None:
            """Take a blob from the first of the repositories that has it.

            Returns:
                The repository that the blob was taken from, or None.
            """
            ...

        def begin(self, descriptor: Descriptor) -> None:
            """Let the next `put` of a blob send it without asking whether it is there."""
            ...

    class GrowingBlob(Protocol):
        """A blob that is being written by appending; its size is the progress."""

        @property
        def size(self) -> int:
            """Bytes that have been written."""
            ...

        def append(self, data: Buffer, /) -> None:
            """Append bytes and wake the readers that follow."""
            ...

        def restart(self) -> None:
            """Discard all bytes; only before the first call of `follow`."""
            ...

        def finish(self) -> None:
            """Tell the readers that the blob is complete."""
            ...

        def poison(self) -> None:
            """Make the readers fail, because the rest will not arrive."""
            ...

        def follow(self) -> RawStream:
            """Return a reader from the start, which waits for the writer."""
            ...


class Opened(Record):
    """A stream from ``start`` of a blob of ``total`` bytes, or None if unknown.

    ``start`` may be lower than the requested offset. The reader skips the difference.
    """

    stream: Stream
    start: int = 0
    total: int | None = None


class Blob(Record):
    """A blob that can be opened again at any offset, so that reading can resume.

    Attributes:
        descriptor: Its digest, and its size, which may be wrong.
        open: Takes the offset, and a function that tells whether the bytes read so far have the
            digest of the blob.
        joined: Tells whether the last stream came in several pieces, at different times.
        exact: Whether the blob has to have the descriptor's size.
    """

    descriptor: Descriptor
    open: Callable[[int, Callable[[], bool]], Opened]
    joined: Callable[[], bool] = lambda: False
    exact: bool = False


class Receipt(Record):
    """A stored blob with its true size; ``existed`` if it was stored before.

    ``diff_id`` and ``raw_size`` (bytes after decompression) are None if they were not computed.
    """

    descriptor: Descriptor
    diff_id: Digest | None = None
    raw_size: int | None = None
    existed: bool = False


class RangeRefused(Exception):
    """A source did not send the requested range of a blob."""


class Busy(Exception):
    """Another thread or process is writing this blob; ``size`` bytes of it are there."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size
