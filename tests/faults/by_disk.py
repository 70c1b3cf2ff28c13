"""Pulls without enough disk space: files may not grow beyond a varying limit."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import processes
import subjects
from by_fake import ObservingRegistry, check_requests
from by_proxy import HEAD, LINK
from checking import problems
from rows import Row, Run
from wherry.testing import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT, _LONG = 1, 60
_FAILED = 1
_TRIES = 4  # with a limit, before a run without one


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Pull several times with too little space, and then with enough."""
    row = Row("no room")
    if only in row.name:
        for number in range(seed, seed + (_LONG if long else _SHORT)):
            row.add(_run(number))
    return [row] if row.tried else []


def _run(seed: int) -> Run:
    run, chance, image = Run(seed), random.Random(seed), subjects.large()
    contents = subjects.contents(image)
    run.needed = subjects.blob_bytes(image)
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        ObservingRegistry(Path(directory) / "store") as registry,
        TcpProxy(registry.port, link=LINK) as proxy,
    ):
        registry.add_image("app", image, "t")
        store, name = Path(directory) / "store", f"{proxy.host}/app:t"
        largest = max(blob.size for blob in image.blobs())
        limits = sorted(chance.randrange(largest) for _ in range(_TRIES - 1))
        for limit in (chance.randrange(100_000), *limits):
            code, errors = processes.finish(processes.start(store, "pull", "-q", name, room=limit))
            run.faults += 1
            run.expect(code == _FAILED, f"with room for {limit:,}: exit code {code}: {errors}")
            run.expect("Traceback" not in errors, f"with room for {limit:,}: {errors}")
            run.problems += problems(store, contents, {}) if store.exists() else []
        code, errors = processes.run(store, "pull", "-q", name)
        run.expect(code == 0, f"with room for all: {code}: {errors}")
        run.problems += problems(store, contents, {name: image.digest})
        check_requests(run, registry.asked)
        run.fetched = max(run.needed, proxy.sent - HEAD * len(registry.requests))
    return run
