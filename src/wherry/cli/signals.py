"""Stopping when told to: within a second, whatever the main thread is doing."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

LAST_RESORT = 0.85  # seconds after a signal when the command leaves as it is
LAST_WORDS = 0.1  # seconds that it gets to say so: nobody may be reading


def obey() -> None:
    """Treat SIGTERM as Ctrl-C.

    A signal that the parent process has this one ignore stays ignored, SIGINT too: a shell
    does that for commands in the background.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signals want it
    raise KeyboardInterrupt


def watch(leave: Callable[[], object], code: int) -> None:
    """Call ``leave`` some time after a signal, for when the main thread does not get to it.

    Python tells the main thread alone, between two of its steps, and some steps take long:
    waiting for another process's transaction, for a disk, for a pipe that nobody empties. A
    thread learns of it at once. If ``leave`` waits as well, the process ends with ``code``.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        while numbers := os.read(reading, 1):
            if numbers[0] in {signal.SIGINT, signal.SIGTERM}:
                time.sleep(LAST_RESORT)
                threading.Thread(target=leave, name="wherry-last-words", daemon=True).start()
                time.sleep(LAST_WORDS)
                os._exit(code)

    threading.Thread(target=wait, name="wherry-signals", daemon=True).start()
