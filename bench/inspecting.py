"""Compare wherry and skopeo when they inspect images; part of `make bench`.

The name is not `inspect.py`, which would hide the module of the standard library.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from contenders import clean_place, environ
from measure import run
from report import Verdict, print_verdicts
from wheel import environment
from wherry.testing import Distribution, build_image, find_binary, tar_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_WARM = Path(__file__).with_name("warm.py")
_CORES = 2
_FEW, _MANY = 40, 500  # tags
_RUNS = 21
_AT_A_TIME = 4

_PROCESS, _CALL, _LOOP = 13.0, 0.3, 0.3


def main() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    skopeo = find_binary("skopeo")
    if find_binary("docker-registry") is None or skopeo is None:
        print("inspect: docker-registry or skopeo is not installed")
        return
    programs = environment(_KEEP)
    with Distribution(_KEEP / "inspected") as registry, clean_place() as place:
        _provide(registry)
        few, many = (f"{registry.host}/bench/{name}" for name in ("few", "many"))
        env = environ(place)
        starts = _starts(programs, skopeo, f"{few}:v000", place / "output", env)
        print("\ninspect, wall seconds (median)")
        for name, wall in starts.items():
            print(f"  {name:<34}{wall:>8.4f}", flush=True)
        warm = _warm(programs, few, many, env)
        theirs = _in_parallel(skopeo, many, env)
        untagged = _in_parallel(skopeo, many, env, "--no-tags")
        print(f"  {'client.inspect(tags=True), warm':<34}{warm['call']:>8.4f}")
        print(f"  {f'{_MANY} tags, client.inspect()':<34}{warm['loop']:>8.4f}")
        print(f"  {f'{_MANY} tags, in two threads':<34}{warm['threads']:>8.4f}")
        print(f"  {f'{_MANY} tags, skopeo, 4 at a time':<34}{theirs:>8.4f}")
        print(f"  {f'{_MANY} tags, skopeo --no-tags':<34}{untagged:>8.4f}")
    call = starts["skopeo inspect"]
    print_verdicts(
        [
            Verdict(
                "wherry inspect / python -c pass",
                starts["wherry inspect"] / starts["python -c pass"],
                _PROCESS,
            ),
            Verdict("client.inspect() when warm / skopeo inspect", warm["call"] / call, _CALL),
            Verdict(
                f"{_MANY} tags: wherry / skopeo",
                warm["threads"] / theirs,
                _LOOP,
            ),
        ]
    )


def _provide(registry: Distribution) -> None:
    """Push the tagged images, each with its own config."""
    note = registry.root / "inspected.json"
    if note.exists():
        return
    tars = [tar_layer({f"file{number}": b"x" * 1000}) for number in range(5)]
    labels = {f"org.example.label{number}": "some text " * 4 for number in range(12)}
    for name, count in (("few", _FEW), ("many", _MANY)):
        pusher = registry.pusher(f"bench/{name}")
        for number in range(count):
            image = build_image(tars, labels=labels | {"number": str(number)}, env=["PATH=/bin"])
            if not number:
                pusher.push_image(image, "v000")
            pusher.push_blob(image.config.data)
            pusher.push_manifest(image.manifest.data, image.manifest.media_type, f"v{number:03}")
    note.write_text("{}")


def _starts(
    programs: Path, skopeo: str, reference: str, log: Path, env: Mapping[str, str]
) -> dict[str, float]:
    """Measure the commands as processes in turn."""
    theirs: list[str | Path] = [skopeo, "inspect", "--tls-verify=false", f"docker://{reference}"]
    commands: dict[str, list[str | Path]] = {
        "python -c pass": [programs / "python", "-c", "pass"],
        "wherry inspect": [programs / "wherry", "inspect", reference],
        "wherry inspect --no-tags": [programs / "wherry", "inspect", "--no-tags", reference],
        "wherry digest": [programs / "wherry", "digest", reference],
        "skopeo inspect": theirs,
        "skopeo inspect --no-tags": [*theirs, "--no-tags"],
    }
    walls: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(_RUNS):
        for name, command in commands.items():
            walls[name].append(run(command, log=log, env=env).wall)
    return {name: median(taken) for name, taken in walls.items()}


def _warm(programs: Path, few: str, many: str, env: Mapping[str, str]) -> dict[str, float]:
    """Measure calls of the library in another process."""
    done = subprocess.run(
        [programs / "python", "-I", _WARM, few, str(_FEW), many],
        env=dict(env), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _in_parallel(skopeo: str, name: str, env: Mapping[str, str], *options: str) -> float:
    """Return the seconds that skopeo takes for all tags, given their names."""

    def inspect(number: int) -> None:
        reference = f"docker://{name}:v{number:03}"
        subprocess.run(
            [skopeo, "inspect", *options, "--tls-verify=false", reference],
            env=dict(env), stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    start = time.perf_counter()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(inspect, range(_MANY)))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
