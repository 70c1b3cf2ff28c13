"""A pull that is killed at random moments, and begun again until it is done."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import processes
import subjects
from by_fake import Watching, check_requests
from by_proxy import HEAD, LINK, LOST
from checking import part_size, problems
from rows import Row, Run

from dray.testing import Distribution, Proxy, find_binary

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

_SHORT, _LONG = 8, 210  # kills of each row
_INTERRUPTED = 130
_STARTING = 0.6  # seconds in which a process does the first of what it has to do


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Kill pulls from the real registry and from the fake one, by each signal."""
    found = []
    kills = _LONG if long else _SHORT
    for name, signals, real in (
        ("killed, real registry", [signal.SIGKILL], True),
        ("killed, each Range looked at", [signal.SIGKILL], False),
        ("SIGTERM and SIGINT", [signal.SIGTERM, signal.SIGINT], False),
    ):
        if only in name and (not real or find_binary("docker-registry")):
            found.append(row := Row(name))
            while row.faults < kills:
                row.add(_run(seed + row.tried, signals, real=real))
    return found


def _run(seed: int, signals: Sequence[signal.Signals], *, real: bool) -> Run:
    """Bring one image into a store, through any number of kills."""
    run = Run(seed)
    image = subjects.large()
    run.needed = subjects.blob_bytes(image)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        store = directory / "store"
        registry: Distribution | Watching
        if real:
            registry = stack.enter_context(Distribution(directory / "registry"))
            registry.push("app", image, "t")
        else:
            registry = stack.enter_context(Watching(store))
            registry.add_image("app", image, "t")
        proxy = stack.enter_context(Proxy(registry.port, link=LINK))
        tries = _until_done(run, random.Random(seed), proxy, store, signals)
        run.fetched = max(run.needed, proxy.sent - HEAD * 10 * tries)
        more = run.fetched - run.needed
        run.expect(more <= LOST * run.faults, f"{more:,} bytes came twice")
        if isinstance(registry, Watching):
            check_requests(run, registry.asked)
        _check_end(run, store, f"{proxy.host}/app:t")
    return run


def _until_done(
    run: Run,
    chance: random.Random,
    proxy: Proxy,
    store: Path,
    signals: Sequence[signal.Signals],
) -> int:
    """Pull and kill until a pull gets to its end; returns how many were begun."""
    contents = subjects.contents(subjects.large())
    tries = 0
    while not run.problems:
        tries += 1
        process = processes.start(store, "pull", "-q", f"{proxy.host}/app:t")
        _wait_for_a_moment(run, chance, proxy, store, process)
        process.send_signal(chosen := chance.choice(signals))
        asked = time.monotonic()
        code, errors = processes.finish(process)
        if code == 0:
            return tries
        run.faults += 1
        if chosen == signal.SIGKILL:
            run.expect(code == -signal.SIGKILL, f"it ended by itself with {code}: {errors}")
        else:
            took = time.monotonic() - asked
            run.expect(code in {_INTERRUPTED, -chosen}, f"{chosen.name}: exit code {code}")
            run.expect(took < processes.LONGEST, f"{chosen.name}: it took {took:.1f} s to stop")
            said = code != _INTERRUPTED or "interrupted" in errors
            run.expect(said, f"{chosen.name}: it said {errors!r}")
            run.slowest = max(run.slowest, took)
        if store.exists():
            run.problems += problems(store, contents, {})
    return tries


def _wait_for_a_moment(
    run: Run, chance: random.Random, proxy: Proxy, store: Path, process: subprocess.Popen[str]
) -> None:
    """Wait for some time, or for some bytes of what is still to come, or for nearly the end."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, _STARTING))
        return
    there = sum(
        part_size(store, blob.digest)
        or (store / "blobs").joinpath(*blob.digest.split(":")).exists()
        for blob in subjects.large().blobs()
    )
    left = run.needed - there
    wanted = proxy.sent + chance.choice([left, chance.randint(0, left)])
    deadline = time.monotonic() + processes.LONGEST
    while proxy.sent < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(chance.choice([0, chance.uniform(0, 0.05)]))


def _check_end(run: Run, store: Path, name: str) -> None:
    """See that all is there, and that a collection leaves nothing of the dead."""
    image = subjects.large()
    contents, names = subjects.contents(image), {name: image.digest}
    run.problems += problems(store, contents, names)
    code, errors = processes.run(store, "gc")
    run.expect(code == 0, f"gc: {code}: {errors}")
    run.problems += problems(store, contents, names)
    for left in ("leases", "ingest"):
        run.expect(not list((store / left).glob("*")), f"gc leaves something in {left}")
