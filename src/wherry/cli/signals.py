"""Stop within a second of a signal, even if the main thread is busy."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

LAST_RESORT = 0.85  # seconds after a signal until the command is ended
LAST_WORDS = 0.1  # seconds to write the last message; its reader may be blocked


def handle_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C.

    A signal that the parent process has set to be ignored stays ignored. A shell ignores SIGINT
    for commands in the background.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a handler
    raise KeyboardInterrupt


def watch(leave: Callable[[], object], code: int) -> None:
    """Call ``leave`` some time after a signal, in case the main thread is blocked.

    Python runs signal handlers only in the main thread, between two bytecodes. One of them may
    block for long: on another process's transaction, on a disk, or on a full pipe. This function
    starts a thread that learns of the signal at once. If ``leave`` blocks as well, the process
    exits with ``code``.
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
