"""Pulls that are killed at random times, and repeated until they succeed."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import processes
import subjects
from by_fake import ObservingRegistry, check_requests
from by_proxy import HEAD, LINK, LOST
from by_split import SEGMENT, WINDOW
from checking import blob_path, part_size, problems
from rows import Row, Run
from wherry.testing import Distribution, TcpProxy, find_binary

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from wherry.testing import BuiltImage

_SHORT, _LONG = 2, 210  # kills of each row
_INTERRUPTED = 130
_STARTING = 0.6  # seconds in which a process starts to pull


@dataclass(frozen=True)
class Way:
    """The image, options and registry of a pull, and the signal that ends it.

    A killed process loses up to `window` bytes that have arrived out of order.
    """

    name: str
    signals: Sequence[signal.Signals] = (signal.SIGKILL,)
    real: bool = False
    image: Callable[[], BuiltImage] = subjects.large
    options: Sequence[str] = ()
    window: int = 0


WAYS = (
    Way("killed, real registry", real=True),
    Way("killed, each Range checked"),
    Way("SIGTERM and SIGINT", (signal.SIGTERM, signal.SIGINT)),
    Way(
        "killed, --split 4",
        image=lambda: subjects.one_blob(40_000_000),
        options=("--split=4",),
        window=WINDOW,
    ),
)


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Kill pulls from the real registry and from the fake one, by each signal."""
    found = []
    kills = _LONG if long else _SHORT
    for way in WAYS:
        if only in way.name and (not way.real or find_binary("docker-registry")):
            found.append(row := Row(way.name))
            while row.faults < kills:
                row.add(_run(seed + row.tried, way))
    return found


def _run(seed: int, way: Way) -> Run:
    """Pull one image into a store in spite of any number of kills."""
    run = Run(seed)
    image = way.image()
    run.needed = subjects.blob_bytes(image)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        store = directory / "store"
        registry: Distribution | ObservingRegistry
        if way.real:
            registry = stack.enter_context(Distribution(directory / "registry"))
            registry.push("app", image, "t")
        else:
            registry = stack.enter_context(ObservingRegistry(store))
            registry.add_image("app", image, "t")
        proxy = stack.enter_context(TcpProxy(registry.port, link=LINK))
        tries = _until_done(run, random.Random(seed), proxy, store, way)
        requests = 8 + way.window // SEGMENT * 3
        run.fetched = max(run.needed, proxy.sent - HEAD * requests * tries)
        more = run.fetched - run.needed
        run.expect(more <= (LOST + way.window) * run.faults, f"{more:,} bytes came twice")
        if isinstance(registry, ObservingRegistry):
            check_requests(run, registry.asked, way.window)
        _check_end(run, store, f"{proxy.host}/app:t", image)
    return run


def _until_done(
    run: Run,
    chance: random.Random,
    proxy: TcpProxy,
    store: Path,
    way: Way,
) -> int:
    """Pull and kill until a pull succeeds; return the number of pulls."""
    contents = subjects.contents(way.image())
    tries = 0
    while not run.problems:
        tries += 1
        connections = len(proxy.connections)
        process = processes.start(store, "pull", "-q", *way.options, f"{proxy.host}/app:t")
        _wait_for_a_moment(chance, proxy, _left(store, way.image()), process)
        process.send_signal(chosen := chance.choice(way.signals))
        asked = time.monotonic()
        code, errors = processes.finish(process)
        if code == 0:
            return tries
        run.faults += 1
        if chosen == signal.SIGKILL:
            run.expect(code == -signal.SIGKILL, f"it ended by itself with {code}: {errors}")
        else:
            run.slowest = max(run.slowest, time.monotonic() - asked)
            fine = code == _INTERRUPTED and "interrupted" in errors
            # An interpreter that is still starting ends in its own way.
            fine = fine or (len(proxy.connections) == connections and code in {1, -chosen})
            run.expect(fine, f"{chosen.name}: exit code {code}: {errors}")
        if store.exists():
            run.problems += problems(store, contents, {})
    return tries


def _left(store: Path, image: BuiltImage) -> int:
    """Return how many bytes are missing."""
    blobs = {blob.digest: blob.size for blob in image.blobs()}
    return sum(
        size - part_size(store, digest)
        for digest, size in blobs.items()
        if not blob_path(store, digest).exists()
    )


def _wait_for_a_moment(
    chance: random.Random, proxy: TcpProxy, left: int, process: subprocess.Popen[str]
) -> None:
    """Wait for a time, for some of the missing bytes, or for nearly all of them."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, 2 * _STARTING))
        return
    wanted = proxy.sent + chance.choice([left, chance.randint(0, left)])
    deadline = time.monotonic() + processes.LONGEST
    while proxy.sent < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(chance.choice([0, chance.uniform(0, 0.05), chance.uniform(0, _STARTING)]))


def _check_end(run: Run, store: Path, name: str, image: BuiltImage) -> None:
    """Check that the image is complete, and that gc removes what killed processes left."""
    contents, names = subjects.contents(image), {name: image.digest}
    run.problems += problems(store, contents, names)
    code, errors = processes.run(store, "gc")
    run.expect(code == 0, f"gc: {code}: {errors}")
    run.problems += problems(store, contents, names)
    for left in ("leases", "ingest"):
        run.expect(not list((store / left).glob("*")), f"gc leaves something in {left}")
