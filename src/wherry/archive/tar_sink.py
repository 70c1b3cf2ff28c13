"""What sinks that write archives have in common."""

from __future__ import annotations

import abc
import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.archive.archive_file import ArchiveFile
from wherry.archive.blob_part import GRACE, fill
from wherry.archive.write_errors import translate_write_errors
from wherry.content.pipeline import Limits
from wherry.content.protocols import Receipt
from wherry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from wherry.archive.blob_part import Spool
    from wherry.archive.writer import Entry
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class TarSink(abc.ABC):
    """A new archive, which gets its name at the end of the ``with`` block.

    After a failure, or if no image was named, there is no new file. Calls from several threads
    wait for each other.

    Args:
        path: The file or the named pipe.
        first: The first entry of the tar, if there always is one.
    """

    remote = False
    mounts = False
    ordered = True
    follows = False
    indexes = True
    keeps_referrers = True
    layer_compression = "keep"
    image_limit = Limits().image

    def __init__(self, path: str, first: Entry | None = None) -> None:
        self.label = path
        with translate_write_errors(path):
            self._file = ArchiveFile(path, first)
        self._lock = threading.RLock()
        self._stored: dict[Digest, int] = {}  # sizes of blobs and documents
        self._names: dict[str, Digest] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # A thread that does not stop after an error keeps its open files.
        if not self._lock.acquire(timeout=-1 if error is None else GRACE):
            return
        try:
            with translate_write_errors(self.label), contextlib.ExitStack() as closing:
                closing.callback(self._file.close)
                closing.callback(self._close)
                if error is None and self._names:
                    self._write_rest()
                    self._file.publish()
        finally:
            self._lock.release()

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether a blob or document was put into this archive."""
        return descriptor.digest in self._stored

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Write a blob unless it was put before; ``follow`` has no effect.

        Raises:
            IntegrityError: The content does not match the descriptor.
            StoreError: The archive cannot be written.
        """
        del follow
        descriptor = blob.descriptor
        with self._lock, translate_write_errors(self.label):
            size = self._stored.get(descriptor.digest)
            existed = size is not None
            if size is None:
                size = self._store(blob, cancel, on_bytes)
                self._stored[descriptor.digest] = size
        return Receipt(descriptor._replace(size=size), existed=existed)

    def resolve(self, name: str) -> Digest | None:
        """Return the root that `name` has set; an archive is written anew."""
        return self._names.get(name)

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name, or move the name to it; see `Sink.name`.

        Raises:
            NotFound: The root was not put into this archive.
            InvalidReference: The archive cannot have such a name.
        """
        self._check_name(name)
        with self._lock:
            if root.digest not in self._stored:
                raise NotFound(f"{root.digest} was not written").within(self.label)
            self._names.pop(name, None)
            self._names[name] = root.digest

    def _spooled(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> Spool:
        """Write a blob to a spool."""
        spool = self._file.spool()
        try:
            fill(spool, blob, cancel, on_bytes)
        except BaseException:
            spool.close()
            raise
        return spool

    # What differs between formats

    @abc.abstractmethod
    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Write a document after what it names; idempotent."""

    @abc.abstractmethod
    def _store(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        """Write a blob to the tar or to a spool; return its size."""

    @abc.abstractmethod
    def _check_name(self, name: str) -> None:
        """Raise `InvalidReference` if the archive cannot have this name."""

    @abc.abstractmethod
    def _write_rest(self) -> None:
        """Write the documents that name the others."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Close the spools."""
