"""The garbage of a collection: the order in which it is removed, and the threads that unlink."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wherry.store.blobs import BlobFiles

_UNLINKERS = 2  # threads; half of the time is spent in the kernel, which works in parallel


class Garbage:
    """Documents whose rows are to be deleted and files to be unlinked, in order of digest.

    The order keeps a batch on few pages of the database. ``children`` returns what a document
    lists. With it, a file becomes available as soon as the last document that lists it has been
    taken. Without it, the caller has to take all documents before the files.
    """

    def __init__(
        self,
        documents: Iterable[str],
        files: Iterable[str],
        children: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        self.documents = sorted(documents, reverse=True)
        self.files: list[str] = sorted(files)
        self._behind: dict[str, list[str]] = {}
        if children is not None:
            self._arrange(children)

    def _arrange(self, children: Callable[[str], Iterable[str]]) -> None:
        last: dict[str, str] = {}
        for document in reversed(self.documents):
            last.update(dict.fromkeys((document, *children(document)), document))
        free: list[str] = []
        for file in self.files:
            behind = last.get(file)
            waiting = free if behind is None else self._behind.setdefault(behind, [])
            waiting.append(file)
        self.files = free

    def take_files(self, most: int) -> list[str]:
        """Take at most ``most`` files that no document in the garbage lists."""
        return _take(self.files, most)

    def take_documents(self, most: int) -> list[str]:
        """Take at most ``most`` documents; files that only they listed become available."""
        batch = _take(self.documents, most)
        freed = [file for document in batch for file in self._behind.pop(document, ())]
        if freed:
            self.files = sorted([*self.files, *freed])
        return batch


def _take(some: list[str], most: int) -> list[str]:
    batch = some[-most:]
    del some[-most:]
    return batch


class Unlinker:
    """Removes files in threads, between `allow` and the end of `join`."""

    def __init__(self, files: BlobFiles, digests: Sequence[str]) -> None:
        self._files = files
        self._go = threading.Event()
        self._allowed = False
        self._failed: list[Exception] = []
        shares = [digests[start::_UNLINKERS] for start in range(_UNLINKERS)]
        self._threads = [
            threading.Thread(target=self._unlink, args=(share,), daemon=True) for share in shares
        ]

    def _unlink(self, digests: Sequence[str]) -> None:
        self._go.wait()
        try:
            if self._allowed:
                self._files.unlink(digests)
        except Exception as error:  # noqa: BLE001 - raised by `join`
            self._failed.append(error)

    def allow(self) -> None:
        """Start to remove; an interrupt before all threads have started removes nothing."""
        for thread in self._threads:
            thread.start()
        self._allowed = True
        self._go.set()

    def join(self) -> None:
        """Wait for the threads despite interrupts: they must not outlive the transaction."""
        try:
            self._go.set()
            for thread in self._threads if self._allowed else ():
                thread.join()
        except BaseException:
            self.join()
            raise
        if self._failed:
            raise self._failed[0]
