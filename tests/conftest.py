"""What the tests share: registries, stores, the command, and what to do without a peer."""

from __future__ import annotations

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
from wherry.testing import Distribution, FakeRegistry, find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytest_plugins = ["raw_server"]
REQUIRED = "WHERRY_REQUIRE_PEERS"
_LACKING = "there is no "
_numbers = itertools.count(1)
# Settings of the machine's user, which tests must not obey.
FOREIGN = ("WHERRY_", "DOCKER_", "CONTAINERS_", "REGISTRY_", "XDG_")
FOREIGN_NAMES = {
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS", "LINES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("SOURCE_DATE_EPOCH", "NO_COLOR", "FORCE_COLOR"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run tests marked `long` as well")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        config.option.markexpr = ""
    for name in list(os.environ):
        if name != REQUIRED and (name.startswith(FOREIGN) or name.upper() in FOREIGN_NAMES):
            del os.environ[name]
    # A shell has commands in the background ignore SIGINT, and their children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Peers. `@pytest.mark.peer("skopeo", "podman")` names the programs that a test needs; without
# names, and for whoever uses the fixture `distribution`, it is docker-registry.


def needed_peers(item: pytest.Item) -> list[str]:
    """Return the names of the programs that a test needs, in order."""
    names: dict[str, None] = {}
    for mark in item.iter_markers("peer"):
        names |= dict.fromkeys(mark.args or ("docker-registry",))
    if "distribution" in getattr(item, "fixturenames", ()):
        names["docker-registry"] = None
    return sorted(names)


def leave_out(peers: str) -> NoReturn:
    """Skip the test that is running; fail it where all peers have to be there."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED} is 1, but there is no {peers}", pytrace=False)
    pytest.skip(_LACKING + peers)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for name in needed_peers(item) if find_binary(name) is None]
    if missing:
        leave_out(", ".join(missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was left out, one line a reason; `-rs` tells where."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reports
        if isinstance(report.longrepr, tuple)
    )
    if not reasons:
        return
    terminalreporter.section("left out")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")
    if any(_LACKING in reason for reason in reasons):
        terminalreporter.line(f"({REQUIRED}=1 makes a missing peer a failure)")


# Registries


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    """A real registry, open to all; what `requests` tells begins with the test's `clear`."""
    with Distribution(tmp_path_factory.mktemp("distribution")) as registry:
        yield registry


@pytest.fixture
def repository() -> str:
    """A repository name that no other test has."""
    return f"tests/number{next(_numbers)}"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry in memory, which fails to order."""
    with FakeRegistry() as registry:
        yield registry


# Stores, clients, the command


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point all that the environment says into `tmp_path`, and return it for other processes."""
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
    """An empty store; it is the one that the command of the same test uses."""
    opened = library.Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def client(store: library.Store, environment: dict[str, str]) -> Iterator[library.Client]:
    """A client that keeps what it pulls in `store`."""
    assert environment["WHERRY_STORE"] == str(store.path)
    with library.Client(store=store) as made:
        yield made


class Wherry:
    """The command, as a process of its own; `environment` may be changed before it is called."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 30,
        given: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with `given` on stdin."""
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
        """Start it and return at once."""
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
    """The command with an environment of its own."""
    return Wherry(environment)


# A helper for credentials that keeps what it is given in files, and notes what it was asked.
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
def helper_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a program called docker-credential-NAME into PATH; return the directory it is in.

    Without a text of its own it is the one above, which keeps things in `box` beside it.
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
    """Skopeo, without policies; returns what it prints."""
    # Without such a directory it reads one in /run, which only root may look into.
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("run"))}

    def run(*arguments: str | Path) -> str:
        return _output("skopeo", "--insecure-policy", *arguments, environment=runtime)

    return run


@pytest.fixture(scope="session")
def umoci() -> Callable[..., str]:
    """Umoci; returns what it prints."""

    def run(*arguments: str | Path) -> str:
        return _output("umoci", *arguments)

    return run


@pytest.fixture(scope="session")
def podman() -> Iterator[Callable[..., str]]:
    """Podman with a storage of its own; returns what it prints."""
    # Not below pytest's directory: podman takes no --runroot of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="podman-") as root:
        places = ("--root", f"{root}/root", "--runroot", f"{root}/run", "--tmpdir", f"{root}/state")
        driver = ("--storage-driver", "vfs", "--events-backend", "none")

        def run(*arguments: str | Path) -> str:
            return _output("podman", *places, *driver, *arguments)

        try:
            run("info")
        except RuntimeError as error:
            leave_out(f"podman (it does not run here: {str(error).splitlines()[-1]})")
        yield run
        if os.geteuid() != 0:
            # Layers' files belong to subordinate ids, which only a user namespace may remove.
            run("unshare", "rm", "-rf", f"{root}/root")
            run("system", "migrate")  # ends the process that keeps the namespace


def _output(
    program: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program and return what it prints; where it fails, so does the test."""
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
