"""A memory budget that all decoders of the process share.

A stream determines the memory of its decoder, by the window of a zstd frame (RFC 8878,
3.1.1.1.2) or the dictionary of an xz block. Six small layers with the largest window would take
800 MB at once.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DECODER = 2**27  # bytes of window or dictionary that one stream may ask for (128 MiB)
BUDGET = 200 * 2**20  # bytes for all decoders: one with the largest window and some others
PATIENCE = 120.0  # seconds without a step of any decoder, after which waiting ends
_POLL = 0.1  # seconds between checks for cancellation and steps


class DecoderMemory:
    """A budget in bytes. Thread-safe; in a forked child nothing is reserved.

    ``steps`` counts the steps of all decoders. While it grows, memory will become free.
    """

    def __init__(self, limit_bytes: int = BUDGET, patience_seconds: float = PATIENCE) -> None:
        self.limit_bytes = limit_bytes
        self.steps = 0
        self._patience = patience_seconds
        self.reset()

    def reset(self) -> None:
        """Forget all reservations."""
        self._freed = threading.Condition()
        self._used = 0
        self._process = os.getpid()

    @property
    def used_bytes(self) -> int:
        """The number of reserved bytes."""
        return self._used

    def take(self, count: int, check: Callable[[], None]) -> None:
        """Reserve ``count`` bytes, and wait until they are free.

        ``check`` is called while waiting and may raise.

        Raises:
            Unsupported: The decoders that hold the memory make no step for too long.
        """
        with self._freed:
            steps, since = self.steps, time.monotonic()
            while self._used and self._used + count > self.limit_bytes:
                self._freed.wait(_POLL)
                check()
                if steps != self.steps:
                    steps, since = self.steps, time.monotonic()
                elif time.monotonic() - since > self._patience:
                    raise self._refusal(count)
            self._used += count

    def give_back(self, count: int) -> None:
        """End a reservation."""
        with self._freed:
            self._used -= count
            self._freed.notify_all()

    def _refusal(self, count: int) -> Unsupported:
        return Unsupported(
            f"decompressing it takes {_mib(count)} of memory; of the {_mib(self.limit_bytes)} "
            f"for all layers {_mib(self._used)} are in use",
            hint="`--jobs 1` decompresses one layer at a time",
        )


class Reservation:
    """The part of a budget that one decoder holds until `release` or its own end."""

    def __init__(self, memory: DecoderMemory, check: Callable[[], None]) -> None:
        self._memory = memory
        self._check = check
        self._held = 0
        self._process = os.getpid()

    def grow(self, count: int) -> None:
        """Reserve more, so that at least ``count`` bytes are held.

        Raises:
            IntegrityError: ``count`` is over the limit for one stream.
            Unsupported: As `DecoderMemory.take` does.
        """
        if count > MAX_DECODER:
            raise IntegrityError(
                f"decompressing it takes {_mib(count)} of memory, which is over the limit",
                expected=f"at most {MAX_DECODER} bytes",
                actual=str(count),
                hint="it was compressed with a larger window than engines use",
            )
        if count > self._held:
            self._memory.take(count - self._held, self._check)
            self._held = count

    def release(self) -> None:
        """Release all memory; idempotent."""
        held, self._held = self._held, 0
        if held and self._process == os.getpid():
            self._memory.give_back(held)

    def __del__(self) -> None:
        self.release()


def _mib(count: int) -> str:
    return f"{-(-count >> 20):,} MiB"


SHARED = DecoderMemory()
os.register_at_fork(after_in_child=SHARED.reset)
