"""Four concurrent processes that pull overlapping images into one store."""

from __future__ import annotations

import random
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import processes
import subjects
from by_fake import ObservingRegistry, check_requests
from by_proxy import HEAD, LOST
from checking import problems
from rows import Row, Run
from wherry.testing import Link, TcpProxy, random_cuts

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from wherry.testing import BuiltImage

_SHORT, _LONG = 1, 25
# Slow enough for all processes to overlap.
_LINK = Link(shared_rate=5e6, send_buffer=64 * 1024)
_CROWD = 4
_IMAGES = 6


@dataclass(frozen=True)
class Mode:
    """How many processes are killed, whether gc and untag run, where connections break."""

    name: str
    kills: int = 0
    collecting: bool = False
    cuts: bool = False


MODES = (
    Mode("four at once"),
    Mode("four at once, some killed", kills=4),
    Mode("four at once, gc beside them", collecting=True),
    Mode("four at once, some killed, gc, untag", kills=4, collecting=True),
    Mode("four at once, some killed, all of it cut", kills=4, cuts=True),
)


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Run several processes on one store after another."""
    found = []
    for mode in MODES:
        if only in mode.name:
            found.append(row := Row(mode.name))
            for number in range(seed, seed + (_LONG if long else _SHORT)):
                row.add(_run(mode, number))
    return found


def _run(mode: Mode, seed: int) -> Run:
    run = Run(seed)
    images = subjects.overlapping(_IMAGES)
    run.needed = subjects.blob_bytes(*images)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        store = directory / "store"
        registry = stack.enter_context(ObservingRegistry(store))
        for number, image in enumerate(images):
            registry.add_image(f"app{number}", image, "t")
        proxy = stack.enter_context(TcpProxy(registry.port, link=_LINK))
        proxy.cuts = random_cuts(seed, 1, 400_000) if mode.cuts else ()
        names = {f"{proxy.host}/app{number}:t": image for number, image in enumerate(images)}
        crowd = _Crowd(run, mode, store, list(names), random.Random(seed))
        crowd.pull()
        run.faults = crowd.killed + sum(each.cut for each in proxy.connections)
        heads = HEAD * len(registry.requests)
        run.fetched = max(run.needed, proxy.sent - heads)
        _check_requests(run, mode, registry)
        if mode.kills and mode.collecting:
            # An image may have been untagged after its pull; it must come back.
            run.problems += problems(store, subjects.contents(*images), {})
            run.expect(processes.run(store, "pull", "-q", *names)[0] == 0, "a last pull fails")
        _check_end(run, store, names)
    return run


class _Crowd:
    """The processes that pull, and the threads that disturb them."""

    def __init__(
        self, run: Run, mode: Mode, store: Path, names: Sequence[str], chance: random.Random
    ) -> None:
        self.killed = 0
        self._run = run
        self._mode = mode
        self._store = store
        self._names = names
        self._chance = chance
        self._done = threading.Event()

    def pull(self) -> None:
        """Let every process pull all images, each in its own order, until it succeeds."""
        disturbing = [threading.Thread(target=self._collect)] if self._mode.collecting else []
        for thread in disturbing:
            thread.start()
        crowd = [self._start() for _ in range(_CROWD)]
        while self.killed < self._mode.kills and any(each.poll() is None for each in crowd):
            time.sleep(self._chance.uniform(0.1, 0.7))
            chosen = self._chance.randrange(_CROWD)
            if crowd[chosen].poll() is None:
                crowd[chosen].kill()
                processes.finish(crowd[chosen])
                self.killed += 1
                crowd[chosen] = self._start()
        for process in crowd:
            code, errors = processes.finish(process)
            self._run.expect(code == 0, f"a pull ended with {code}: {errors}")
        self._done.set()
        for thread in disturbing:
            thread.join()

    def _start(self) -> subprocess.Popen[str]:
        names = self._chance.sample(self._names, len(self._names))
        return processes.start(self._store, "pull", "-q", *names)

    def _collect(self) -> None:
        """Collect garbage; if processes are killed, remove names as well."""
        chance = random.Random(self._chance.random())
        while not self._done.is_set():
            process = processes.start(self._store, "gc")
            if self._mode.kills and chance.random() < 0.5:
                time.sleep(chance.uniform(0.1, 0.5))
                process.kill()
            code, errors = processes.finish(process)
            self._run.expect(code in {0, -signal.SIGKILL}, f"gc: {code}: {errors}")
            if self._mode.kills and chance.random() < 0.5:
                processes.run(self._store, "untag", chance.choice(self._names))


def _check_requests(run: Run, mode: Mode, registry: ObservingRegistry) -> None:
    """Check that each blob is requested once, and once more for each killed process."""
    more = run.fetched - run.needed
    if mode.collecting and mode.kills:
        return  # a collected blob is fetched again
    check_requests(run, registry.asked)
    run.expect(more <= LOST * run.faults, f"{more:,} bytes came twice")
    asked = Counter(each.digest for each in registry.asked)
    extra = sum(asked.values()) - len(asked)
    run.expect(extra <= run.faults * 6, f"{extra} requests for blobs too many")
    if not run.faults:
        run.expect(extra == 0, f"asked more than once: {[d for d, n in asked.items() if n > 1]}")


def _check_end(run: Run, store: Path, names: dict[str, BuiltImage]) -> None:
    contents = subjects.contents(*names.values())
    stand_for = {name: image.digest for name, image in names.items()}
    run.problems += problems(store, contents, stand_for)
    code, errors = processes.run(store, "gc")
    run.expect(code == 0, f"gc: {code}: {errors}")
    run.problems += problems(store, contents, stand_for)
    for left in ("leases", "ingest"):
        run.expect(not list((store / left).glob("*")), f"gc leaves something in {left}")
