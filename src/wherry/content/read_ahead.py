"""Reading pieces of bytes in a thread, ahead of their consumer."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_CHUNK = 2**20
_AHEAD = 3  # chunks


def read_ahead(pieces: Iterator[bytes]) -> Generator[bytes]:
    """Yield pieces joined to chunks of about 1 MiB; a thread reads a few chunks ahead.

    The thread ends with the generator.

    Raises:
        BaseException: What ``pieces`` raises.
    """
    found: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
    room = threading.Semaphore(_AHEAD)
    stopped = threading.Event()

    def run() -> None:
        try:
            for chunk in _joined(pieces):
                room.acquire()
                if stopped.is_set():
                    return
                found.put(chunk)
            found.put(b"")
        except BaseException as error:  # noqa: BLE001 - raised in the consumer's thread
            found.put(error)

    thread = threading.Thread(target=run, name="wherry-ahead", daemon=True)
    thread.start()
    try:
        while chunk := found.get():
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk
            room.release()
    finally:
        stopped.set()
        room.release()
        thread.join()


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(kept)
            kept, size = [], 0
    if size:
        yield b"".join(kept)
