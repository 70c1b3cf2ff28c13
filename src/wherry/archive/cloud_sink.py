"""OCI image layouts in object storage as sinks."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

from wherry.archive.archive_sink import ArchiveSink
from wherry.archive.blob_part import GRACE, UnreadPart, fill
from wherry.archive.blob_turns import BlobTurns
from wherry.archive.cloud import Bucket
from wherry.archive.formats import MARK_ENTRY
from wherry.archive.layout_content import LayoutContent
from wherry.archive.layout_index import read_index
from wherry.archive.layout_names import parse_layout_name
from wherry.archive.oci import INDEX, MARK, blob_name, check_version
from wherry.errors import InvalidDigest, NotFound, StoreError, WherryError
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from wherry.archive.cloud import Version
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.cloud_settings import CloudSettings
    from wherry.model.descriptor import Descriptor

_BLOBS = "blobs/"
_PATIENCE = 10  # a part of 8 MiB may take so many time-outs
_ATTEMPTS = 50  # to change the index, while other writers change it
_PAUSE = 0.05  # seconds between two attempts, at most


class CloudSink(ArchiveSink):
    """A layout below a prefix, to add images to. Thread-safe, also between machines.

    Blobs and documents are visible at once. ``index.json`` changes at the end of the ``with``
    block, if it has not changed meanwhile; otherwise it is read and changed again.

    Args:
        path: The URL of the prefix.
        settings: How to connect.
        cancel: Ends requests.

    Raises:
        StoreError: There are other objects below the prefix.
        Unsupported: obstore is not installed, or the layout has another version.
    """

    def __init__(self, path: str, settings: CloudSettings, cancel: CancelToken) -> None:
        super().__init__(path)
        self._cancel = cancel
        self._turns = BlobTurns()
        self._sizes: dict[Digest, int] = {}  # of blobs that are there
        self._content = LayoutContent(path, self)
        self._bucket = Bucket(path, settings, cancel, patience=_PATIENCE)
        try:
            self._check()
        except BaseException:
            self._bucket.close()
            raise

    def _check(self) -> None:
        mark = self.read(MARK)
        if mark is None:
            others = sorted(set(self._bucket.names()) - {_BLOBS})
            if others:
                message = f"there are other objects, such as {others[0]}, and no OCI layout"
                raise StoreError(message, hint="choose another prefix").within(self.label)
            return
        try:
            check_version(mark)
            read_index(self.read(INDEX))
        except WherryError as error:
            raise error.within(self.label) from None

    # The files, for the content

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes, or None."""
        try:
            return self._bucket.head(name)
        except NotFound:
            return None

    def read(self, name: str) -> bytes | None:
        """Return a document, or None; raises `InvalidDocument` over 4 MiB."""
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[bytes | None, Version | None]:
        try:
            return self._bucket.read(name)
        except NotFound:
            return None, None

    def write(self, name: str, raw: bytes) -> None:
        """Write a document, or replace it."""
        self._bucket.write(name, raw)

    # Blobs, documents, names

    def _errors(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()  # those of requests have been translated

    def _turn(self, digest: Digest) -> AbstractContextManager[None]:
        return self._turns.turn(digest)

    def _find(self, descriptor: Descriptor) -> int | None:
        digest = descriptor.digest
        size = self._sizes.get(digest)
        if size is None:
            size = self.size(blob_name(digest))
        if size is None or descriptor.size not in {None, size}:
            return None
        self._sizes[digest] = size
        return size

    def _store(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        digest = blob.descriptor.digest

        def report(count: int) -> None:
            self._turns.report(digest, count)
            on_bytes(count)

        part = _UploadPart(self._bucket, blob_name(digest))
        try:
            size = fill(part, blob, cancel, report)
            part.upload.publish()
        except BaseException:
            part.upload.abandon()
            raise
        self._sizes[digest] = size
        return size

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Write a document, or replace a damaged one; idempotent.

        A referrer is listed without a name.

        Raises:
            Unsupported: The document is a schema1 manifest.
        """
        del cancel
        self._content.put_document(descriptor, raw, children)

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name at the end of the block; see `Sink.name`.

        A docker image is listed in OCI's formats, with the unchanged documents beside it.

        Raises:
            InvalidReference: A layout cannot have such a name.
            NotFound: The layout does not have the root.
        """
        super().name(name, root)
        self._content.add_root(root)

    def resolve(self, name: str) -> Digest | None:
        """Return the root that a name stands for; for a digest, whether its document is there."""
        if name in self._names:
            return self._names[name].digest
        try:
            digest = Digest.parse(name)
        except InvalidDigest:
            return self._content.find(name, self.read(INDEX))
        return digest if self._content.has(digest) else None

    def _check_name(self, name: str) -> None:
        if name:
            parse_layout_name(name)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if error is not None:
                self._turns.wait(GRACE)
            elif self._names:
                self._commit()
        finally:
            self._bucket.close()

    def _commit(self) -> None:
        """Make the names visible; what other writers have added meanwhile stays."""
        if self.size(MARK) is None:
            self._bucket.replace(MARK, MARK_ENTRY.data or b"", None)
        for _ in range(_ATTEMPTS):
            index, version = self._read(INDEX)
            changed = self._content.change(index, self._names)
            if changed is None or self._bucket.replace(INDEX, changed, version):
                return
            self._cancel.sleep(_PAUSE * random.random())  # noqa: S311 - not a secret
        message = f"other writers change {INDEX} all the time"
        raise StoreError(message, hint="try again").within(self.label)


class _UploadPart(UnreadPart):
    """A blob that is being sent."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self.upload = bucket.upload(name)

    def append(self, data: Buffer) -> None:
        """Send the next bytes."""
        raw = bytes(data)
        self.upload.append(raw)
        self.size += len(raw)

    def restart(self) -> None:
        """Remove what was sent, and begin again."""
        self.upload.abandon()
        self.upload = self._bucket.upload(self._name)
        self.size = 0
