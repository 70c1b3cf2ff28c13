"""Compare wherry with other tools when they pull images; part of `make bench`."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from build import SHAPES, provide
from contenders import PEERS, all_contenders, clean_place, environ, podman_driver, stores_on
from measure import CommandError, Figures, Sample, run
from report import Results, print_image, print_targets
from wheel import environment
from wherry.testing import Distribution, find_binary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contenders import Contender

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_CORES = 2
_STARTS = 21  # a start takes hundredths of a second, so there are more runs


def main() -> None:
    options = _options()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)  # the registry and the contenders inherit this
    options.keep.mkdir(parents=True, exist_ok=True)
    driver = podman_driver()
    programs = environment(options.keep)
    _print_setting(programs, driver, len(cores))
    if find_binary("docker-registry") is None:
        return
    contenders = all_contenders(programs / "wherry", driver)
    results = Results()
    for name in options.images:
        # One registry for each image, since it stops after half an hour.
        with Distribution(options.keep / "registry") as registry:
            built = provide(SHAPES[name], registry)
            reference = f"{registry.host}/bench/{name}:latest"
            _fill_page_cache(options.keep / "registry" / "data")
            wanted = [each for each in contenders if name == "many" or not each.terminal]
            results.pulls[name] = _race(registry, reference, wanted, options.runs)
            results.up_to_date[name] = _up_to_date(registry, reference, programs / "wherry")
        print_image(name, built, results.pulls[name])
    results.start = _starts(programs)
    print_targets(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images",
        type=lambda text: [_known(name) for name in text.split(",")],
        default=list(SHAPES),
        metavar="NAME,...",
        help=f"which of {', '.join(SHAPES)} (default: all)",
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument("--cores", type=int, default=_CORES, help="cores to use (default: 2)")
    parser.add_argument(
        "--keep", type=Path, default=_KEEP, help="where images stay for the next time (.bench)"
    )
    options = parser.parse_args()
    options.keep = options.keep.resolve()
    return options


def _known(name: str) -> str:
    if name not in SHAPES:
        raise argparse.ArgumentTypeError(f"no image {name!r}; there are {', '.join(SHAPES)}")
    return name


def _print_setting(programs: Path, driver: str, cores: int) -> None:
    """Print the conditions of the measurement."""
    wherry = _first_line([str(programs / "wherry"), "--version"])
    print(f"{wherry} on Python {platform.python_version()}, {(programs / 'python').resolve()}")
    for name in PEERS:
        path = find_binary(name)
        print(_first_line([path, "--version"]) if path else f"{name}: not installed")
    load = os.getloadavg()[0]
    print(f"{cores} of {os.cpu_count()} cores, load {load:.2f} at the start, {platform.platform()}")
    print(f"stores on {stores_on()}; storage driver of podman: {driver}", flush=True)


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return next(iter(done.stdout.splitlines()), f"{command[0]}: no version")


def _fill_page_cache(directory: Path) -> None:
    """Read the files of the registry, so that the first contender need not."""
    os.sync()  # and write out what building the images has left
    buffer = bytearray(1 << 20)
    for path in directory.rglob("data"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def _race(
    registry: Distribution, reference: str, contenders: Sequence[Contender], runs: int
) -> dict[str, Figures | str]:
    """Run the contenders in turn, so that changes of the machine affect all."""
    samples: dict[str, list[Sample]] = {each.name: [] for each in contenders}
    failed = {each.name: "not installed" for each in contenders if not each.installed}
    for turn in range(runs):
        shift = turn % len(contenders)
        for each in (*contenders[shift:], *contenders[:shift]):
            if each.name in failed:
                continue
            try:
                samples[each.name].append(_one_pull(registry, reference, each))
            except CommandError as error:
                failed[each.name] = f"failed: {error}"
    return {name: failed.get(name) or Figures.of(taken) for name, taken in samples.items()}


def _one_pull(registry: Distribution, reference: str, contender: Contender) -> Sample:
    registry.clear()
    with clean_place() as place:
        cost = run(
            contender.command(reference, place),
            log=place / "output",
            env=environ(place),
            terminal=contender.terminal,
        )
    return Sample(cost.wall, cost.cpu, cost.peak, len(registry.requests()))


def _up_to_date(registry: Distribution, reference: str, wherry: Path) -> Figures | str:
    """Pull twice into one store and return the figures of the second pull."""
    with clean_place() as place:
        command: list[str | Path] = [wherry, "--store", place / "store", "pull", "-q", reference]
        log, env = place / "output", environ(place)
        try:
            run(command, log=log, env=env)
            registry.clear()
            cost = run(command, log=log, env=env)
        except CommandError as error:
            return f"failed: {error}"
    # Clients request /v2/ to learn which authentication is required.
    asked = [path for _, path, _ in registry.requests() if path != "/v2/"]
    return Figures.of([Sample(cost.wall, cost.cpu, cost.peak, len(asked))])


def _starts(programs: Path) -> dict[str, Figures]:
    """Measure the start of the command and of its interpreter in turn."""
    commands: dict[str, list[str | Path]] = {
        "python -c pass": [programs / "python", "-c", "pass"],
        "wherry --version": [programs / "wherry", "--version"],
    }
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    with clean_place() as place:
        for _ in range(_STARTS):
            for name, command in commands.items():
                samples[name].append(run(command, log=place / "output", env=environ(place)))
    return {name: Figures.of(taken) for name, taken in samples.items()}


if __name__ == "__main__":
    main()
