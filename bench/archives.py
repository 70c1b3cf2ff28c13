"""Measure save and load, compared with other tools; part of `make bench`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from build import SHAPES, provide
from contenders import clean_place, environ, podman_driver, podman_places
from measure import CommandError, Figures, Sample, run
from report import Verdict, print_rows, wall_ratios
from wheel import environment
from wherry.testing import Distribution, find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_CORES = 2
_MB = 10**6
_PEAK = 80.0  # MB
_NAME = "bench/image:1"
# (ours, theirs, largest ratio of wall time)
_RATIOS = (
    ("wherry save to a file", "skopeo docker-archive:", 0.33),
    ("wherry save to a pipe", "skopeo docker-archive:", 0.5),
    ("wherry load", "podman load", 0.5),
)


class Inputs(NamedTuple):
    """Inputs of the commands: an image in a store and in a layout, and an archive of it."""

    store: Path
    layout: Path
    archive: Path


Command = list[str | Path]


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    options.keep.mkdir(parents=True, exist_ok=True)
    wherry = environment(options.keep) / "wherry"
    missing = [name for name in ("docker-registry", "skopeo") if find_binary(name) is None]
    if missing:
        print(f"archives: left out, for there is no {' and no '.join(missing)}")
        return
    for image in options.images:
        with clean_place() as place:
            inputs = _inputs(image, options.keep, place, wherry)
            rows = _race(_commands(wherry, inputs), options.runs)
        _print(image, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=lambda text: text.split(","), default=["five"])
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument("--cores", type=int, default=_CORES, help="cores to use (default: 2)")
    parser.add_argument("--keep", type=Path, default=_KEEP, help="where images stay (.bench)")
    options = parser.parse_args()
    options.keep = options.keep.resolve()
    return options


def _inputs(image: str, keep: Path, place: Path, wherry: Path) -> Inputs:
    """Fetch the image once for all tools."""
    inputs = Inputs(place / "store", place / "layout", place / "archive.tar")
    with Distribution(keep / "registry") as registry:
        built = provide(SHAPES[image], registry)
        reference = f"{registry.host}/bench/{image}:latest"
        skopeo: Command = [str(find_binary("skopeo")), "--insecure-policy", "copy", "--quiet"]
        steps: list[Command] = [
            [*skopeo, "--src-tls-verify=false", f"docker://{reference}", f"oci:{inputs.layout}:x"],
            [wherry, "--store", inputs.store, "pull", "-q", reference],
            [wherry, "--store", inputs.store, "tag", reference, _NAME],
            [wherry, "--store", inputs.store, "save", "-q", "-o", inputs.archive, _NAME],
        ]
        for step in steps:
            run(step, log=place / "output", env=environ(place))
    print(f"\narchives of {image}: {built}")
    return inputs


def _commands(wherry: Path, inputs: Inputs) -> Mapping[str, Callable[[Path], Command]]:
    """Return the contenders; each writes to an empty directory."""
    save: Command = [wherry, "--store", inputs.store, "save", "-q"]
    skopeo, podman = find_binary("skopeo"), find_binary("podman")
    piped = f"{' '.join(map(str, save))} {_NAME} | cat > /dev/null"
    found: dict[str, Callable[[Path], Command]] = {
        "wherry save to a file": lambda place: [*save, "-o", place / "saved", _NAME],
        "wherry save to a pipe": lambda _: ["sh", "-c", piped],
        "wherry save --format oci": lambda place: [
            *(*save, "--format", "oci", "-o", place / "saved", _NAME),
        ],
        "skopeo docker-archive:": lambda place: [
            *(str(skopeo), "--insecure-policy", "copy", "--quiet", f"oci:{inputs.layout}:x"),
            f"docker-archive:{place / 'saved'}:{_NAME}",
        ],
        "wherry load": lambda place: [
            *(wherry, "--store", place / "store", "load", "-q", "-i", inputs.archive),
        ],
        "wherry load from a pipe": lambda place: [
            *("sh", "-c"),
            f"cat {inputs.archive} | {wherry} --store {place / 'store'} load -q",
        ],
    }
    if podman is not None:
        driver = podman_driver()
        found["podman load"] = lambda place: [
            *(podman, *podman_places(place, driver), "load", "-q", "-i", inputs.archive),
        ]
    return found


def _race(commands: Mapping[str, Callable[[Path], Command]], runs: int) -> dict[str, Figures | str]:
    """Run all in turn, so that changes of the machine affect all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    failed: dict[str, str] = {}
    for _ in range(runs):
        for name, command in commands.items():
            if name in failed:
                continue
            with clean_place() as place:
                try:
                    cost = run(command(place), log=place / "output", env=environ(place))
                except CommandError as error:
                    failed[name] = f"failed: {error}"
                else:
                    samples[name].append(cost)
    return {name: failed.get(name) or Figures.of(taken) for name, taken in samples.items()}


def _print(image: str, rows: Mapping[str, Figures | str]) -> None:
    print_rows(rows)
    for verdict in wall_ratios(rows, _RATIOS):
        print(verdict._replace(what=f"{image}: {verdict.what}"))
    peaks = [
        row.highest_peak
        for name, row in rows.items()
        if name.startswith("wherry") and isinstance(row, Figures)
    ]
    if peaks:
        print(Verdict(f"{image}: largest peak of wherry", max(peaks) / _MB, _PEAK, " MB"))


if __name__ == "__main__":
    main()
