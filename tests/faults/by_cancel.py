"""Cancelled pulls, alone and beside another pull of the same image."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import subjects
from by_proxy import HEAD, LINK, LOST
from checking import problems
from rows import Row, Run
from wherry import Cancelled, CancelToken, Client, Store
from wherry.testing import Delay, FakeRegistry, Fault, Link, Stall, TcpProxy

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT, _LONG = 4, 100
_HANGS = 5.0  # seconds; one should do, but the machine may be busy
_SLOW = Link(rate=8e6, round_trip=0.02, send_buffer=64 * 1024)


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Cancel pulls at random moments."""
    found = []
    for name, run in (("cancelled", _alone), ("cancelled beside another", _beside)):
        if only in name:
            found.append(row := Row(name))
            for number in range(seed, seed + (_LONG if long else _SHORT)):
                row.add(run(number))
    return found


class _Pull:
    """A pull in a thread; `outcome` is its exception."""

    def __init__(self, name: str, store: Store) -> None:
        self.outcome: Exception | None = None
        self._token = CancelToken()
        self._name = name
        self._store = store
        self._thread = threading.Thread(target=self._pull, daemon=True)
        self._thread.start()

    def _pull(self) -> None:
        try:
            with Client(store=self._store) as client:
                client.pull(self._name, cancel=self._token)
        except Exception as error:
            self.outcome = error

    def cancel(self, run: Run) -> None:
        """Cancel the pull, and record how long it takes to stop."""
        asked = time.monotonic()
        self._token.cancel()
        self.wait(run, _HANGS)
        run.slowest = time.monotonic() - asked

    def wait(self, run: Run, seconds: float = 60) -> None:
        """Wait for the end of the pull."""
        self._thread.join(seconds)
        run.expect(not self._thread.is_alive(), f"it hangs for {seconds:.0f} seconds")


def _alone(seed: int) -> Run:
    """Cancel a pull in the body, before a head, in a stall, or in a pause."""
    run, chance, image = Run(seed), random.Random(seed), subjects.large()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        FakeRegistry() as registry,
        TcpProxy(registry.port, link=chance.choice([LINK, _SLOW])) as proxy,
    ):
        registry.add_image("app", image, "t")
        action = chance.choice([Stall(chance.randrange(10**6)), Delay(3600), None])
        if action is not None:
            registry.inject(Fault(action, skip=chance.randrange(8)))
        store, name = Store(Path(directory) / "store"), f"{proxy.host}/app:t"
        pull = _Pull(name, store)
        time.sleep(chance.uniform(0, 0.6))
        pull.cancel(run)
        run.faults += isinstance(pull.outcome, Cancelled)
        fine = pull.outcome is None or isinstance(pull.outcome, Cancelled)
        run.expect(fine, f"{type(pull.outcome).__name__}: {pull.outcome}")
        contents, names = subjects.contents(image), {name: image.digest}
        run.problems += problems(store.path, contents, {} if run.faults else names)
        registry.faults.clear()
        again = _Pull(name, store)
        again.wait(run)
        run.expect(again.outcome is None, f"the next pull: {again.outcome}")
        run.problems += problems(store.path, contents, names)
        _count(run, proxy, registry)
        store.close()
    return run


def _beside(seed: int) -> Run:
    """Cancel one of two pulls of an image; the other resumes its download."""
    run, chance, image = Run(seed), random.Random(seed), subjects.large()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        FakeRegistry() as registry,
        TcpProxy(registry.port, link=LINK) as proxy,
    ):
        registry.add_image("app", image, "t")
        store, name = Store(Path(directory) / "store"), f"{proxy.host}/app:t"
        first, second = _Pull(name, store), _Pull(name, store)
        time.sleep(chance.uniform(0, 0.6))
        first.cancel(run)
        run.faults += isinstance(first.outcome, Cancelled)
        second.wait(run)
        run.expect(second.outcome is None, f"the other pull: {second.outcome}")
        run.problems += problems(store.path, subjects.contents(image), {name: image.digest})
        _count(run, proxy, registry)
        store.close()
    return run


def _count(run: Run, proxy: TcpProxy, registry: FakeRegistry) -> None:
    run.needed = subjects.blob_bytes(subjects.large())
    run.fetched = max(run.needed, proxy.sent - HEAD * len(registry.requests))
    more = run.fetched - run.needed
    run.expect(more <= LOST * run.faults, f"{more:,} bytes came twice")
