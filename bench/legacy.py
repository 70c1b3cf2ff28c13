"""Compare pulls of one image by the legacy v1 protocol and by v2; part of `make bench`.

The servers are the fakes of `wherry.testing`, in a process of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import wherry
from contenders import clean_place
from report import Verdict, print_verdicts
from wherry.testing import (
    FakeRegistry,
    FakeV1Registry,
    build_image,
    build_v1_image,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing import RequestRecord

_CORES = 2
_LAYERS = 40
_SIZES = (300_000, 1_000_000)  # bytes of a layer before compression
_FILES = 4  # of a layer
_NAME = "bench/app"
_RATIO = 1.3
_REQUESTS = 2 * _LAYERS + 4


class _Servers(NamedTuple):
    """The addresses of the registries, and the input and output of their process."""

    v1: str
    v2: str
    questions: IO[str]
    answers: IO[str]

    def requests(self) -> int:
        """Return the requests to the v1 registry since the last call, without those for v2."""
        self.questions.write("count\n")
        self.questions.flush()
        return int(self.answers.readline())


class _Pull(NamedTuple):
    """A pull: its seconds, and the DiffIDs and layers of the image."""

    wall: float
    diff_ids: tuple[wherry.Digest, ...]
    layers: tuple[wherry.Digest, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="pulls of each kind (default: 7)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        _serve(options.serve)
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    print(f"\n{_LAYERS} layers by v1 and by v2, wall seconds (fastest of {options.runs})")
    verdicts = []
    for size in _SIZES:
        with _servers(size) as servers:
            verdicts += _compare(servers, size, options.runs)
    print_verdicts(verdicts)


def _compare(servers: _Servers, size: int, runs: int) -> list[Verdict]:
    """Pull in turn, so that changes of the machine affect both."""
    old: list[_Pull] = []
    new: list[_Pull] = []
    counts = []
    shared = _count_layers(servers)  # first, since it loads the modules too
    for _ in range(runs):
        servers.requests()
        old.append(_pull(servers.v1))
        counts.append(servers.requests())
        new.append(_pull(servers.v2))
    # The fastest run is the one that other processes disturbed least.
    by_v1, by_v2 = (min(each.wall for each in found) for found in (old, new))
    print(f"  layers of {size:>9,} bytes: v1 {by_v1:.3f}, v2 {by_v2:.3f}", flush=True)
    same = len({(each.diff_ids, each.layers) for each in (*old, *new)})
    what = f"layers of {size // 1000} kB:"
    return [
        Verdict(f"{what} v1 / v2", by_v1 / by_v2, _RATIO),
        Verdict(f"{what} requests by v1", max(counts), _REQUESTS),
        Verdict(f"{what} layers in a store after both", shared, _LAYERS),
        Verdict(f"{what} different lists of DiffIDs and layers", same, 1),
    ]


def _pull(host: str) -> _Pull:
    """Pull into a new store with a new client."""
    with clean_place() as place, wherry.Client(store=place / "store", legacy=True) as client:
        start = time.perf_counter()
        image = client.pull(f"{host}/{_NAME}:t")
        wall = time.perf_counter() - start
        return _Pull(wall, image.config.diff_ids, tuple(each.digest for each in image.layers))


def _count_layers(servers: _Servers) -> int:
    """Return how many layers a store has after a pull by v1 and one by v2."""
    with clean_place() as place, wherry.Client(store=place / "store", legacy=True) as client:
        images = [client.pull(f"{host}/{_NAME}:t") for host in (servers.v1, servers.v2)]
        documents = {digest for each in images for digest in (each.id, each.digest)}
        return len(list((place / "store" / "blobs").glob("*/*"))) - len(documents)


@contextlib.contextmanager
def _servers(size: int) -> Iterator[_Servers]:
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        questions, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        v1, v2 = answers.readline().split()
        yield _Servers(v1, v2, questions, answers)
        questions.close()


def _serve(size: int) -> None:
    """Serve the image until the end of the input; answer each line with a count of requests."""
    tars = [tar_layer(pseudo_random_files(each, size, _FILES)) for each in range(_LAYERS)]
    with FakeV1Registry() as old, FakeRegistry() as new:
        old.add_image(_NAME, build_v1_image(tars), "t")
        new.add_image(_NAME, build_image(tars, style="docker"), "t")
        print(old.host, new.host, flush=True)
        for _ in sys.stdin:
            print(sum(map(_is_v1, old.requests)), flush=True)
            old.clear()


def _is_v1(request: RequestRecord) -> bool:
    return request.path.startswith("/v1/")


if __name__ == "__main__":
    main()
