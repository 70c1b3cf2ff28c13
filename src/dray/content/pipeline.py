"""The loop that receives a blob: write and hash in front, decompress and verify behind.

Three threads at most. The caller's reads, appends to the part file and hashes; a follower
reads what is in the file, from its beginning, and decompresses; a third hashes what comes
out. The follower never holds up the link, and resuming needs no replay for it, since it
reads the file in any case (docs/architecture.md, "Write first, verify behind").
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from dray.content.ports import skip
from dray.content.verify import RawLimit, follow_diff_id
from dray.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable

    from dray.content.cancel import CancelToken
    from dray.content.ports import Blob, Growing
    from dray.model.descriptor import Descriptor
    from dray.model.digest import Digest

CHUNK = 512 * 1024  # bytes a step at most; at 8 KiB all takes twice as long, 128 cost a tenth more
SMALL = 1024 * 1024  # bytes of a blob that is followed afterwards: threads cost more


class Limits(NamedTuple):
    """``raw`` bounds a layer decompressed; ``unsized`` is for blobs of no known size."""

    raw: RawLimit = RawLimit()
    unsized: int = 64 * 2**30


class Received(NamedTuple):
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
    limit = limits.raw.of(most)
    follower = _Follower(part, limit, cancel) if follow and most > SMALL else None
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
        return Received(part.size, *follower.result())
    if follow:
        return Received(part.size, *follow_diff_id(part.follow(), limit, cancel))
    return Received(part.size)


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
        raise _wrong_size(descriptor, f"{part.size:,} bytes")
    if hasher.hexdigest() != descriptor.digest.hex:
        actual = f"{descriptor.digest.algorithm}:{hasher.hexdigest()}"
        raise IntegrityError(
            f"content does not match its digest (got {actual})",
            expected=str(descriptor.digest),
            actual=actual,
            hint="nothing of it was stored; a proxy on the way may be altering downloads",
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
                raise _wrong_size(blob.descriptor, f"more than {most:,} bytes")
            part.append(data)
            hasher.update(data)
            on_bytes(part.size)
    finally:
        opened.stream.close()


def _wrong_size(descriptor: Descriptor, actual: str) -> IntegrityError:
    expected = "the limit" if descriptor.size is None else f"{descriptor.size:,} bytes"
    return IntegrityError(
        f"it has {actual}, expected {expected}",
        expected=expected,
        actual=actual,
    )


class _Follower:
    """The second thread: computes the DiffID of a part that is still growing."""

    def __init__(self, part: Growing, limit: int, cancel: CancelToken) -> None:
        self._part = part
        self._limit = limit
        self._cancel = cancel
        self._result: tuple[Digest, int] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dray-follow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = follow_diff_id(self._part.follow(), self._limit, self._cancel)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            # The writer goes on: if the digest is wrong as well, that is the error to show.
            self._error = error

    def join(self) -> None:
        self._thread.join()

    def result(self) -> tuple[Digest, int]:
        if self._error is not None:
            raise self._error
        assert self._result is not None  # noqa: S101 - one of the two is always set
        return self._result
