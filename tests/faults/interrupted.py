"""Pushes and copies by processes that are killed at random moments, and started again."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import processes
import subjects
from moves import STORED, copy_store
from rows import Row, Run
from target import REPOSITORY, TAG, TargetRegistry, served_problems, target_problems
from wherry.testing import Distribution, FakeRegistry, TcpProxy, find_binary

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from moves import Way
    from wherry.testing import BuiltImage, RegistryName

_SHORT, _LONG = 2, 120  # kills of each row
_MOST = 8  # kills of one run; a registry that drops uploads might never have a whole one
_STARTING = 0.6  # seconds in which a process starts to send
_LOST = 8 * 2**20  # bytes beyond what the registry has that a kill may cost
_CREATED = 201


@dataclass(frozen=True)
class Interruption:
    """The registry that is pushed to; ``like`` None is Distribution 3, which keeps all bytes."""

    name: str
    real: bool = False
    like: RegistryName | None = None

    @property
    def keeps(self) -> bool:
        """Whether the registry keeps the bytes of an upload that breaks."""
        return not self.real and self.like is None


INTERRUPTIONS = (
    Interruption("killed"),
    Interruption("killed, uploads dropped", like="distribution-2.8"),
    Interruption("killed, real registry", real=True),
)


def interrupted(
    way: Way, kinds: Sequence[Interruption], seed: int, only: str, *, long: bool
) -> Sequence[Row]:
    """Kill moves to each registry until there were enough kills."""
    found = []
    for kind in kinds:
        name = f"{way}: {kind.name}"
        if only in name and (not kind.real or find_binary("docker-registry")):
            found.append(row := Row(name))
            while row.faults < (_LONG if long else _SHORT) and not row.problems:
                row.add(_run(way, kind, seed + row.tried))
    return found


def _run(way: Way, kind: Interruption, seed: int) -> Run:
    """Move one image in spite of any number of kills."""
    run, image = Run(seed), subjects.noise()
    run.needed = subjects.blob_bytes(image)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        target: Distribution | TargetRegistry
        if kind.real:
            target = stack.enter_context(Distribution(directory / "registry"))
        else:
            target = stack.enter_context(TargetRegistry(like=kind.like))
        proxy = stack.enter_context(TcpProxy(target.port))
        destination = f"docker://{proxy.host}/{REPOSITORY}:{TAG}"
        if way == "push":
            store = copy_store(image, directory)
            command = ["push", "-q", STORED, destination]
        else:
            source = stack.enter_context(FakeRegistry())
            source.add_image(REPOSITORY, image, TAG)
            store = directory / "store"
            command = ["copy", "-q", f"docker://{source.host}/{REPOSITORY}:{TAG}", destination]
        _until_done(run, random.Random(seed), proxy, store, command, target, image)
        _check_end(run, kind, target, proxy, image)
    return run


def _until_done(
    run: Run,
    chance: random.Random,
    proxy: TcpProxy,
    store: Path,
    command: Sequence[str],
    target: Distribution | TargetRegistry,
    image: BuiltImage,
) -> None:
    """Move and kill until a move succeeds; the last one is not killed."""
    while not run.problems:
        process = processes.start(store, *command)
        if run.faults < _MOST:
            _wait_for_a_moment(chance, proxy, run.needed, process)
            process.kill()
        code, errors = processes.finish(process)
        if code == 0:
            return
        run.faults += 1
        run.expect(code == -signal.SIGKILL, f"it ended by itself with {code}: {errors}")
        if isinstance(target, TargetRegistry):
            run.problems += target.incomplete
        else:
            run.problems += served_problems(target.host, REPOSITORY, image, may_lack=True)


def _wait_for_a_moment(
    chance: random.Random, proxy: TcpProxy, needed: int, process: subprocess.Popen[str]
) -> None:
    """Wait for a time, or until some of the bytes have been sent, or nearly all of them."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, 2 * _STARTING))
        return
    left = max(0, needed - proxy.received)
    wanted = proxy.received + chance.choice([left, chance.randint(0, max(left, needed // 4))])
    deadline = time.monotonic() + processes.LONGEST
    while proxy.received < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(chance.choice([0, chance.uniform(0, 0.05)]))


def _check_end(
    run: Run,
    kind: Interruption,
    target: Distribution | TargetRegistry,
    proxy: TcpProxy,
    image: BuiltImage,
) -> None:
    """Check the image, that no finished blob was sent again, and the bytes of the others."""
    if isinstance(target, Distribution):
        run.problems += served_problems(target.host, REPOSITORY, image)
        run.fetched = max(run.needed, proxy.received)
        requests = target.requests()
    else:
        run.problems += target_problems(target, image)
        run.fetched = target.sent
        requests = [(each.method, each.path, each.status) for each in target.requests]
    finished = Counter(
        path.rpartition("digest=")[2]
        for method, path, status in requests
        if (method, status) == ("PUT", _CREATED) and "/blobs/" in path
    )
    twice = [digest for digest, count in finished.items() if count > 1]
    # The answer to the last request of an upload may be lost with the process.
    run.expect(len(twice) <= run.faults, f"sent again though finished: {twice}")
    more = run.fetched - run.needed
    if kind.keeps:
        run.expect(more <= _LOST * run.faults, f"{more:,} bytes were sent twice")
