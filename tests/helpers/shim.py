"""The library of `fail_calls.c`, which makes system calls of a process fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).with_name("fail_calls.c")
REQUIRED = "WHERRY_REQUIRE_PEERS"
KILL = 0  # kill the process instead of returning an error


class Call(NamedTuple):
    """A system call: its kind, its path, and whether it failed."""

    kind: str
    path: str
    failed: bool = False


def build(directory: Path) -> Path:
    """Compile the library; skip the running test if there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{REQUIRED} is 1, but there is no gcc", pytrace=False)
        pytest.skip("there is no gcc")
    library = directory / "fail_calls.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-pthread"], check=True)
    return library


class Shim:
    """Make environments in which system calls fail."""

    def __init__(self, library: Path) -> None:
        self._library = library

    def environment(
        self,
        below: Path,
        calls: str = "all",
        number: int = 0,
        error: int = errno.EIO,
        *,
        lasting: bool = False,
        log: Path | None = None,
    ) -> dict[str, str]:
        """Return an environment in which a call on a file below `below` fails.

        Args:
            below: The directory of the files.
            calls: The kinds of calls that count, separated by commas.
            number: The number of the call that fails; 0 for none.
            error: The error number, or `KILL`.
            lasting: Whether all later calls fail too.
            log: A file for the calls that are made.
        """
        found = {
            "LD_PRELOAD": str(self._library),
            "FAIL_BELOW": str(below),
            "FAIL_CALLS": calls,
            "FAIL_NUMBER": str(number),
            "FAIL_ERRNO": str(error),
        }
        if lasting:
            found["FAIL_LASTING"] = "1"
        if log is not None:
            found["FAIL_LOG"] = str(log)
        return found


def read_log(log: Path) -> list[Call]:
    """Return the logged calls in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [_parse_call(line) for line in lines]


def _parse_call(line: str) -> Call:
    kind, path = line.removesuffix(" FAILS").split(" ", 1)
    return Call(kind, path, line.endswith(" FAILS"))
