"""What a collection is about to remove: in which order, and how files go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wherry.store.blobs import BlobFiles

_UNLINKERS = 2  # threads: half of the time is the system's, which works in parallel


class Garbage:
    """Documents to be forgotten and files to be unlinked, taken from the end.

    With ``children``, what documents lead to, a file is given out as soon as the last one is
    taken that leads to it; without, all documents are to be taken first. In order, so that a
    batch concerns few pages of the database.
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
        """Take some of the files that nothing speaks of."""
        return _take(self.files, most)

    def take_documents(self, most: int) -> list[str]:
        """Take some documents, which are to be forgotten; their files may go then."""
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
    """Removes files in threads of its own, between `allow` and the end of `join`."""

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
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._failed.append(error)

    def allow(self) -> None:
        """Begin; an interrupt before all threads are there leaves them with nothing to do."""
        for thread in self._threads:
            thread.start()
        self._allowed = True
        self._go.set()

    def join(self) -> None:
        """Wait, whatever interrupts: the threads must not outlive the transaction."""
        try:
            self._go.set()
            for thread in self._threads if self._allowed else ():
                thread.join()
        except BaseException:
            self.join()
            raise
        if self._failed:
            raise self._failed[0]
