"""The loop that receives a blob: write and hash in front, decompress and verify behind.

Three threads at most. The caller's reads, appends to the part file and hashes; a follower
reads what is in the file, from its beginning, and decompresses; a third hashes what comes
out. The follower never holds up the link, and resuming needs no replay for it, since it
reads the file in any case (docs/architecture.md, "Write first, verify behind").
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.content.codec import LONGEST_MAGIC, detect
from wherry.content.protocols import skip
from wherry.content.verify import Hasher, RawLimit, follow_growing
from wherry.errors import IntegrityError, StoreError
from wherry.model.digest import Digest, mismatch
from wherry.model.record import Record

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, GrowingBlob, RawStream
    from wherry.model.descriptor import Descriptor

CHUNK = 512 * 1024  # bytes a step at most; at 8 KiB all takes twice as long, 128 cost a tenth more
ALTERED = "nothing of it was stored; a proxy on the way may be altering downloads"
SMALL = 1024 * 1024  # bytes of a blob that is followed afterwards: threads cost more


class Limits(Record):
    """Bounds in bytes, of what has arrived, whatever descriptors say.

    ``raw`` bounds a layer decompressed, ``blob`` every blob, ``image`` the layers of one image
    together: as they arrive, and decompressed.
    """

    raw: RawLimit = RawLimit()
    blob: int = 64 * 2**30
    image: int = 256 * 2**30


class BlobFacts(Record):
    """Facts about a blob that has arrived: bytes, and what its layer is decompressed."""

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
    """Bring ``part`` to the whole of ``blob`` and verify it; ``follow`` computes the DiffID.

    The digest decides where a blob ends, unless the blob is exact: its size may be wrong.
    ``on_bytes`` is told the bytes that are there, often. Raises `IntegrityError` if digest or
    compression are wrong, or the size of an exact blob; the part is then good for nothing.
    After any other error what the part holds is a prefix worth keeping.
    """
    size = blob.descriptor.size
    most = size if blob.exact and size is not None else limits.blob
    if part.size > most:
        part.restart()
    behind = _PartReader(part, blob.descriptor.digest, limits.raw, cancel)
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
        return behind.received(follower.result())
    return behind.received(behind.facts()) if follow else BlobFacts(part.size)


def receive_unknown(
    part: GrowingBlob, source: RawStream, limits: Limits, cancel: CancelToken
) -> tuple[Digest, BlobFacts]:
    """Write ``source`` to its end into an empty part; return its sha256 and what it is.

    Raises `IntegrityError` for compressed content that is damaged or holds too much.
    """
    hasher = Hasher()
    try:
        while True:
            cancel.check()
            buffer = hasher.buffer()
            count = source.readinto(buffer)
            if not count:
                hasher.give_back(buffer)
                break
            part.append(memoryview(buffer)[:count])
            hasher.update(buffer, count)
        digest = Digest(f"sha256:{hasher.hexdigest()}")
    finally:
        hasher.stop()
    part.finish()
    behind = _PartReader(part, digest, limits.raw, cancel)
    return digest, behind.received(behind.facts())


def _fill(
    part: GrowingBlob, blob: Blob, most: int, cancel: CancelToken, on_bytes: Callable[[int], None]
) -> None:
    """Append what is missing and check the digest of the whole."""
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
    """Append to the end of the stream, but no byte to a blob that is whole at its stated size."""
    size = blob.descriptor.size
    opened = blob.open(part.size, is_whole)
    try:
        if skip(opened.stream, part.size - opened.start):
            return
        while True:
            cancel.check()
            # A read ends at the stated size, to compare the digest there. Beyond it, one byte
            # more than is due, so that trailing data does not go unseen.
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
    """Make the error for a blob of another size than its descriptor says.

    The bytes are ``altered`` unless their digest is right.
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
    return IntegrityError(
        f"it has more than {most:,} bytes, which is the limit",
        expected=f"at most {most} bytes",
        actual="more",
        hint="nothing of it was stored; in Python, Store(limits=...) allows more",
    )


class _PartReader(Record):
    """What is read behind the writer: a part, the digest it is to have, and the raw limit.

    The limit depends on the bytes that have arrived, whatever the blob's descriptor says.
    """

    part: GrowingBlob
    digest: Digest
    limit: RawLimit
    cancel: CancelToken

    def facts(self) -> tuple[Digest, int] | None:
        """Return the DiffID and the size in bytes; None for plain content.

        That has its digest for a DiffID, which the writer computes.
        """
        if self.digest.algorithm == "sha256" and not self._is_packed():
            return None
        source = self.part.follow()

        def check() -> None:
            self.cancel.check()
            source.readinto(bytearray())  # raises if the download has failed

        return follow_growing(source, lambda: self.limit.of(self.part.size), check)

    def received(self, facts: tuple[Digest, int] | None) -> BlobFacts:
        """Return what is known when all has arrived."""
        size = self.part.size
        return BlobFacts(size, *(facts or (self.digest, size)))

    def _is_packed(self) -> bool:
        head, source = b"", self.part.follow()
        while len(head) < LONGEST_MAGIC and (data := _some(source, LONGEST_MAGIC - len(head))):
            head += data
        return detect(head) is not None


def _some(source: RawStream, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: source.readinto(buffer) or 0])


class _DiffIdThread:
    """The second thread: computes the DiffID of a part that is still growing."""

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
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            # The writer goes on: if the digest is wrong as well, that is the error to show.
            self._error = error
            self._failed_at = self._behind.part.size

    def join(self) -> None:
        self._thread.join()

    def result(self) -> tuple[Digest, int] | None:
        if self._error is not None:
            if self._failed_at < self._behind.part.size:
                return self._behind.facts()  # a limit that was passed then may not be now
            raise self._error
        return self._result
