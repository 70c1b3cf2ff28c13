"""What sinks that write directories have in common."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from wherry.archive.archive_sink import ArchiveSink
from wherry.archive.blob_part import GRACE, FilePart, fill
from wherry.archive.blob_turns import BlobTurns
from wherry.archive.output_directory import OutputDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class DirectorySink(ArchiveSink):
    """A directory with a file for each blob. Thread-safe.

    A file is verified and synced before it gets its name.

    Args:
        path: The directory.
        cancel: Cancels the wait for other writers.
    """

    def __init__(self, path: str, cancel: CancelToken) -> None:
        super().__init__(path)
        self._cancel = cancel
        self._turns = BlobTurns()
        with self._errors():
            self._directory = OutputDirectory(path)
            if not self._directory.is_new:
                self._left = "what was there is unchanged"
            try:
                self._check()
            except BaseException:
                self._directory.close()
                raise

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # A thread that does not stop after an error keeps its open files.
        if error is not None and not self._turns.wait(GRACE):
            return
        try:
            if error is None and self._names:
                with self._errors():
                    self._commit()
            else:
                self._roll_back()
        finally:
            self._directory.close()

    def _find(self, descriptor: Descriptor) -> int | None:
        size = self._directory.size(*self._place(descriptor.digest))
        return size if descriptor.size in {None, size} else None

    def _turn(self, digest: Digest) -> AbstractContextManager[None]:
        return self._turns.turn(digest)

    def _store(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        digest = blob.descriptor.digest

        def report(count: int) -> None:
            self._turns.report(digest, count)
            on_bytes(count)

        with self._directory.write(*self._place(digest)) as file:
            return fill(FilePart(file), blob, cancel, report)

    # What differs between formats

    @abc.abstractmethod
    def _place(self, digest: Digest) -> tuple[str, str]:
        """Return the folder and the name of a blob's file."""

    @abc.abstractmethod
    def _check(self) -> None:
        """Raise `StoreError` if the directory is something else."""

    @abc.abstractmethod
    def _commit(self) -> None:
        """Make the names visible."""

    @abc.abstractmethod
    def _roll_back(self) -> None:
        """Remove what nothing names, if nothing else can use it."""
