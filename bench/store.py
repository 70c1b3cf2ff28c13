"""Compare operations on a store with other tools on its files.

``images`` of 10,000 references against the start of the command; ``gc`` of 100,000 blobs against
``find`` over them, and ``rm`` of those that go; ``fsck`` of 2 GB against ``openssl dgst`` on all
cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import clean_place, environ
from measure import Figures, Sample, run
from wheel import environment
from wherry.store import LocalStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Command = Sequence[str | Path]

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_MB = 10**6
_CORES = 2
_REFERENCES = 10_000
_IMAGES, _LAYERS = 10_000, 8  # with config and manifest: 100,000 blobs
_FILES, _FILE_SIZE = 60, 34 * _MB
_PEAK_GROWTH = 1.2  # ratio of the memory of `fsck` for a large and a small store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument(
        "--only", choices=["images", "gc", "fsck"], help="measure one of them (default: all)"
    )
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    _KEEP.mkdir(parents=True, exist_ok=True)
    wherry = environment(_KEEP) / "wherry"
    print(f"stores, median of {options.runs}; load {os.getloadavg()[0]:.2f} at the start")
    runs = {"images": 3 * options.runs, "gc": min(options.runs, 3), "fsck": options.runs}
    parts = {"images": _images, "gc": _gc, "fsck": _fsck}
    for name, measured in parts.items():
        if options.only in {None, name}:
            with clean_place() as place:
                measured(wherry, place, runs[name])


def _images(wherry: Path, place: Path, runs: int) -> None:
    """List many names, half of them digests as after pulls, and as many tags."""
    pulled, tags = place / "pulled", place / "tags"
    _fill_database(
        pulled, [(number, digest) for number in range(_REFERENCES // 2) for digest in (False, True)]
    )
    _fill_database(tags, [(number, False) for number in range(_REFERENCES)])
    found = _race(
        {
            "wherry --version": [wherry, "--version"],
            "wherry images, 5,000 pulled by tag": [wherry, "--store", pulled, "images"],
            "wherry images, 10,000 tags": [wherry, "--store", tags, "images"],
        },
        place,
        runs,
    )
    start, listed, most = found.values()
    _verdict(
        f"`images` with {_REFERENCES:,} references / `wherry --version`",
        listed.wall / start.wall,
        2.0,
    )
    _verdict(
        f"`images` with {_REFERENCES:,} tags / `wherry --version`", most.wall / start.wall, 2.0
    )


def _fill_database(path: Path, names: Sequence[tuple[int, bool]]) -> None:
    with LocalStore(path).ingest() as ingest, ingest.db.write() as connection:
        for number in dict.fromkeys(number for number, _ in names):
            day = number % 1000
            created = (
                f"202{day % 5}-0{day % 9 + 1}-1{day % 9}T0{day % 9}:{number % 60:02}:05.123456789Z"
            )
            connection.execute(
                "INSERT INTO images VALUES (?, ?, 'linux/amd64', ?, ?)",
                (_digest("m", number), _digest("c", number), created, 10_000 + number**2),
            )
        for number, by_digest in names:
            root = _digest("m", number)
            suffix = f"@{root}" if by_digest else f":1.{number % 10}"
            connection.execute(
                "INSERT INTO refs (name, root, manifest, updated, kept) VALUES (?, ?, ?, 0, ?)",
                (f"registry.example/team/app{number // 10}{suffix}", root, root, not by_digest),
            )


def _digest(kind: str, number: int) -> str:
    return f"sha256:{hashlib.sha256(f'{kind} {number}'.encode()).hexdigest()}"


def _gc(wherry: Path, place: Path, runs: int) -> None:
    """Run gc with nothing to remove, then with half of the store, in fresh copies."""
    model, store, files = place / "model", place / "store", place / "files"
    gone = _fill_store(model)
    find: list[str | Path] = ["find", model / "blobs", "-type", "f"]
    found = _race(
        {"find": find, "wherry gc, nothing to do": [wherry, "--store", model, "gc"]}, place, runs
    )
    searched, idle = found.values()
    _forget_half(model)
    samples: dict[str, list[Sample]] = {"xargs rm": [], "wherry gc, 50,000 to go": []}
    (place / "list").write_text("".join(f"{files}/{name}\n" for name in gone))
    for _ in range(runs):
        shutil.copytree(model / "blobs" / "sha256", files)
        samples["xargs rm"].append(_run(["xargs", "-a", place / "list", "rm"], place))
        shutil.rmtree(files)
        shutil.copytree(model, store)
        samples["wherry gc, 50,000 to go"].append(_run([wherry, "--store", store, "gc"], place))
        shutil.rmtree(store)
    removed, collected = _print(samples).values()
    _verdict("`gc` of 100,000 blobs with nothing to do / `find`", idle.wall / searched.wall, 5.0)
    allowed = 5 * searched.wall + removed.wall
    _verdict("`gc` of 50,000 of them / (5 x `find` + `rm` of them)", collected.wall / allowed, 1.0)


def _fill_store(path: Path) -> list[str]:
    """Make a store of small named images; return the files of every other image."""
    store = LocalStore(path)
    blobs = path / "blobs" / "sha256"
    gone = []
    with store.ingest() as ingest, ingest.db.write() as connection:
        blobs.mkdir(parents=True)
        for number in range(_IMAGES):
            digests = [_digest(kind, number) for kind in ("m", "c", *map(str, range(_LAYERS)))]
            for digest in digests:
                name = digest.partition(":")[2]
                (blobs / name).write_bytes(b"x" * 100)
                if number % 2:
                    gone.append(name)
            root, config, *layers = digests
            connection.executemany(
                "INSERT INTO blobs VALUES (?, 100, NULL, NULL)", [(digest,) for digest in digests]
            )
            connection.execute("INSERT INTO documents VALUES (?, ?, 'x')", (root, root))
            connection.executemany(
                "INSERT INTO edges VALUES (?, ?, 1)", [(root, child) for child in (config, *layers)]
            )
            connection.execute(
                "INSERT INTO images VALUES (?, ?, 'linux/amd64', '', 1000)", (root, config)
            )
            connection.execute(
                "INSERT INTO refs (name, root, manifest, updated) VALUES (?, ?, ?, 0)",
                (f"registry.example/team/app:{number}", root, root),
            )
    store.close()
    return gone


def _forget_half(path: Path) -> None:
    store = LocalStore(path)
    with store.ingest() as ingest, ingest.db.write() as connection:
        connection.execute("DELETE FROM refs WHERE CAST(substr(name, -1) AS INTEGER) % 2")
    store.close()


def _fsck(wherry: Path, place: Path, runs: int) -> None:
    """Hash 2 GB in memory, and a tenth of it to see whether memory grows."""
    large, small = place / "large", place / "small"
    for store, size in ((large, _FILE_SIZE), (small, _FILE_SIZE // 10)):
        _fill_database(store, [])
        blobs = store / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        source = random.Random(1)  # noqa: S311 - reproducible content, not secrets
        for _ in range(_FILES):
            data = source.randbytes(size)
            (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    files = place / "list"
    files.write_text("".join(f"{path}\n" for path in sorted((large / "blobs/sha256").iterdir())))
    found = _race(
        {
            "xargs -P2 -n8 openssl dgst -sha256": [
                *("xargs", "-a", files, "-P2", "-n8", "openssl", "dgst", "-sha256")
            ],
            "wherry fsck": [wherry, "--store", large, "fsck"],
            "wherry fsck of a tenth": [wherry, "--store", small, "fsck"],
        },
        place,
        runs,
    )
    theirs, ours, tenth = found.values()
    _verdict("`fsck` of 2 GB / `xargs -P2 -n8 openssl dgst -sha256`", ours.wall / theirs.wall, 1.2)
    growth = ours.highest_peak / tenth.highest_peak
    _verdict("peak of `fsck` of 2 GB / of a tenth", growth, _PEAK_GROWTH)


def _race(commands: Mapping[str, Command], place: Path, runs: int) -> dict[str, Figures]:
    """Run commands in turn, so that changes of the machine affect all."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            samples[name].append(_run(command, place))
    return _print(samples)


def _run(command: Command, place: Path) -> Sample:
    return run(command, log=place / "output", env=environ(place))


def _print(samples: Mapping[str, Sequence[Sample]]) -> dict[str, Figures]:
    found = {name: Figures.of(taken) for name, taken in samples.items()}
    for name, row in found.items():
        print(
            f"  {name:<36}{row.wall:>8.3f} s{row.cpu:>8.3f} CPU s"
            f"{row.highest_peak / _MB:>8.1f} MB{row.spread:>7.2f} slowest/fastest",
            flush=True,
        )
    return found


def _verdict(what: str, value: float, limit: float) -> None:
    met = "ok" if value <= limit else "MISSED"
    print(f"    {what:<62}{value:>6.2f}  <= {limit:g}  {met}", flush=True)


if __name__ == "__main__":
    main()
