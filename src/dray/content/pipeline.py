"""The loop that receives a blob: write and hash in front, decompress and verify behind.

Three threads at most. The caller's reads, appends to the part file and hashes; a follower
reads what is in the file, from its beginning, and decompresses; a third hashes what comes
out. The follower never holds up the link, and resuming needs no replay for it, since it
reads the file in any case (docs/architecture.md, "Write first, verify behind").
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dray.content.codec import LONGEST_MAGIC, detect
from dray.content.ports import skip
from dray.content.verify import Hasher, RawLimit, follow_diff_id
from dray.errors import IntegrityError, StoreError
from dray.model.digest import Digest
from dray.model.record import Record

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable

    from dray.content.cancel import CancelToken
    from dray.content.ports import Blob, Growing, Raw
    from dray.model.descriptor import Descriptor

CHUNK = 512 * 1024  # bytes a step at most; at 8 KiB all takes twice as long, 128 cost a tenth more
ALTERED = "nothing of it was stored; a proxy on the way may be altering downloads"
SMALL = 1024 * 1024  # bytes of a blob that is followed afterwards: threads cost more


class Limits(Record):
    """``raw`` bounds a layer decompressed; ``unsized`` is for blobs of no known size."""

    raw: RawLimit = RawLimit()
    unsized: int = 64 * 2**30


class Received(Record):
    """Facts about a blob that has arrived: bytes, and what its layer is decompressed."""

    size: int
    diff_id: Digest | None = None
    raw_size: int | None = None


def receive(
    part: Growing,
    blob: Blob,
    *,
    follow: bool,
    limits: Limits,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
) -> Received:
    """Bring ``part`` to the whole of ``blob`` and verify it; ``follow`` computes the DiffID.

    ``on_bytes`` is told the bytes that are there, often. Raises `IntegrityError` if size,
    digest or compression are wrong; the part is then good for nothing. After any other
    error what the part holds is a prefix worth keeping.
    """
    descriptor = blob.descriptor
    most = limits.unsized if descriptor.size is None else descriptor.size
    if part.size > most:
        part.restart()
    behind = _Behind(part, descriptor.digest, limits.raw.of(most), cancel)
    follower = _Follower(behind) if follow and most > SMALL else None
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
    return behind.received(behind.facts()) if follow else Received(part.size)


def receive_unknown(
    part: Growing, source: Raw, limits: Limits, cancel: CancelToken
) -> tuple[Digest, Received]:
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
    behind = _Behind(part, digest, limits.raw.of(part.size), cancel)
    return digest, behind.received(behind.facts())


def _fill(
    part: Growing, blob: Blob, most: int, cancel: CancelToken, on_bytes: Callable[[int], None]
) -> None:
    """Append what is missing and check size and digest of the whole."""
    descriptor = blob.descriptor
    hasher = descriptor.digest.hasher()
    on_bytes(part.size)
    _hash_prefix(part, hasher, cancel)
    if descriptor.size is None:
        # Only the digest tells whether a part of a blob of unknown size is all of it.
        complete = part.size > 0 and hasher.hexdigest() == descriptor.digest.hex
    else:
        complete = part.size >= descriptor.size
    if not complete:
        _append(part, blob, hasher, most, cancel, on_bytes)
    if descriptor.size is not None and part.size != descriptor.size:
        raise _wrong_size(descriptor, f"{part.size:,}")
    if hasher.hexdigest() != descriptor.digest.hex:
        actual = f"{descriptor.digest.algorithm}:{hasher.hexdigest()}"
        raise IntegrityError(
            f"content does not match its digest (got {actual})",
            expected=str(descriptor.digest),
            actual=actual,
            hint=ALTERED,
        )


def _hash_prefix(part: Growing, hasher: hashlib._Hash, cancel: CancelToken) -> None:
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
    part: Growing,
    blob: Blob,
    hasher: hashlib._Hash,
    most: int,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
) -> None:
    opened = blob.open(part.size)
    try:
        if skip(opened.stream, part.size - opened.start):
            return
        while True:
            cancel.check()
            # One byte more than is due, so that trailing data does not go unseen.
            data = opened.stream.read1(min(CHUNK, most - part.size + 1))
            if not data:
                return
            if part.size + len(data) > most:
                raise _wrong_size(blob.descriptor, f"more than {most:,}")
            part.append(data)
            hasher.update(data)
            on_bytes(part.size)
    finally:
        opened.stream.close()


def _wrong_size(descriptor: Descriptor, actual: str) -> IntegrityError:
    expected = "the limit" if descriptor.size is None else f"{descriptor.size:,}"
    return IntegrityError(
        f"it has {actual} bytes, expected {expected}",
        expected=expected,
        actual=actual,
        hint=ALTERED,
    )


class _Behind(Record):
    """What is read behind the writer: a part, the digest it is to have, and the raw limit."""

    part: Growing
    digest: Digest
    limit: int
    cancel: CancelToken

    def facts(self) -> tuple[Digest, int] | None:
        """Return the DiffID and the size in bytes; None for plain content.

        That has its digest for a DiffID, which the writer computes.
        """
        if self.digest.algorithm == "sha256" and not self._is_packed():
            return None
        return follow_diff_id(self.part.follow(), self.limit, self.cancel)

    def received(self, facts: tuple[Digest, int] | None) -> Received:
        """Return what is known when all has arrived."""
        size = self.part.size
        return Received(size, *(facts or (self.digest, size)))

    def _is_packed(self) -> bool:
        head, source = b"", self.part.follow()
        while len(head) < LONGEST_MAGIC and (data := _some(source, LONGEST_MAGIC - len(head))):
            head += data
        return detect(head) is not None


def _some(source: Raw, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: source.readinto(buffer) or 0])


class _Follower:
    """The second thread: computes the DiffID of a part that is still growing."""

    def __init__(self, behind: _Behind) -> None:
        self._behind = behind
        self._result: tuple[Digest, int] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dray-follow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._behind.facts()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            # The writer goes on: if the digest is wrong as well, that is the error to show.
            self._error = error

    def join(self) -> None:
        self._thread.join()

    def result(self) -> tuple[Digest, int] | None:
        if self._error is not None:
            raise self._error
        return self._result
