"""The blobs that threads are writing to a place, each by one thread."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.content.protocols import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.model.digest import Digest


class BlobTurns:
    """Give each blob to one thread at a time. Thread-safe."""

    def __init__(self) -> None:
        self._idle = threading.Condition()  # no thread writes a blob
        self._written: dict[Digest, int] = {}

    @contextlib.contextmanager
    def turn(self, digest: Digest) -> Iterator[None]:
        """Exclude other threads during the block; raises `Busy` if one has the blob."""
        with self._idle:
            if digest in self._written:
                raise Busy(self._written[digest])
            self._written[digest] = 0
        try:
            yield
        finally:
            with self._idle:
                del self._written[digest]
                self._idle.notify_all()

    def report(self, digest: Digest, count: int) -> None:
        """Note how many bytes of a blob are written."""
        self._written[digest] = count

    def wait(self, seconds: float) -> bool:
        """Wait until no thread writes; tell whether that is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._written, seconds)
