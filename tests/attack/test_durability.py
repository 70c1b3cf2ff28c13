"""Success means durable: system calls that fail one after the other.

A command that exits with 0 has done its work; one that does not has lost nothing, has left
nothing half-written, and says in one line what failed. The next run does the work.
"""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import pytest
from failing import Fault, Stage
from shim import Shim, build
from worlds import COMMANDS

from dray.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

SYNC = "fsync,fdatasync"
WRITE = "write,pwrite,ftruncate"
NAMES = "rename,link,unlink,mkdir,fchmod"
REST = "open,read,pread,close"
KINDS = {"sync": SYNC, "write": WRITE, "names": NAMES, "rest": REST}
TRIES = 2  # of each kind and command in the short form


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """The library that fails system calls."""
    return Shim(build(tmp_path_factory.mktemp("shim")))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, shim: Shim) -> Iterator[Stage]:
    """Worlds for all commands, with one registry."""
    with FakeRegistry() as registry:
        yield Stage(tmp_path_factory.mktemp("stage"), registry, shim)


def tried(stage: Stage, command: str, calls: str, error: int, most: int) -> list[str]:
    """Fail each of these calls, or a sample of so many; return what is wrong."""
    count = len(stage.count(COMMANDS[command], calls))
    numbers = list(range(1, count + 1))
    chosen = random.Random(f"{command} {calls}").sample(numbers, min(most, count))  # noqa: S311
    return [
        problem
        for number in chosen
        for problem in stage.attempt(COMMANDS[command], Fault(calls, number, error))
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_call_that_fails(stage: Stage, command: str, kind: str):
    error = errno.ENOSPC if kind == "write" else errno.EIO
    assert tried(stage, command, KINDS[kind], error, TRIES) == []
