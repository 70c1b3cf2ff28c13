"""Read one blob from any source, and verify it."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from wherry.content.pipeline import Limits
from wherry.content.read_blob import DAMAGED
from wherry.content.retry import run
from wherry.errors import IntegrityError, InvalidReference
from wherry.model.address import Where
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest, mismatch
from wherry.ops.open_source import open_archive, open_repository
from wherry.transfer.progress import Emitter
from wherry.transfer.resume import resuming_blob

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable

    from typing_extensions import Buffer

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened, Stream
    from wherry.model.address import Address
    from wherry.ops.open_source import Access
    from wherry.registry.repository import Repository
    from wherry.store import LocalStore


class VerifiedBlob(io.RawIOBase):
    """A blob as a readable file that is verified at its end.

    The last read raises `IntegrityError` if the digest does not match.

    ``size`` is in bytes, or None if the source does not state it. ``archive`` is the path of an
    archive. ``hasher`` is a new hasher that the caller reads too.
    """

    def __init__(
        self,
        stream: Stream,
        digest: Digest,
        size: int | None,
        closing: contextlib.ExitStack,
        archive: str = "",
        hasher: hashlib._Hash | None = None,
    ) -> None:
        self._stream = stream
        self._digest = digest
        self._hash = hasher or digest.hasher()
        self._left = Limits().blob
        self._closing = closing
        self._archive = archive
        self.size = size

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` with what one read returns; return 0 at the verified end."""
        view = memoryview(buffer).cast("B")
        data = self._stream.read1(len(view))
        self._left -= len(data)
        self._hash.update(data)
        if self._left < 0 or (not data and self._hash.hexdigest() != self._digest.hex):
            raise self._wrong()
        view[: len(data)] = data
        return len(data)

    def _wrong(self) -> IntegrityError:
        hint = DAMAGED if self._archive else ""
        error = mismatch(self._digest, self._hash.hexdigest(), hint=hint)
        error.within(f"blob {self._digest}")
        return error.within(self._archive) if self._archive else error

    def close(self) -> None:
        """Close the blob and its source."""
        if not self.closed:
            self._stream.close()
            self._closing.close()
        super().close()


def open_blob(
    address: Address, digest: str, access: Access, store: Callable[[], LocalStore]
) -> VerifiedBlob:
    """Open a blob by ``digest``, or by the digest in its address.

    Reading resumes after a broken connection. ``store`` returns the store of ``store:`` addresses.

    Raises:
        InvalidReference: No digest is given.
        NotFound: There is no such blob.
        WherryError: The source cannot be read.
    """
    descriptor = Descriptor("", Digest.parse(digest) if digest else _named(address))
    if address.where is Where.ANY:
        is_stored = address.given is None or store().holds(descriptor.digest)
        address = address.replace(where=Where.STORE if is_stored else Where.REGISTRY)
    if address.where is Where.REGISTRY:
        return _from_registry(address, descriptor, access)
    with contextlib.ExitStack() as stack:
        if address.where is Where.STORE:
            from wherry.store.source import StoreSource

            opened = StoreSource(store()).open(descriptor, 0, access.cancel)
        else:
            archive = stack.enter_context(open_archive(address, access.cancel, cloud=access.cloud))
            archive.images()  # so that a docker archive knows which files are its blobs
            opened = archive.open(descriptor, 0, access.cancel)
        return VerifiedBlob(
            opened.stream, descriptor.digest, opened.total, stack.pop_all(), address.path
        )


def _named(address: Address) -> Digest:
    """Return the digest in an address."""
    if address.digest is not None:
        return address.digest
    if address.reference is not None and address.reference.digest is not None:
        return address.reference.digest
    _, found, text = address.name.rpartition("@")
    if found:
        return Digest.parse(text)
    raise InvalidReference(
        "a blob is named by its digest", text=address.name, position=len(address.name)
    )


def _from_registry(address: Address, descriptor: Descriptor, access: Access) -> VerifiedBlob:
    assert address.reference is not None  # noqa: S101 - `Address.parse` sees to it
    emitter = Emitter(access.listener, address.reference.familiar)
    policy, cancel = access.session().policy, access.cancel
    source = _SizeProbe(open_repository(address.reference, access))
    # Without the size, a connection that is cut looks like the end of the blob.
    size = run(policy, cancel, lambda: source.find_size(descriptor, cancel), emitter.report_retry)
    sized = descriptor._replace(size=size)
    digest = descriptor.digest
    hasher = digest.hasher()
    blob = resuming_blob(source, sized, policy, cancel, emitter.report_retry)
    stream = blob.open(0, lambda: hasher.hexdigest() == digest.hex).stream
    return VerifiedBlob(stream, digest, size, contextlib.ExitStack(), hasher=hasher)


class _SizeProbe:
    """Open a blob of a repository, and learn its size before it is read."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._first: Opened | None = None

    def find_size(self, descriptor: Descriptor, cancel: CancelToken) -> int | None:
        """Open a blob and return its size, if the registry states one."""
        self._first = self._repository.open(descriptor, 0, cancel)
        return self._first.total

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob; the first call returns the stream that `find_size` opened."""
        first, self._first = self._first, None
        return first or self._repository.open(descriptor, offset, cancel)
