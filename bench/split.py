"""Measure a large blob over a long link with one and several connections."""

from __future__ import annotations

import argparse
import random
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import clean_place, environ
from measure import run
from wheel import environment
from wherry.testing import Distribution, Link, TcpProxy, build_image, find_binary, tar_layer

if TYPE_CHECKING:
    from measure import Sample

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_SIZE = 200 * 10**6
_LINK = Link(rate=20e6, round_trip=0.05)
_TARGET, _PEAK = 0.35, 100 * 10**6
_WAYS = {
    "one connection": ("--split=1",),
    "--split 4": ("--split=4",),
    "as wherry decides": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each way (default: 3)")
    parser.add_argument("--keep", type=Path, default=_KEEP, help="where to work (.bench)")
    options = parser.parse_args()
    if find_binary("docker-registry") is None:
        print("split: docker-registry is not installed")
        return
    keep = options.keep.resolve()
    keep.mkdir(parents=True, exist_ok=True)
    wherry = environment(keep) / "wherry"
    print("a blob of 200 MB, 50 ms round trip, 20 MB/s for each connection; medians")
    samples: dict[str, list[Sample]] = {way: [] for way in _WAYS}
    with Distribution(keep / "split") as registry:
        noise = random.Random(4).randbytes(_SIZE)  # noqa: S311 - content that does not compress
        image = build_image([tar_layer({"noise": noise})], compression="none")
        registry.push("bench/split", image, "latest")
        for _ in range(options.runs):
            for way, arguments in _WAYS.items():
                samples[way].append(_pull(registry, wherry, arguments))
    _print(samples)


def _pull(registry: Distribution, wherry: Path, arguments: tuple[str, ...]) -> Sample:
    with TcpProxy(registry.port, link=_LINK) as proxy, clean_place() as place:
        reference = f"{proxy.host}/bench/split:latest"
        command: list[str | Path] = [
            wherry,
            "--store",
            place / "store",
            "pull",
            "-q",
            *arguments,
            reference,
        ]
        return run(command, log=place / "output", env=environ(place))


def _print(samples: dict[str, list[Sample]]) -> None:
    walls = {way: statistics.median(s.wall for s in found) for way, found in samples.items()}
    peaks = {way: max(s.peak for s in found) for way, found in samples.items()}
    alone = walls["one connection"]
    print(f"  {'':<16}{'wall s':>10}{'peak MB':>10}{'share':>8}")
    for way, wall in walls.items():
        print(f"  {way:<16}{wall:>10.2f}{peaks[way] / 1e6:>10.1f}{wall / alone:>8.2f}")
    for what, value, limit in (
        ("--split 4 over one connection", walls["--split 4"] / alone, _TARGET),
        ("peak memory of --split 4, MB", peaks["--split 4"] / 1e6, _PEAK / 1e6),
    ):
        met = "ok" if value <= limit else "MISSED"
        print(f"  {what:<40}{value:>8.2f}  <= {limit:g}  {met}")


if __name__ == "__main__":
    main()
