"""Receiving a blob: write and hash it, and compute its DiffID from the part file.

At most three threads work on a blob. The calling thread reads, appends to the part file and
hashes. A second thread reads the part file from its start and decompresses it. A third hashes the
decompressed content. So decompression never slows the download, and a resumed download needs no
special case (docs/architecture.md).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.content.codec import LONGEST_MAGIC, detect
from wherry.content.streams import skip
from wherry.content.verify import Hasher, RawLimit, follow_growing
from wherry.errors import IntegrityError, StoreError
from wherry.model.digest import Digest, mismatch
from wherry.model.record import Record

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable
    from typing import Protocol

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, GrowingBlob, RawStream
    from wherry.model.descriptor import Descriptor

    class ContentCheck(Protocol):
        """A check of decompressed content, piece by piece; raises `IntegrityError`."""

        def add(self, content: memoryview, /) -> None:
            """Check the next piece."""
            ...

        def finish(self) -> None:
            """Check that the content is complete."""
            ...


CHUNK = 512 * 1024  # most bytes of a step; 8 KiB take twice as long, 128 KiB a tenth longer
ALTERED = "nothing of it was stored; a proxy on the way may be altering downloads"
SMALL = 1024 * 1024  # bytes; for a smaller blob a thread takes longer than it saves


class Limits(Record):
    """Size limits in bytes for received content, whatever its descriptors say.

    Attributes:
        raw: For a decompressed layer.
        blob: For each blob.
        image: For the layers of one image together, compressed and decompressed.
    """

    raw: RawLimit = RawLimit()
    blob: int = 64 * 2**30
    image: int = 256 * 2**30


class BlobFacts(Record):
    """The size of a received blob, and the DiffID and size of its decompressed layer."""

    size: int
    diff_id: Digest | None = None
    raw_size: int | None = None


def receive(
    part: GrowingBlob,
    blob: Blob,
    *,
    follow: bool,
    limits: Limits,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
) -> BlobFacts:
    """Append the rest of ``blob`` to ``part`` and verify the blob.

    The digest decides where a blob ends, because the size in a descriptor may be wrong. For an
    exact blob, the size decides.

    Args:
        part: The part file; it may have the first bytes of the blob.
        blob: The blob.
        follow: Whether to compute the DiffID.
        limits: Size limits.
        cancel: Stops the call.
        on_bytes: Called often with the number of bytes in the part file.

    Raises:
        IntegrityError: The digest, the compression or the size of an exact blob is wrong. The
            part file is useless. After any other error it is a valid prefix of the blob.
    """
    size = blob.descriptor.size
    most = size if blob.exact and size is not None else limits.blob
    if part.size > most:
        part.restart()
    digest = blob.descriptor.digest
    behind = _PartReader(part, limits.raw, cancel, algorithm=digest.algorithm)
    follower = _DiffIdThread(behind) if follow and (size is None or size > SMALL) else None
    try:
        _fill(part, blob, most, cancel, on_bytes)
        part.finish()
    except BaseException:
        part.poison()
        raise
    finally:
        if follower is not None:
            follower.join()
    if follower is not None:
        return behind.blob_facts(digest, follower.result())
    return behind.blob_facts(digest, behind.facts()) if follow else BlobFacts(part.size)


def receive_unknown(
    part: GrowingBlob,
    source: RawStream,
    limits: Limits,
    cancel: CancelToken,
    *,
    on_bytes: Callable[[int], None] = lambda _: None,
    content_check: Callable[[], ContentCheck] | None = None,
) -> tuple[Digest, BlobFacts]:
    """Write ``source`` to an empty part file; return its sha256 and its sizes.

    Args:
        part: The part file.
        source: The content.
        limits: Size limits.
        cancel: Stops the call.
        on_bytes: Called often with the number of bytes in the part file.
        content_check: Makes a check of the decompressed content. Its failure ends the call.

    Raises:
        IntegrityError: The content is compressed and damaged, is too large, or fails the check.
    """
    behind = _PartReader(part, limits.raw, cancel, content_check)
    hasher = Hasher()
    follower: _DiffIdThread | None = None
    try:
        while follower is None or content_check is None or not follower.failed:
            cancel.check()
            buffer = hasher.buffer()
            count = source.readinto(buffer)
            if not count:
                hasher.give_back(buffer)
                break
            if part.size + count > limits.blob:
                raise _over_limit(limits.blob)  # noqa: TRY301
            part.append(memoryview(buffer)[:count])
            hasher.update(buffer, count)
            on_bytes(part.size)
            if follower is None and part.size > SMALL:
                follower = _DiffIdThread(behind)
        digest = Digest(f"sha256:{hasher.hexdigest()}")
        part.finish()
    except BaseException:
        part.poison()
        raise
    finally:
        hasher.stop()
        if follower is not None:
            follower.join()
    facts = behind.facts() if follower is None else follower.result()
    return digest, behind.blob_facts(digest, facts)


def _fill(
    part: GrowingBlob, blob: Blob, most: int, cancel: CancelToken, on_bytes: Callable[[int], None]
) -> None:
    """Append the missing bytes and check the digest of the blob."""
    descriptor = blob.descriptor
    hasher = descriptor.digest.hasher()

    def is_whole() -> bool:
        return hasher.hexdigest() == descriptor.digest.hex

    on_bytes(part.size)
    _hash_prefix(part, hasher, cancel)
    if not is_whole():
        _append(part, blob, hasher, is_whole, most, cancel, on_bytes)
    wrong_size = descriptor.size not in {None, part.size}
    if is_whole():
        if blob.exact and wrong_size:
            raise wrong_size_error(descriptor, f"{part.size:,}")
        return
    if wrong_size:
        raise wrong_size_error(descriptor, f"{part.size:,}", altered=True)
    raise mismatch(descriptor.digest, hasher.hexdigest(), hint=ALTERED)


def _hash_prefix(part: GrowingBlob, hasher: hashlib._Hash, cancel: CancelToken) -> None:
    left = part.size
    if not left:
        return
    prefix, buffer = part.follow(), bytearray(CHUNK)
    view = memoryview(buffer)
    while left:
        cancel.check()
        count = prefix.readinto(view[: min(left, CHUNK)]) or 0
        if not count:
            raise StoreError("a part file became shorter while it was read")
        hasher.update(view[:count])
        left -= count


def _append(
    part: GrowingBlob,
    blob: Blob,
    hasher: hashlib._Hash,
    is_whole: Callable[[], bool],
    most: int,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
) -> None:
    """Append bytes up to the end of the stream or of the blob."""
    size = blob.descriptor.size
    opened = blob.open(part.size, is_whole)
    try:
        if skip(opened.stream, part.size - opened.start):
            return
        while True:
            cancel.check()
            # The first reads end at the stated size, where the digest is compared. Later ones
            # ask for one byte more than the limit, to find data after the end.
            stated = size is not None and part.size < min(size, most)
            due = size - part.size if stated and size is not None else most - part.size + 1
            data = opened.stream.read1(min(CHUNK, due))
            if not data:
                return
            if part.size == size and is_whole():
                raise wrong_size_error(blob.descriptor, f"more than {size:,}", altered=True)
            if part.size + len(data) > most:
                raise _too_large(blob, most)
            part.append(data)
            hasher.update(data)
            on_bytes(part.size)
    finally:
        opened.stream.close()


def wrong_size_error(
    descriptor: Descriptor, actual: str, *, altered: bool = False
) -> IntegrityError:
    """Make the error for a blob whose size differs from its descriptor.

    The content is ``altered`` unless its digest matches.
    """
    return IntegrityError(
        f"it has {actual} bytes, expected {descriptor.size:,}",
        expected=f"{descriptor.size:,}",
        actual=actual,
        altered=altered,
        hint=ALTERED if altered else "",
    )


def _too_large(blob: Blob, most: int) -> IntegrityError:
    if blob.exact:
        return wrong_size_error(blob.descriptor, f"more than {most:,}", altered=True)
    return _over_limit(most)


def _over_limit(most: int) -> IntegrityError:
    return IntegrityError(
        f"it has more than {most:,} bytes, which is the limit",
        expected=f"at most {most} bytes",
        actual="more",
        hint="nothing of it was stored; in Python, Store(limits=...) allows more",
    )


class _PartReader(Record):
    """Reads a part file and computes the DiffID of its layer.

    ``algorithm`` is that of the digest of the complete blob. The size limit depends on the bytes
    that have arrived, whatever the descriptor says.
    """

    part: GrowingBlob
    limit: RawLimit
    cancel: CancelToken
    content_check: Callable[[], ContentCheck] | None = None
    algorithm: str = "sha256"

    def facts(self) -> tuple[Digest, int] | None:
        """Return the DiffID and the decompressed size in bytes.

        None for uncompressed content that needs no check: its DiffID is its digest, which the
        writer computes.
        """
        made = None if self.content_check is None else self.content_check()
        if made is None and self.algorithm == "sha256" and not self._is_packed():
            return None
        source = self.part.follow()

        def check() -> None:
            self.cancel.check()
            source.readinto(bytearray())  # raises if the download has failed

        limit = self.limit
        if made is None:
            return follow_growing(source, lambda: limit.of(self.part.size), check)
        found = follow_growing(source, lambda: limit.of(self.part.size), check, on_content=made.add)
        made.finish()
        return found

    def blob_facts(self, digest: Digest, facts: tuple[Digest, int] | None) -> BlobFacts:
        """Return the facts about the complete blob."""
        size = self.part.size
        return BlobFacts(size, *(facts or (digest, size)))

    def _is_packed(self) -> bool:
        head, source = b"", self.part.follow()
        while len(head) < LONGEST_MAGIC and (data := _some(source, LONGEST_MAGIC - len(head))):
            head += data
        return detect(head) is not None


def _some(source: RawStream, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: source.readinto(buffer) or 0])


class _DiffIdThread:
    """A thread that computes the DiffID while the part file grows."""

    def __init__(self, behind: _PartReader) -> None:
        self._behind = behind
        self._result: tuple[Digest, int] | None = None
        self._error: BaseException | None = None
        self._failed_at = 0
        self._thread = threading.Thread(target=self._run, name="wherry-follow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._behind.facts()
        except BaseException as error:  # noqa: BLE001 - raised again in `result`
            # The writer continues: if the digest is wrong too, that is the error to report.
            self._error = error
            self._failed_at = self._behind.part.size

    @property
    def failed(self) -> bool:
        return self._error is not None

    def join(self) -> None:
        self._thread.join()

    def result(self) -> tuple[Digest, int] | None:
        if self._error is not None:
            if self._failed_at < self._behind.part.size:
                return self._behind.facts()  # the limit may be higher now
            raise self._error
        return self._result
