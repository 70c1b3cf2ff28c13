"""What sinks that write archives have in common."""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING

from wherry.archive.archive_file import ArchiveFile
from wherry.archive.archive_sink import ArchiveSink
from wherry.archive.blob_part import GRACE, fill
from wherry.archive.os_files import KINDS
from wherry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.archive.blob_part import Spool
    from wherry.archive.entry import Entry
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class TarSink(ArchiveSink):
    """A new archive, which gets its name at the end of the ``with`` block.

    After a failure, or if no image was named, there is no new file. Calls from several threads
    wait for each other.

    Args:
        path: The file or the named pipe.
        first: The first entry of the tar, if there always is one.
    """

    ordered = True

    def __init__(self, path: str, first: Entry | None = None) -> None:
        super().__init__(path)
        with self._errors():
            self._file = ArchiveFile(path, first, hint=KINDS)
        self._stored: dict[Digest, int] = {}  # sizes of blobs and documents

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # A thread that does not stop after an error keeps its open files.
        if not self._lock.acquire(timeout=-1 if error is None else GRACE):
            return
        try:
            with self._errors(), contextlib.ExitStack() as closing:
                closing.callback(self._file.close)
                closing.callback(self._close)
                if error is None and self._names:
                    self._write_rest()
                    self._file.publish()
        finally:
            self._lock.release()

    def _turn(self, _digest: Digest) -> contextlib.AbstractContextManager[object]:
        return self._lock

    def _find(self, descriptor: Descriptor) -> int | None:
        return self._stored.get(descriptor.digest)

    def _store(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        size = self._stored[blob.descriptor.digest] = self._add(blob, cancel, on_bytes)
        return size

    def resolve(self, name: str) -> Digest | None:
        """Return the root that `name` has set; an archive is written anew."""
        root = self._names.get(name)
        return None if root is None else root.digest

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name, or move the name to it; see `Sink.name`.

        Raises:
            NotFound: The root was not put into this archive.
            InvalidReference: The archive cannot have such a name.
        """
        if root.digest not in self._stored:
            raise NotFound(f"{root.digest} was not written").within(self.label)
        super().name(name, root)

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
    def _add(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        """Write a blob to the tar or to a spool; return its size in bytes."""

    @abc.abstractmethod
    def _write_rest(self) -> None:
        """Write the documents that name the others."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Close the spools."""
