"""Pulls from a real registry over slow connections that break and stall."""

from __future__ import annotations

import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import subjects
from checking import problems
from rows import Row, Run
from wherry import Client, Store
from wherry.testing import Distribution, Link, TcpProxy, find_binary, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LINK = Link(shared_rate=40e6, send_buffer=64 * 1024)
HEAD = 2_000  # bytes of a response that belong to no blob: its head, or a document
LOST = 2**20  # bytes that may be in flight when a connection is reset
_SHORT, _LONG = 1, 40
_AT_ONCE = 4  # concurrent pulls, which mostly wait
_TIMEOUT = 0.5  # seconds without a byte, in runs with stalls
_LENIENT = 10.0  # seconds in other runs: a busy machine is not a fault
_PATIENCE = 12  # attempts: some cuts come before the first byte


@dataclass(frozen=True)
class Trouble:
    """Faults of a network, at byte counts (`cuts`) or at times (`during`).

    With `lossy`, sent bytes may be lost.
    """

    name: str
    cuts: Callable[[random.Random], Iterator[int]] | None = None
    reset: bool = False
    during: Callable[[TcpProxy, random.Random, threading.Event], int] | None = None
    timeout: float = _LENIENT
    link: Link = LINK
    lossy: bool = True
    tls: bool = False


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Pull through each kind of bad network with several seeds."""
    if find_binary("docker-registry") is None:
        return []
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        Distribution(Path(directory) / "plain") as plain,
        Distribution(Path(directory) / "tls", tls=_certificate(Path(directory))) as secure,
        ThreadPoolExecutor(_AT_ONCE) as workers,
    ):
        for registry in (plain, secure):
            registry.push("app", subjects.large(), "t")
        found = {trouble: Row(trouble.name) for trouble in TROUBLES if only in trouble.name}
        runs = [
            (row, workers.submit(_run, secure if trouble.tls else plain, trouble, number))
            for number in range(seed, seed + (_LONG if long else _SHORT))
            for trouble, row in found.items()
        ]
        for row, run in runs:
            row.add(run.result())
    return list(found.values())


def _certificate(directory: Path) -> tuple[Path, Path]:
    _, certificate, key = make_certificate(directory)
    return certificate, key


def _run(registry: Distribution, trouble: Trouble, seed: int) -> Run:
    run = Run(seed)
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        TcpProxy(registry.port, link=trouble.link, reset=trouble.reset) as proxy,
    ):
        proxy.cuts = trouble.cuts(chance) if trouble.cuts else ()
        store = Store(Path(directory) / "store")
        stalls = _pull(run, trouble, chance, proxy, store)
        store.close()
        run.faults = sum(each.cut for each in proxy.connections) + stalls
        run.expect(run.faults > 0, "no fault occurred")
        run.needed = subjects.blob_bytes(subjects.large())
        heads = HEAD * (len(proxy.connections) + run.answers)
        run.fetched = max(run.needed, proxy.sent - heads)
        most = run.needed + (LOST * run.faults if trouble.lossy else 0)
        run.expect(run.fetched <= most, f"{run.fetched - run.needed:,} bytes came twice")
    return run


def _pull(run: Run, trouble: Trouble, chance: random.Random, proxy: TcpProxy, store: Store) -> int:
    """Pull while the faults go on; return the number of stalls."""
    image = subjects.large()
    name, done, stalls = f"{proxy.host}/app:t", threading.Event(), 0
    pulling = threading.Thread(target=_to_the_end, args=(run, name, store, trouble, done))
    pulling.start()
    if trouble.during is not None:
        stalls = trouble.during(proxy, chance, done)
    pulling.join()
    run.problems += problems(store.path, subjects.contents(image), {name: image.digest})
    run.expect(not list((store.path / "ingest").iterdir()), "a part was left over")
    return stalls


def _to_the_end(run: Run, name: str, store: Store, trouble: Trouble, done: threading.Event) -> None:
    try:
        with Client(
            store=store,
            timeout=trouble.timeout,
            retries=_PATIENCE,
            on_request=run.answered,
            insecure=trouble.tls,  # certificates are not tested here
        ) as client:
            client.pull(name)
    except Exception as error:
        run.problems.append(f"the pull failed: {type(error).__name__}: {error}")
    finally:
        done.set()


def _cuts(chance: random.Random) -> Iterator[int]:
    """Cut every connection, some before the first byte."""
    while True:
        yield chance.randrange(2_000) if chance.random() < 0.25 else chance.randrange(3_000_000)


def _stalls(proxy: TcpProxy, chance: random.Random, done: threading.Event) -> int:
    """Stop all connections repeatedly; return how often it exceeded the timeout."""
    count = 0
    while not done.wait(chance.uniform(0.02, 0.3)):
        pause = chance.choice([chance.uniform(0, 0.3), 2 * _TIMEOUT])
        proxy.stall()
        done.wait(pause)
        proxy.resume()
        count += pause > _TIMEOUT
    return max(1, count) * 6  # as many as there are connections


def _breaks(proxy: TcpProxy, chance: random.Random, done: threading.Event) -> int:
    """Cut all connections at once, repeatedly."""
    while not done.wait(chance.uniform(0.02, 0.4)):
        proxy.cut()
    return 0


TROUBLES = [
    Trouble("registry: connections cut", _cuts, lossy=False),
    Trouble("registry: connections reset", _cuts, reset=True),
    Trouble("registry: cut on a long way", _cuts, link=Link(rate=20e6, round_trip=0.05)),
    Trouble("registry over TLS: cut", _cuts, tls=True),
    Trouble("registry over TLS: reset", _cuts, reset=True, tls=True),
    Trouble("registry: all cut at once", during=_breaks),
    Trouble("registry: stalls", during=_stalls, timeout=_TIMEOUT),
]
