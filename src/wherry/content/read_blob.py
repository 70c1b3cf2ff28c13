"""Reading and verifying blobs, with a size limit for those in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, InvalidDocument, NetworkError
from wherry.model.digest import Digest, mismatch
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import BlobSource, Opened, Source
    from wherry.model.descriptor import Descriptor

DAMAGED = "the archive is damaged"
_CHUNK = 256 * 1024


def read_blob(source: Source, descriptor: Descriptor) -> bytes:
    """Return a small blob such as a config, verified.

    A blob that is embedded in its descriptor is not read from the source. Raises
    `InvalidDocument` over 4 MiB, `IntegrityError`, and what the source raises.
    """
    if descriptor.data is not None:
        return descriptor.data
    return source.read(descriptor)


def verify_blob(source: BlobSource, descriptor: Descriptor, cancel: CancelToken) -> None:
    """Read a blob to its end; raises `IntegrityError` if its digest does not match."""
    digest = descriptor.digest
    hasher = digest.hasher()
    stream = source.open(descriptor, 0, cancel).stream
    try:
        while data := stream.read1(_CHUNK):
            cancel.check()
            hasher.update(data)
    finally:
        stream.close()
    if hasher.hexdigest() != digest.hex:
        raise mismatch(digest, hasher.hexdigest())


def read_verified(opened: Opened, descriptor: Descriptor, host: str = "") -> bytes:
    """Read a blob of at most 4 MiB to its end and close the stream.

    Args:
        opened: The blob, from its start.
        descriptor: Its digest and size in bytes.
        host: The server that sends it; empty for an archive.

    Raises:
        InvalidDocument: The blob is larger, or its descriptor says so.
        NetworkError: The host ended the response too early.
        IntegrityError: The digest or the size does not match.
    """
    try:
        size = descriptor.size
        if (size or 0) > MAX_DOCUMENT:
            raise InvalidDocument(f"{descriptor.digest} is over {MAX_DOCUMENT >> 20} MiB")
        chunks, left = [], MAX_DOCUMENT + 1
        while left and (data := opened.stream.read1(left)):
            chunks.append(data)
            left -= len(data)
    finally:
        opened.stream.close()
    raw = b"".join(chunks)
    whole = opened.total in {None, size}  # otherwise the source has a shorter blob
    if host and size is not None and len(raw) < size and whole:
        raise NetworkError(f"the blob ended after {len(raw):,} bytes", host=host).within(host)
    if len(raw) > MAX_DOCUMENT:
        raise InvalidDocument(f"{descriptor.digest} is over {MAX_DOCUMENT >> 20} MiB")
    if not descriptor.digest.matches(raw):
        actual = Digest.of(raw, descriptor.digest.algorithm).hex
        hint = f"{host} or a proxy on the way altered it" if host else DAMAGED
        raise mismatch(descriptor.digest, actual, hint=hint).within(str(descriptor.digest))
    if size not in {None, len(raw)}:
        raise IntegrityError(
            f"it has {len(raw):,} bytes, the manifest says {size:,}",
            expected=f"{size} bytes",
            actual=f"{len(raw)} bytes",
        ).within(descriptor.digest)
    return raw
