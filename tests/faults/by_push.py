"""Pushes from the store under faults of the registry, of the network and of the store."""

from __future__ import annotations

import random
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import subjects
from interrupted import INTERRUPTIONS, interrupted
from moves import STORED, copy_store, moves, real_moves
from rows import Row, Run
from target import REPOSITORY, TAG, TargetRegistry, target_problems
from wherry import Client
from wherry.testing import TcpProxy, random_cuts
from write_kinds import NETWORKS, WRITE_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT, _LONG = 1, 40  # runs of each kind
_CROWD = 4
_PATIENCE = 12  # attempts


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Push with every kind of fault, by several clients at once, and with kills."""
    seeds = range(seed, seed + (_LONG if long else _SHORT))
    image = subjects.pushed()
    kinds = {kind: Row(name) for kind in WRITE_KINDS if only in (name := f"push: {kind.name}")}
    networks = {
        kind: Row(name)
        for kind in NETWORKS
        if only in (name := f"push, real registry: {kind.name}") and not any(kind.like)
    }
    found = [*moves("push", kinds, seeds, image), *real_moves("push", networks, seeds, image)]
    for is_cut, name in ((False, "push: four at once"), (True, "push: four at once, cut")):
        if only in name:
            found.append(row := Row(name))
            for number in seeds:
                row.add(_crowd(number, is_cut=is_cut))
    return [*found, *interrupted("push", INTERRUPTIONS, seed, only, long=long)]


def _crowd(seed: int, *, is_cut: bool) -> Run:
    """Push the same image by several clients at once, two to each of two stores."""
    run, image = Run(seed), subjects.pushed()
    with ExitStack() as stack:
        target = stack.enter_context(TargetRegistry())
        proxy = stack.enter_context(TcpProxy(target.port))
        if is_cut:
            cuts = random_cuts(seed, 1, 10**6)
            proxy.upload_cuts = [next(cuts) for _ in range(2 * _CROWD)]
        stores = []
        for _ in range(_CROWD // 2):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))
            stores.append(copy_store(image, Path(directory)))
        destination = f"docker://{proxy.host}/{REPOSITORY}:{TAG}"

        def push(store: Path) -> None:
            try:
                with Client(store=store, retries=_PATIENCE) as client:
                    client.push(STORED, destination)
            except Exception as error:
                run.problems.append(f"it failed: {type(error).__name__}: {error}")

        crowd = [
            threading.Thread(target=push, args=(stores[number % len(stores)],), daemon=True)
            for number in range(_CROWD)
        ]
        random.Random(seed).shuffle(crowd)
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join(60)
            run.expect(not thread.is_alive(), "it hangs")
        run.problems += target_problems(target, image)
        run.faults = sum(each.cut for each in proxy.connections)
        run.needed, run.fetched = subjects.blob_bytes(image), target.sent
    return run
