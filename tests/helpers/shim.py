"""The library of `fail_calls.c`: it fails chosen system calls of a process that loads it."""

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
KILL = 0  # instead of the number of an error


class Call(NamedTuple):
    """A system call as it was made: its kind, the path that it is about, and its end."""

    kind: str
    path: str
    failed: bool = False


def build(directory: Path) -> Path:
    """Compile the library; skip the test that is running where there is no compiler."""
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
    """Makes environments in which calls on files below `below` fail."""

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
        """Fail the call of this number among `calls` (names with commas); 0 fails none."""
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
    """Return the calls that were made, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [_parse_call(line) for line in lines]


def _parse_call(line: str) -> Call:
    kind, path = line.removesuffix(" FAILS").split(" ", 1)
    return Call(kind, path, line.endswith(" FAILS"))
