"""Run the command on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def on_a_terminal(
    environment: Mapping[str, str],
    *arguments: str,
    look: Callable[[str], object] = lambda _: None,
    typed: bytes = b"",
) -> tuple[str, int]:
    """Run the command with all its streams on one terminal; return its output and exit code.

    `look` is called with all output so far after each read; `typed` is typed at the start.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "wherry", *arguments]
        os.execve(sys.executable, command, {**environment, "TERM": "xterm"})  # noqa: S606
    os.write(terminal, typed)
    written = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        written += chunk
        look(written.decode(errors="replace"))
    os.close(terminal)
    return written.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
