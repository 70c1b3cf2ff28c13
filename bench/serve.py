"""Compare `wherry serve` with docker-registry under the same clients; part of `make bench`.

Both have their files in memory. They take turns, so that changes of the machine affect both.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import platform
import re
import shlex
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin

from build import SHAPES, copy_repository, provide
from contenders import clean_place, environ, stores_on
from measure import CommandError, Figures, Sample, run
from report import Verdict, print_rows, print_verdicts, wall_ratios
from wheel import environment
from wherry.testing import Distribution, find_binary
from wherry.testing.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_KEEP = Path(__file__).resolve().parent.parent / ".bench"
_CORES = 2
_IMAGE = "five"
_REPOSITORY = f"bench/{_IMAGE}"
_PULLS = 4  # at a time
_HEADS = 4000
_DOWNLOADS = 200  # at a time
_LARGE = 50 * 2**20
_MOST_MB = 200.0
_START_SECONDS = 0.6
_OURS, _THEIRS = "wherry", "docker-registry"
_PULL, _BLOBS, _PUSH, _HEAD = "4 pulls by skopeo", "blobs by curl", "push by skopeo", "HEAD by curl"
# (what, largest ratio of wall time); half as many requests a second take twice as long
_RATIOS = ((_PULL, 1.0), (_BLOBS, 0.7), (_PUSH, 1.0), (_HEAD, 2.0))
_MB = 10**6


class Server(NamedTuple):
    """A registry that runs.

    Attributes:
        host: Its address and port.
        pid: Its process.
        seconds: The time from its start to its first answer.
    """

    host: str
    pid: int
    seconds: float

    def peak(self) -> int:
        """Return the largest memory so far, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0


class Setting(NamedTuple):
    """Both registries, a layout with the image, and the blobs of the image."""

    wherry: Path
    place: Path
    servers: Mapping[str, Server]
    layout: Path
    digests: Sequence[str]


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    options.keep.mkdir(parents=True, exist_ok=True)
    missing = [name for name in (_THEIRS, "skopeo", "curl") if find_binary(name) is None]
    if missing:
        print(f"serve: left out, for there is no {' and no '.join(missing)}")
        return
    wherry = environment(options.keep) / "wherry"
    load = os.getloadavg()[0]
    print(f"serve on Python {platform.python_version()}, load {load:.2f} at the start")
    print(f"registries and stores on {stores_on()}")
    with clean_place() as place, _setting(options.keep, wherry, place) as setting:
        rows = _race(setting, options.runs)
        print_rows(rows)
        limits = [(f"{what}: {_OURS}", f"{what}: {_THEIRS}", limit) for what, limit in _RATIOS]
        verdicts = [*wall_ratios(rows, limits), *_downloads(setting), *_starts(setting)]
    print()
    print_verdicts(verdicts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument("--cores", type=int, default=_CORES, help="cores to use (default: 2)")
    parser.add_argument("--keep", type=Path, default=_KEEP, help="where images stay (.bench)")
    options = parser.parse_args()
    options.keep = options.keep.resolve()
    return options


# Registries


@contextmanager
def _setting(keep: Path, wherry: Path, place: Path) -> Iterator[Setting]:
    """Start both registries with the image."""
    with Distribution(keep / "registry") as kept:
        built = provide(SHAPES[_IMAGE], kept)
    copy_repository(keep / "registry" / "data", place / "peer" / "data", _IMAGE)
    print(f"image: {built}")
    with _peer(place / "peer") as theirs:
        name = f"{theirs.host}/{_REPOSITORY}"
        store, layout = place / "store", place / "layout"
        steps: list[Sequence[str | Path]] = [
            [wherry, "--store", store, "pull", "-q", name],
            [wherry, "--store", store, "tag", name, _REPOSITORY],
            [*_skopeo(), "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:x"],
        ]
        for step in steps:
            run(step, log=place / "output", env=environ(place))
        with _served(wherry, store) as ours:
            yield Setting(wherry, place, {_OURS: ours, _THEIRS: theirs}, layout, _blobs(layout))


def _blobs(layout: Path) -> list[str]:
    """Return the digests of the config and the layers of the image in a layout."""
    index = json.loads((layout / "index.json").read_bytes())
    algorithm, value = index["manifests"][0]["digest"].split(":")
    manifest = json.loads((layout / "blobs" / algorithm / value).read_bytes())
    return [each["digest"] for each in (manifest["config"], *manifest["layers"])]


@contextmanager
def _served(wherry: Path, store: Path) -> Iterator[Server]:
    """Run `wherry serve`."""
    host = f"127.0.0.1:{free_port()}"
    command: list[str | Path] = [wherry, "--store", store, "serve", "--listen", host]
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environ(store.parent), stderr=subprocess.DEVNULL)
    try:
        _wait_for_answer(host)
        yield Server(host, process.pid, time.perf_counter() - begin)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _peer(root: Path) -> Iterator[Server]:
    """Run docker-registry."""
    begin = time.perf_counter()
    with Distribution(root) as registry:
        _wait_for_answer(registry.host)
        yield Server(registry.host, _pid_of(root), time.perf_counter() - begin)


def _wait_for_answer(host: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.002)
        else:
            return
        finally:
            connection.close()
    raise RuntimeError(f"{host} does not answer")


def _pid_of(root: Path) -> int:
    """Return the process of the registry with a directory; `timeout` is its parent."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0")
        if words[0].endswith(_THEIRS.encode()) and str(root).encode() in b" ".join(words):
            return int(path.parent.name)
    raise RuntimeError(f"there is no registry of {root}")


# Clients


def _skopeo() -> list[str | Path]:
    return [str(find_binary("skopeo")), "--insecure-policy", "copy", "--quiet"]


def _race(setting: Setting, runs: int) -> Mapping[str, Figures | str]:
    """Run the clients of both registries in turn."""
    actions: dict[str, Callable[[Setting, str, Path], Sample]] = {
        _PULL: _pull,
        _BLOBS: _fetch,
        _PUSH: _push,
        _HEAD: _ask,
    }
    rows: dict[str, Figures | str] = {}
    for what, action in actions.items():
        samples: dict[str, list[Sample]] = {name: [] for name in setting.servers}
        for _ in range(runs):
            for name, taken in samples.items():
                with clean_place() as place:
                    taken.append(action(setting, name, place))
        rows |= {f"{what}: {name}": Figures.of(taken) for name, taken in samples.items()}
    return rows


def _pull(setting: Setting, name: str, place: Path) -> Sample:
    """Pull the image several times at the same time."""
    source = f"docker://{setting.servers[name].host}/{_REPOSITORY}:latest"
    commands = [
        shlex.join(
            map(str, [*_skopeo(), "--src-tls-verify=false", source, f"dir:{place}/{number}"])
        )
        for number in range(_PULLS)
    ]
    waits = " && ".join(f"wait $p{number}" for number in range(_PULLS))
    script = "".join(f"{command} & p{number}=$!; " for number, command in enumerate(commands))
    return run(["sh", "-c", script + waits], log=place / "out", env=environ(place))


def _fetch(setting: Setting, name: str, place: Path) -> Sample:
    """Fetch the blobs of the image once for each of those pulls."""
    urls = [_blob_url(setting.servers[name], digest) for digest in setting.digests] * _PULLS
    return run(_curl(urls, _PULLS), log=place / "out", env=environ(place))


def _push(setting: Setting, name: str, place: Path) -> Sample:
    """Push the image to a registry that is empty."""
    empty = _served(setting.wherry, place / "store") if name == _OURS else _peer(place / "peer")
    with empty as server:
        target = f"docker://{server.host}/bench/pushed:1"
        command = [*_skopeo(), "--dest-tls-verify=false", f"oci:{setting.layout}:x", target]
        return run(command, log=place / "out", env=environ(place))


def _ask(setting: Setting, name: str, place: Path) -> Sample:
    """Ask for the manifest many times."""
    url = f"http://{setting.servers[name].host}/v2/{_REPOSITORY}/manifests/latest?n=[1-{_HEADS}]"
    accept = ["-H", "Accept: application/vnd.oci.image.manifest.v1+json"]
    command = ["curl", "-sfI", "-Z", "--parallel-max", "8", *accept, "-o", os.devnull, url]
    return run(command, log=place / "out", env=environ(place))


def _curl(urls: Sequence[str], parallel: int) -> list[str | Path]:
    places = [part for url in urls for part in ("-o", os.devnull, url)]
    return ["curl", "-sf", "-Z", "--parallel-immediate", "--parallel-max", str(parallel), *places]


def _blob_url(server: Server, digest: str) -> str:
    return f"http://{server.host}/v2/{_REPOSITORY}/blobs/{digest}"


# Memory and start


def _downloads(setting: Setting) -> Iterator[Verdict]:
    """Download one large blob many times at the same time."""
    large = setting.place / "large"
    large.write_bytes(os.urandom(_LARGE))
    for name, server in setting.servers.items():
        with clean_place() as place:
            digest = _push_blob(server, large, place)
            command = _curl([_blob_url(server, digest)] * _DOWNLOADS, _DOWNLOADS)
            try:
                cost = run(command, log=place / "out", env=environ(place))
            except CommandError as error:
                print(f"  {_DOWNLOADS} downloads from {name} failed: {error}")
                cost = Sample(0, 0, 0)
            peak = server.peak() / _MB
            print(
                f"  {_DOWNLOADS} downloads of 50 MiB from {name}: {cost.wall:.1f} s, {peak:.0f} MB"
            )
            if name == _OURS:
                yield Verdict(f"{_DOWNLOADS} downloads: failed", float(cost.wall == 0), 0)
                yield Verdict(f"{_DOWNLOADS} downloads: peak of {name}", peak, _MOST_MB, " MB")


def _push_blob(server: Server, file: Path, place: Path) -> str:
    """Push a file as a blob; return its digest."""
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    connection = http.client.HTTPConnection(server.host)
    connection.request("POST", f"/v2/{_REPOSITORY}/blobs/uploads/")
    location = urljoin(f"http://{server.host}/", connection.getresponse().headers["Location"])
    connection.close()
    target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
    kind = ["-H", "Content-Type: application/octet-stream"]
    run(["curl", "-sf", *kind, "-T", file, target], log=place / "out", env=environ(place))
    return digest


def _starts(setting: Setting) -> Iterator[Verdict]:
    """Start both with their content, several times."""
    seconds = []
    for _ in range(5):
        with _served(setting.wherry, setting.place / "store") as server:
            seconds.append(server.seconds)
    yield Verdict("start to first answer", sorted(seconds)[2], _START_SECONDS, " s")


if __name__ == "__main__":
    main()
