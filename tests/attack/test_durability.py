"""Success that is not durable: system calls that fail, and processes that are killed.

A command that exits with 0 has done its work; one that does not has lost nothing, has left
nothing half-written, and says in one line what failed. The next run does the work.
"""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest
from failing import Fault, Stage
from shim import KILL, Shim, build
from worlds import COMMANDS

from dray.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shim import Call

SYNC = "fsync,fdatasync"
WRITE = "write,pwrite,ftruncate"
NAMES = "rename,link,unlink,mkdir,fchmod"
KINDS = {"sync": SYNC, "write": WRITE, "names": NAMES, "close": "close"}
ERRORS = {"sync": errno.EIO, "write": errno.ENOSPC, "names": errno.EIO, "close": errno.EDQUOT}
TRIES = 1  # of each kind and command in the short form
NAMES_COPY = "names.json"


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """The library that fails system calls."""
    return Shim(build(tmp_path_factory.mktemp("shim")))


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    """A registry for all worlds."""
    with FakeRegistry() as found:
        yield found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, shim: Shim, registry: FakeRegistry) -> Stage:
    """Worlds for all commands."""
    return Stage(tmp_path_factory.mktemp("stage"), registry, shim)


# Each call once


def sampled(name: str, count: int, most: int) -> list[int]:
    """Choose some numbers of calls, the same ones each time."""
    numbers = list(range(1, count + 1))
    return random.Random(name).sample(numbers, min(most, count))  # noqa: S311 - no secret


@pytest.mark.parametrize("command", COMMANDS)
def test_one_call_that_fails(
    stage: Stage, command: str, record_property: Callable[[str, object], None]
):
    problems: list[str] = []
    tries = 0
    for kind, calls in KINDS.items():
        count = len(stage.count(COMMANDS[command], calls))
        for number in sampled(f"{command} {kind}", count, TRIES):
            tries += 1
            problems += stage.attempt(COMMANDS[command], Fault(calls, number, ERRORS[kind]))
    record_property("tries", tries)
    assert problems == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_each_call_that_fails(
    stage: Stage, command: str, kind: str, record_property: Callable[[str, object], None]
):
    calls = KINDS[kind]
    count = len(stage.count(COMMANDS[command], calls))
    record_property("tries", count)
    problems = [
        problem
        for number in range(1, count + 1)
        for problem in stage.attempt(COMMANDS[command], Fault(calls, number, ERRORS[kind]))
    ]
    assert problems == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_from_some_call_on(stage: Stage, command: str):
    count = len(stage.count(COMMANDS[command], WRITE))
    for number in sampled(command, count, 1):
        fault = Fault(WRITE, number, errno.ENOSPC, lasting=True)
        assert stage.attempt(COMMANDS[command], fault) == []


@pytest.mark.parametrize("command", ["save-docker", "save-oci-archive", "save-oci", "save-dir"])
def test_a_save_that_is_killed(stage: Stage, command: str):
    count = len(stage.count(COMMANDS[command], "all"))
    for number in sampled(command, count, 4):
        assert stage.attempt(COMMANDS[command], Fault("all", number, KILL)) == []


# fsync before a name, and the directory after it


def unsafe_names(calls: list[Call]) -> list[str]:
    """List the names that were given to files before these were on the disk, or not synced."""
    synced: set[str] = set()
    waiting: dict[str, str] = {}
    found = []
    for kind, path in calls:
        directory = os.path.dirname(path)  # noqa: PTH120 - a string
        if kind in {"fsync", "fdatasync"}:
            synced.add(path)
            waiting = {name: where for name, where in waiting.items() if where != path}
        elif kind in {"rename", "link", "mkdir"}:
            waiting[path] = directory
        elif kind in {"write", "pwrite", "ftruncate"}:
            synced.discard(path)
            if path in waiting:
                found.append(f"written after it got its name: {path}")
    return [*found, *(f"its directory was not synced: {path}" for path in waiting)]


@pytest.mark.parametrize("command", COMMANDS)
def test_directories_are_synced_after_files_got_their_names(stage: Stage, command: str):
    _, calls = stage.traced(COMMANDS[command], f"{SYNC},{WRITE},rename,link,mkdir")
    # A new directory that is there already, and what a rebuild sets aside, need no sync.
    assert [name for name in unsafe_names(calls) if ".damaged" not in name] == []
