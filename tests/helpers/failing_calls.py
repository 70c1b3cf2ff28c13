"""Run commands while a system call fails, and check the result."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING, NamedTuple

from checking import problems
from shim import KILL, read_log
from worlds import make, tree

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

    from shim import Call, Shim
    from wherry.testing import FakeRegistry
    from worlds import Command, World

FINDINGS = 5  # exit code of a check that has printed findings
# Files that a rebuild keeps beside the new database.
_KEPT = {f"left over: wherry.db.damaged{suffix}" for suffix in ("", "-wal", "-shm", "-journal")}


class Fault(NamedTuple):
    """The call that fails: the `number`-th of these `calls`."""

    calls: str
    number: int
    error: int = errno.EIO
    lasting: bool = False

    def __str__(self) -> str:
        error = "SIGKILL" if self.error == KILL else errno.errorcode[self.error]
        lasting = " from there on" if self.lasting else ""
        return f"{self.calls} number {self.number}: {error}{lasting}"


class Stage:
    """Make a world for each command once, and copy it for each try."""

    def __init__(self, path: Path, registry: FakeRegistry, shim: Shim) -> None:
        self.path = path
        self._base = make(path / "base", registry)
        self._shim = shim
        self._made: dict[str, World] = {}

    def world(self, command: Command) -> World:
        """Return the initial world of a command, with its expected output."""
        if command.name not in self._made:
            world = self._base.copy(self.path / command.name)
            command.prepare(world)
            world.store = world.path / command.store
            if command.output:
                scratch = world.copy(self.path / "scratch")
                done = scratch.run(*command.arguments(scratch))
                assert done.returncode == 0, done.stderr
                (scratch.path / command.output).rename(world.path / f"{command.output}.expected")
            self._made[command.name] = world
        return self._made[command.name]

    def count(self, command: Command, calls: str) -> list[Call]:
        """Return the calls of a run without a fault."""
        return self.traced(command, calls)[1]

    def traced(self, command: Command, calls: str = "all") -> tuple[World, list[Call]]:
        """Run a command without a fault; return its world and the calls."""
        world = self.world(command).copy(self.path / "traced")
        log = self.path / "log"
        log.unlink(missing_ok=True)
        environment = self._shim.environment(world.path, calls, log=log)
        done = world.run(*command.arguments(world), env=environment)
        assert done.returncode == 0, done.stderr
        assert command.done(world) == []
        return world, read_log(log)

    def attempt(self, command: Command, fault: Fault) -> list[str]:
        """Run a command with a fault, then again without; return the problems."""
        world = self.world(command).copy(self.path / "tried")
        names = world.names()
        environment = self._shim.environment(
            world.path, fault.calls, fault.number, fault.error, lasting=fault.lasting
        )
        done = world.run(*command.arguments(world), env=environment)
        template = self.world(command)
        found = _judge(world, template, command, done, names, killed=fault.error == KILL)
        found += _again(world, command, names)
        shutil.rmtree(world.path)
        said = done.stderr.strip().replace("\n", " | ")
        return [f"{command.name}: {fault}: {each} ({done.returncode}: {said})" for each in found]


def _judge(
    world: World,
    template: World,
    command: Command,
    done: subprocess.CompletedProcess[str],
    names: dict[str, str],
    *,
    killed: bool,
) -> list[str]:
    found: list[str] = []
    if done.returncode == 0:
        found += command.done(world)
    elif not killed and done.returncode != FINDINGS:
        found += _unclear(done.stderr)
    if command.output and done.returncode != 0:
        output = world.path / command.output
        good = [
            tree(world.path / f"{command.output}.expected"),
            tree(template.path / command.output),
        ]
        if output.exists() and tree(output) not in good:
            found.append("the output is half-written")
    if killed:  # the next run removes what a killed process leaves
        return found
    if done.returncode != 0:
        found += _left_over(world, template)
    kept = {name: manifest for name, manifest in names.items() if not _may_go(name, command)}
    return found + _wrong(world, kept)


def _unclear(stderr: str) -> list[str]:
    """Check for one line that names the failure; hints may follow it."""
    lines = [line for line in stderr.splitlines() if not line.startswith(("  ", "lost: "))]
    told = [line for line in lines if line.startswith("wherry: ")]
    if len(told) != 1 or "internal error" in stderr or "Traceback" in stderr:
        return ["the message is not one clear line"]
    return ["the message does not say what it is about"] if "the result" in told[0] else []


def _left_over(world: World, template: World) -> list[str]:
    """Return files that a failed run has left outside of the store."""
    before = {path.name for path in template.path.iterdir()}
    return [
        f"left over: {path.name}"
        for path in world.path.iterdir()
        if path.name not in before and path.name.startswith(".")
    ]


def _may_go(name: str, command: Command) -> bool:
    return any(
        name.endswith(each) or f"/{each}:" in name or f"/{each}@" in name for each in command.gone
    )


def _wrong(world: World, names: dict[str, str]) -> list[str]:
    if not world.store.exists():
        return []
    found = problems(world.store, world.contents(), names)
    # `import` makes documents, whose part files may stay like those of any blob.
    return [each for each in found if each not in _KEPT and not each.endswith(".part")]


def _again(world: World, command: Command, names: dict[str, str]) -> Sequence[str]:
    """Run the command without a fault, unless its work is done."""
    try:
        if not command.done(world):
            return []
    except (OSError, ValueError):
        pass
    done = world.run(*command.arguments(world))
    if done.returncode != 0:
        return [f"the next run fails too: {done.stderr.strip()}"]
    kept = {name: manifest for name, manifest in names.items() if not _may_go(name, command)}
    wrong = [f"after the next run: {each}" for each in _wrong(world, kept)]
    return [*wrong, *(f"after the next run: {each}" for each in command.done(world))]
