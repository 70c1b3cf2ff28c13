"""Compare wherry and umoci when they unpack and export images; part of `make bench`.

The registry is a real one, and all files are in memory. Each run writes to an empty directory.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from build import SHAPES, provide
from contenders import clean_place, environ, stores_on
from measure import CommandError, Figures, run
from report import Verdict, print_rows, print_verdicts, wall_ratios
from wheel import environment
from wherry.testing import Distribution, build_image, find_binary, layout_files, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from measure import Sample

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_CORES = 2
_MB = 10**6
_PEAK = 80.0  # MB
_NAME = "bench/image:1"
_STORE, _LAYOUT = "wherry unpack store:", "wherry unpack oci:"
_REMOTE, _EXPORT = "wherry unpack docker:", "wherry export -o"
_FIRST, _AGAIN = "wherry unpack --cache, first", "wherry unpack --cache, again"
_LINKS = "wherry unpack --cache=link, again"
_UMOCI, _TAR = "umoci raw unpack", "igzip -dc | tar -x"
_SKOPEO, _PACKED = "skopeo copy, umoci raw unpack", "umoci raw unpack, tar -c"
# (ours, theirs, largest ratio of wall time)
_RATIOS = (
    (_LAYOUT, _UMOCI, 0.4),
    (_STORE, _UMOCI, 0.4),
    (_STORE, _TAR, 0.8),
    (_REMOTE, _SKOPEO, 0.35),
    (_REMOTE, _STORE, 1.2),
    (_EXPORT, _PACKED, 0.35),
)
_FEW, _MANY = 20_000, 100_000  # small files
_GROWTH = 6.0  # in the time from few files to many; 5 and the noise between runs


class Inputs(NamedTuple):
    """The image in the forms that the contenders read."""

    store: Path
    layout: Path
    name: str


class Command(NamedTuple):
    """A line for a shell in an empty directory, and one that runs before and is not measured."""

    line: str
    before: str = ":"


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    options.keep.mkdir(parents=True, exist_ok=True)
    missing = [name for name in ("docker-registry", "skopeo", "umoci") if not find_binary(name)]
    if missing:
        print(f"unpack: left out, for there is no {' and no '.join(missing)}")
        return
    wherry = environment(options.keep) / "wherry"
    umoci = subprocess.run(["umoci", "--version"], capture_output=True, text=True, check=True)
    print(f"unpack on Python {platform.python_version()}, load {os.getloadavg()[0]:.2f}")
    print(f"{umoci.stdout.strip()}; files on {stores_on()}")
    with clean_place() as place, Distribution(options.keep / "registry") as registry:
        built = provide(SHAPES[options.image], registry)
        inputs = _inputs(wherry, registry, options.image, place)
        print(f"\n{options.image}: {built}")
        rows = _race(_commands(wherry, inputs), options.runs)
    print_rows(rows)
    verdicts = [*wall_ratios(rows, _RATIOS), *_peaks(rows), *_many_files(wherry)]
    print()
    print_verdicts(verdicts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="files", choices=sorted(SHAPES))
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument("--cores", type=int, default=_CORES, help="cores to use (default: 2)")
    parser.add_argument("--keep", type=Path, default=_KEEP, help="where images stay (.bench)")
    options = parser.parse_args()
    options.keep = options.keep.resolve()
    return options


def _inputs(wherry: Path, registry: Distribution, image: str, place: Path) -> Inputs:
    """Fetch the image once for all tools."""
    inputs = Inputs(place / "store", place / "layout", f"{registry.host}/bench/{image}:latest")
    skopeo = [str(find_binary("skopeo")), "--insecure-policy", "copy", "--quiet"]
    steps: list[list[str | Path]] = [
        [
            *(*skopeo, "--src-tls-verify=false", f"docker://{inputs.name}"),
            f"oci:{inputs.layout}:x",
        ],
        [wherry, "--store", inputs.store, "pull", "-q", inputs.name],
        [wherry, "--store", inputs.store, "tag", inputs.name, _NAME],
    ]
    for step in steps:
        run(step, log=place / "output", env=environ(place))
    return inputs


def _commands(wherry: Path, inputs: Inputs) -> Mapping[str, Command]:
    """Return the contenders."""
    ours = f"{shlex.quote(str(wherry))} --store {shlex.quote(str(inputs.store))}"
    layout = shlex.quote(f"{inputs.layout}:x")
    skopeo = f"{find_binary('skopeo')} --insecure-policy copy --quiet --src-tls-verify=false"
    igzip = f"{shlex.quote(sys.executable)} -m isal.igzip -dc"
    untar = "mkdir root && " + " && ".join(
        f"{igzip} < {shlex.quote(str(blob))} | tar -x -C root --warning=no-timestamp"
        for blob in _layers(inputs.layout)
    )
    links = f"{ours} unpack -q --cache=link {_NAME}"
    lines = {
        _STORE: f"{ours} unpack -q {_NAME} root",
        _LAYOUT: f"{ours} unpack -q oci:{layout} root",
        _UMOCI: f"umoci raw unpack --image {layout} root",
        _TAR: untar,
        _REMOTE: f"{ours} unpack -q docker://{inputs.name} root",
        _SKOPEO: f"{skopeo} docker://{inputs.name} oci:copied:x && "
        "umoci raw unpack --image copied:x root",
        _EXPORT: f"{ours} export -q {_NAME} -o root.tar",
        _PACKED: f"umoci raw unpack --image {layout} root && tar -C root -cf root.tar .",
        _FIRST: f"{ours} unpack -q --cache {_NAME} root",
        _AGAIN: f"{ours} unpack -q --cache {_NAME} root",
        _LINKS: f"{links} root",
    }
    before = {
        _FIRST: f"rm -rf {shlex.quote(str(inputs.store / 'unpacked'))}",
        _LINKS: f"{links} other && rm -rf other",  # each way has a cache of its own
    }
    return {name: Command(line, before.get(name, ":")) for name, line in lines.items()}


def _layers(layout: Path) -> Iterator[Path]:
    """Yield the compressed layers of a layout; their order does not matter to `tar`."""
    for blob in sorted((layout / "blobs/sha256").iterdir()):
        with blob.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                yield blob


def _race(commands: Mapping[str, Command], runs: int) -> dict[str, Figures | str]:
    """Run all in turn, so that changes of the machine affect all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    failed: dict[str, str] = {}
    for _ in range(runs):
        for name, command in commands.items():
            if name not in failed:
                try:
                    samples[name].append(_run(command))
                except CommandError as error:
                    failed[name] = f"failed: {error}"
    return {name: failed.get(name) or Figures.of(taken) for name, taken in samples.items()}


def _run(command: Command) -> Sample:
    with clean_place() as place:
        there = f"cd {shlex.quote(str(place))} && "
        for line in (command.before, command.line):
            sample = run(["sh", "-c", there + line], log=place / "output", env=environ(place))
        return sample


def _peaks(rows: Mapping[str, Figures | str]) -> Iterator[Verdict]:
    for name, row in rows.items():
        if isinstance(row, Figures) and name.startswith("wherry"):
            yield Verdict(f"peak of {name}", row.highest_peak / _MB, _PEAK, " MB")


def _many_files(wherry: Path) -> Iterator[Verdict]:
    """Unpack few and many small files: the time may not grow faster than their number."""
    costs = {}
    for count in (_FEW, _MANY):
        with clean_place() as place:
            write_files(place / "layout", layout_files({"x": build_image([_small_files(count)])}))
            address = f"oci:{place / 'layout'}:x"
            costs[count] = _run(Command(f"{shlex.quote(str(wherry))} unpack -q {address} root"))
        cost = costs[count]
        print(f"  {count:,} small files: {cost.wall:.3f} s, {cost.peak / _MB:.1f} MB")
    growth = costs[_MANY].wall / costs[_FEW].wall
    yield Verdict(f"time of {_MANY:,} files / {_FEW:,} files", growth, _GROWTH)
    yield Verdict(f"peak with {_MANY:,} files", costs[_MANY].peak / _MB, _PEAK, " MB")


def _small_files(count: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(count):
            info = tarfile.TarInfo(f"usr/share/d{number // 100}/file{number}")
            info.size = 100
            made.addfile(info, io.BytesIO(bytes(100)))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
