"""Compare undisturbed pulls with those of an earlier commit; part of `make bench`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from build import SHAPES, provide
from contenders import clean_place, environ
from measure import Figures, Sample, run
from wheel import environment
from wherry.testing import Distribution, find_binary

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = Path(__file__).resolve().parent.parent
_KEEP = _ROOT / ".bench"
_BEFORE = "1e3784b"  # the last commit before transfers were made robust
_LIMIT = 1.05  # ratio to the median wall time of the earlier commit
_IMAGES = ("small", "five", "many")


def main() -> None:
    options = _options()
    keep = options.keep.resolve()
    keep.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    if find_binary("docker-registry") is None:
        print("undisturbed: docker-registry is not installed")
        return
    sources = _sources(keep, options.before)
    if sources is None:
        print(f"undisturbed: git does not know {options.before} here")
        return
    wherrys = {
        options.before: environment(keep / "before", sources) / "wherry",
        "now": environment(keep) / "wherry",
    }
    print(f"pulls that nothing disturbs: medians of {options.runs} runs, in turn")
    print(
        f"  {'':<10}{'wall s':>10}{'before':>10}{'ratio':>8}{'CPU s':>10}{'before':>10}{'ratio':>8}"
    )
    for name in options.images:
        with Distribution(keep / "registry") as registry:
            provide(SHAPES[name], registry)
            found = _race(registry, f"{registry.host}/bench/{name}:latest", wherrys, options.runs)
        _print(name, found["now"], found[options.before])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=_BEFORE, help=f"the commit to compare with ({_BEFORE})")
    parser.add_argument("--runs", type=int, default=9, help="runs of each (default: 9)")
    parser.add_argument(
        "--images", nargs="+", choices=list(SHAPES), default=list(_IMAGES), help="which to pull"
    )
    parser.add_argument("--keep", type=Path, default=_KEEP, help="where to work (.bench)")
    return parser.parse_args()


def _sources(keep: Path, commit: str) -> Path | None:
    """Return a directory with the earlier commit; None if git does not have it."""
    sources = keep / "before" / "sources"
    archive = keep / "before.tar"
    command: list[str | Path] = ["git", "-C", _ROOT, "archive", "-o", archive, commit]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return None
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", sources], check=True)
    archive.unlink()
    return sources


def _race(
    registry: Distribution, reference: str, wherrys: Mapping[str, Path], runs: int
) -> dict[str, Figures]:
    """Pull with each in turn, after one pull that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in wherrys}
    for turn in range(runs + 1):
        order = list(wherrys) if turn % 2 else list(wherrys)[::-1]
        for name in order:
            with clean_place() as place:
                command: list[str | Path] = [
                    wherrys[name],
                    "--store",
                    place / "store",
                    "pull",
                    "-q",
                    reference,
                ]
                sample = run(command, log=place / "output", env=environ(place))
            if turn:
                samples[name].append(sample)
    registry.clear()
    return {name: Figures.of(taken) for name, taken in samples.items()}


def _print(name: str, now: Figures, before: Figures) -> None:
    ratio = now.wall / before.wall
    met = "ok" if ratio <= _LIMIT else "MISSED"
    print(
        f"  {name:<10}{now.wall:>10.3f}{before.wall:>10.3f}{ratio:>8.3f}"
        f"{now.cpu:>10.3f}{before.cpu:>10.3f}{now.cpu / before.cpu:>8.3f}"
        f"  wall <= {_LIMIT:g}  {met}",
        flush=True,
    )


if __name__ == "__main__":
    main()
