"""Run the command in processes that may be limited and stopped."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module("wherry", run_name="__main__", alter_sys=True)
"""
LONGEST = 60.0  # seconds; a process that takes longer hangs


def start(store: Path, *arguments: str, room: int | None = None) -> subprocess.Popen[str]:
    """Start the command on a store; `room` limits the size of files in bytes."""
    how = ["-m", "wherry"] if room is None else ["-c", _LIMITED, str(room)]
    return subprocess.Popen(
        [sys.executable, *how, "--store", str(store), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a process; return its exit code and stderr."""
    try:
        _, errors = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        return -1, f"it hangs; {errors}"
    return process.returncode, errors.strip()


def run(store: Path, *arguments: str) -> tuple[int, str]:
    """Run the command to its end."""
    return finish(start(store, *arguments))
