"""A blob that is being downloaded, as the requests see it that follow it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.errors import WherryError
    from wherry.model.digest import Digest


class Download:
    """The state of one download: a thread changes it, requests in the event loop follow it.

    Attributes:
        digest: The digest of the blob.
        repository: The repository (``host/path``) that it comes from.
        total: The bytes of the blob, as far as they are known.
        is_done: Whether the download has ended.
        error: Why it failed; None if the blob is verified.
        is_answered: Whether bytes can arrive.
        is_aside: Whether the blob is only in the file that requests read, and not in the store.
    """

    def __init__(self, digest: Digest, repository: str) -> None:
        self._file: io.FileIO | None = None
        self.digest = digest
        self.repository = repository
        self.total: int | None = None
        self.is_done = False
        self.error: WherryError | None = None
        self.is_aside = False
        self._loop = asyncio.get_running_loop()
        self._version = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._wake_due = False
        self.is_answered = False
        self._lock = threading.Lock()

    # The thread

    def attach(self, file: io.FileIO) -> None:
        """Let requests read a file from now on, which grows while the blob arrives."""
        with self._lock:
            previous, self._file = self._file, file
        if previous is not None:
            previous.close()

    def is_attached_to(self, file: io.FileIO) -> bool:
        """Tell whether requests read this file already."""
        with self._lock:
            return self._file is not None and os.path.sameopenfile(
                self._file.fileno(), file.fileno()
            )

    def answer(self, total: int | None) -> None:
        """Note that the blob is there and has begun to arrive."""
        if self.total is None:
            self.total = total
        self.is_answered = True
        self.grow()

    def grow(self) -> None:
        """Wake the requests, since there are more bytes."""
        self._version += 1
        if not self._wake_due:
            self._wake_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake)

    def finish(self, error: WherryError | None) -> None:
        """End the download; what has arrived can still be read."""
        self.error = error
        self.is_done = True
        self.grow()

    def __del__(self) -> None:
        """Close the file, since no request needs it any more."""
        if self._file is not None:
            self._file.close()

    # The event loop

    def _wake(self) -> None:
        self._wake_due = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    @property
    def version(self) -> int:
        """A number that every change increases."""
        return self._version

    async def changed_since(self, version: int) -> None:
        """Wait for a change after ``version``."""
        while self._version == version:
            future = self._loop.create_future()
            self._waiting.append(future)
            await future

    async def started(self) -> None:
        """Wait until bytes can arrive, or the download has ended."""
        while not (self.is_answered or self.is_done):
            await self.changed_since(self._version)

    async def ended(self) -> None:
        """Wait until the download has ended."""
        while not self.is_done:
            await self.changed_since(self._version)

    def open(self) -> io.FileIO | None:
        """Open what has arrived; None if the download has ended without a file."""
        with self._lock:
            return None if self._file is None else io.FileIO(os.dup(self._file.fileno()))
