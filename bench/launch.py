"""Run one command and print its time and memory.

This is a separate process with few imports. Linux includes the memory before `exec` in the peak of
a process, so the launcher must be smaller than the command.
"""

import json
import os
import sys
import time

_ROWS, _COLUMNS = 50, 120


def _spawn(command: list[str], log: str) -> int:
    """Start the command with empty input and its output in `log`."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(command[0], command, os.environ, file_actions=actions)


def _on_terminal(command: list[str], log: str) -> int:
    """Start the command on a pseudo-terminal and copy its output to `log`."""
    import fcntl
    import pty
    import struct
    import termios

    pid, master = pty.fork()
    if pid == 0:
        size = struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0)
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    with open(log, "wb") as file:  # noqa: PTH123 - pathlib costs memory here
        while True:
            try:
                drawn = os.read(master, 65536)
            except OSError:  # EIO: the command has closed the terminal
                break
            if not drawn:
                break
            file.write(drawn)
    return pid


def main() -> None:
    """Run with arguments: `pipe` or `terminal`, the output file, the command."""
    how, log, *command = sys.argv[1:]
    start = time.perf_counter()
    pid = _on_terminal(command, log) if how == "terminal" else _spawn(command, log)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    cost = {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
        "exit": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(cost))


main()
