"""A short run of the tests on each other Python from 3.11 on that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.envdir = ".nox"
OLDEST = (3, 11)
# What differs between versions of Python: the standard library's HTTP, TLS, tar and SQLite,
# annotations, pickling. A minute each, so that the whole check stays within a quarter of an hour.
SHORT = (
    *("tests/archive/test_reading.py", "tests/cli/test_completion.py", "tests/library"),
    *("tests/registry/test_certificates.py", "tests/registry/test_transport.py"),
    *("tests/store/test_local.py", "tests/testing", "tests/test_architecture.py"),
)
PROBE = "import sys; print(*sys.version_info[:3]); print(sys.executable)"


def interpreters() -> list[str]:
    """Return the path of one interpreter for each other version, oldest first."""
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    names = [path for place in places for path in sorted(place.glob("python3.[0-9]*"))]
    names = [path for path in names if path.suffix[1:].isdigit()]
    names += sorted(pyenv.glob("versions/*/bin/python3"))
    found: dict[tuple[int, ...], str] = {}
    for name in names:
        done = subprocess.run(  # noqa: S603 - the interpreters that are looked for
            [name, "-c", PROBE], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:  # a shim of pyenv may lead to nothing
            version, executable = done.stdout.splitlines()
            found.setdefault(tuple(map(int, version.split())), executable)
    found.pop(sys.version_info[:3], None)  # `make test` runs all on the one that runs this
    return [found[version] for version in sorted(found) if version >= OLDEST]


@nox.session(python=interpreters())
def short(session: nox.Session) -> None:
    """Install wherry and run the tests that differ most between versions of Python."""
    requirements = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
    session.install("-e", ".", *requirements)
    session.run("pytest", "-n", "6", *(session.posargs or SHORT))
