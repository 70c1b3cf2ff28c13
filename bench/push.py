"""Compare wherry and skopeo when they push and copy images; part of `make bench`.

Both registries are real ones with their files in memory. Each run has an empty target, a fresh copy
of the store, and no caches of earlier runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from build import SHAPES, copy_repository, provide
from contenders import clean_place, environ, stores_on
from measure import CommandError, Figures, Sample, run
from report import Verdict, print_rows, print_verdicts, wall_ratios
from wheel import environment
from wherry.testing import Distribution, TcpProxy, find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from build import Built

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_CORES = 2
_MB = 10**6
_PEAK = 80.0  # MB
_GROWTH = 1.05  # in the peak from 150 MB to 1 GB; only noise between runs
_NAME = "bench/image:1"
_BIG_RUNS = 2  # only the memory counts
_COPY, _PUSH, _LOADED = "wherry copy", "wherry push", "wherry push, loaded"
# (ours, theirs, largest ratio of wall time)
_RATIOS = (
    (_COPY, "skopeo copy docker: docker:", 0.85),
    (_PUSH, "skopeo copy oci: docker:", 0.9),
    (_LOADED, "skopeo copy docker-archive: docker:", 0.4),
)
_AGAIN_REQUESTS, _TAG_REQUESTS = 2, 4

Command = list[str | Path]


class Setting(NamedTuple):
    """The registries, the programs, and the image in all the forms that it is pushed from.

    ``stores`` has the local stores by the contender that pushes from them.
    """

    wherry: Path
    skopeo: Command
    source: Distribution
    target: Distribution
    image: str
    layout: Path
    archive: Path
    stores: Mapping[str, Path]

    @property
    def origin(self) -> str:
        """The image in the source registry."""
        return f"docker://{self.source.host}/bench/{self.image}:latest"


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    options.keep.mkdir(parents=True, exist_ok=True)
    missing = [name for name in ("docker-registry", "skopeo") if find_binary(name) is None]
    if missing:
        print(f"push: left out, for there is no {' and no '.join(missing)}")
        return
    wherry = environment(options.keep) / "wherry"
    load = os.getloadavg()[0]
    print(f"push and copy on Python {platform.python_version()}, load {load:.2f} at the start")
    print(f"registries and stores on {stores_on()}")
    verdicts: list[Verdict] = []
    peaks: dict[str, int] = {}
    for image in options.images:
        with _setting(options.keep, wherry, image) as (setting, built):
            is_big = image == "big"
            rows = _race(setting, _contenders(setting), _BIG_RUNS if is_big else options.runs)
            print(f"\n{image}: {built}, load {os.getloadavg()[0]:.2f}")
            print_rows(rows)
            verdicts += [] if is_big else [*wall_ratios(rows, _RATIOS), *_repetitions(setting)]
        verdicts += _peaks(image, rows, peaks)
    print()
    print_verdicts(verdicts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images",
        type=lambda text: text.split(","),
        default=["five", "big"],
        help="which images (default: five,big)",
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument("--cores", type=int, default=_CORES, help="cores to use (default: 2)")
    parser.add_argument("--keep", type=Path, default=_KEEP, help="where images stay (.bench)")
    options = parser.parse_args()
    options.keep = options.keep.resolve()
    return options


@contextmanager
def _setting(keep: Path, wherry: Path, image: str) -> Iterator[tuple[Setting, Built]]:
    """Start both registries in memory and provide the image in all forms."""
    with clean_place() as place:
        with Distribution(keep / "registry") as kept:
            built = provide(SHAPES[image], kept)
            copy_repository(keep / "registry" / "data", place / "source" / "data", image)
        skopeo: Command = [
            *(str(find_binary("skopeo")), "--insecure-policy", "copy", "--quiet"),
        ]
        with (
            Distribution(place / "source") as source,
            Distribution(place / "target") as target,
        ):
            stores = {_PUSH: place / "pulled"}
            if image != "big":
                stores[_LOADED] = place / "loaded"
            setting = Setting(
                wherry,
                skopeo,
                source,
                target,
                image,
                place / "layout",
                place / "archive.tar",
                stores,
            )
            _provide_forms(setting, place)
            yield setting, built


def _provide_forms(setting: Setting, place: Path) -> None:
    """Pull the image, copy it to a layout and to an archive, and load the archive."""
    wherry, skopeo, stores = setting.wherry, setting.skopeo, setting.stores
    name = setting.origin.removeprefix("docker://")
    steps: list[Command] = [
        [wherry, "--store", stores[_PUSH], "pull", "-q", name],
        [wherry, "--store", stores[_PUSH], "tag", name, _NAME],
        [wherry, "--store", stores[_PUSH], "untag", name],
    ]
    if _LOADED in stores:
        docker_archive = f"docker-archive:{setting.archive}:{_NAME}"
        steps += [
            [*skopeo, "--src-tls-verify=false", setting.origin, f"oci:{setting.layout}:x"],
            [*skopeo, f"oci:{setting.layout}:x", docker_archive],
            [wherry, "--store", stores[_LOADED], "load", "-q", "-i", setting.archive],
        ]
    for step in steps:
        run(step, log=place / "output", env=environ(place))


def _contenders(setting: Setting) -> Mapping[str, Callable[[Path, str], Command]]:
    """Return the commands; each has a directory and a destination of its own."""

    def push(place: Path, destination: str) -> Command:
        return [*(setting.wherry, "--store", place / "store"), "push", "-q", _NAME, destination]

    def copy(place: Path, destination: str) -> Command:
        return [
            *(setting.wherry, "--store", place / "store"),
            *("copy", "-q", setting.origin, destination),
        ]

    def skopeo(source: str) -> Callable[[Path, str], Command]:
        insecure = ["--dest-tls-verify=false"]
        if source.startswith("docker://"):
            insecure.append("--src-tls-verify=false")
        return lambda _, destination: [*setting.skopeo, *insecure, source, destination]

    if _LOADED not in setting.stores:
        return {_COPY: copy, _PUSH: push}
    (_, copied, _), (_, pushed, _), (_, loaded, _) = _RATIOS
    return {
        _COPY: copy,
        copied: skopeo(setting.origin),
        _PUSH: push,
        pushed: skopeo(f"oci:{setting.layout}:x"),
        _LOADED: push,
        loaded: skopeo(f"docker-archive:{setting.archive}"),
    }


def _race(
    setting: Setting, commands: Mapping[str, Callable[[Path, str], Command]], runs: int
) -> Mapping[str, Figures | str]:
    """Run all in turn, so that changes of the machine affect all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    failed: dict[str, str] = {}
    for turn in range(runs):
        for name, command in commands.items():
            if name in failed:
                continue
            _empty(setting.target)
            with clean_place() as place:
                if name in setting.stores:
                    shutil.copytree(setting.stores[name], place / "store")
                destination = f"docker://{setting.target.host}/bench/run{turn}:1"
                try:
                    cost = run(command(place, destination), log=place / "out", env=environ(place))
                except CommandError as error:
                    failed[name] = f"failed: {error}"
                else:
                    samples[name].append(cost)
    return {name: failed.get(name) or Figures.of(taken) for name, taken in samples.items()}


def _empty(registry: Distribution) -> None:
    """Remove everything that an idle registry has."""
    shutil.rmtree(registry.root / "data")
    (registry.root / "data").mkdir()


def _repetitions(setting: Setting) -> Iterator[Verdict]:
    """Copy an image again, and push a second tag of one: nothing may move."""
    _empty(setting.target)
    with (
        TcpProxy(setting.source.port) as source,
        TcpProxy(setting.target.port) as target,
        clean_place() as place,
    ):
        origin = f"docker://{source.host}/bench/{setting.image}:latest"
        copy: Command = [setting.wherry, "--store", place / "copied", "copy", "-q", origin]
        copy.append(f"docker://{target.host}/bench/copied:1")
        shutil.copytree(setting.stores[_PUSH], place / "store")
        push: Command = [setting.wherry, "--store", place / "store", "push", "-q", _NAME]
        pushed = f"docker://{target.host}/bench/pushed"
        try:
            run(copy, log=place / "out", env=environ(place))
            yield from _count("the same copy again", copy, place, setting, (source, target))
            run([*push, f"{pushed}:1"], log=place / "out", env=environ(place))
            yield from _count("second tag", [*push, f"{pushed}:2"], place, setting, (None, target))
        except CommandError as error:
            print(f"  repetitions failed: {error}")


def _count(
    what: str,
    command: Command,
    place: Path,
    setting: Setting,
    proxies: tuple[TcpProxy | None, TcpProxy],
) -> Iterator[Verdict]:
    """Count requests, and the bytes on the connections with their heads."""
    sides = list(zip(("source", "target"), (setting.source, setting.target), proxies, strict=True))
    limit = _TAG_REQUESTS if proxies[0] is None else _AGAIN_REQUESTS
    for _, registry, proxy in sides:
        registry.clear()
        if proxy is not None:
            proxy.clear()
    cost = run(command, log=place / "out", env=environ(place))
    print(f"  {what}: {cost.wall:.3f} s")
    for side, registry, proxy in sides:
        if proxy is None:
            continue
        requests = registry.requests()
        print(f"    {side}: {proxy.received:,} bytes to it, {proxy.sent:,} from it")
        for method, path, status in requests:
            print(f"      {method} {path} {status}")
        moved = sum("/blobs/" in path for _, path, _ in requests)
        yield Verdict(f"{what}: requests at the {side}", len(requests), limit)
        yield Verdict(f"{what}: requests for blobs at the {side}", moved, 0)


def _peaks(
    image: str, rows: Mapping[str, Figures | str], peaks: dict[str, int]
) -> Sequence[Verdict]:
    """Compare the peaks of wherry with the limit, and with those of the image before."""
    verdicts = []
    for name, row in rows.items():
        if isinstance(row, str) or not name.startswith("wherry"):
            continue
        peak = Verdict(f"{image}: peak of {name}", row.highest_peak / _MB, _PEAK, " MB")
        verdicts.append(peak)
        if name in peaks:
            grown = f"{image}: peak of {name} / its peak before"
            verdicts.append(Verdict(grown, row.peak / peaks[name], _GROWTH))
        else:
            peaks[name] = row.peak
    return verdicts


if __name__ == "__main__":
    main()
