"""Install wherry from its wheel into a new environment, as a user does."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["environment"]

_ROOT = Path(__file__).resolve().parent.parent


def environment(keep: Path, root: Path = _ROOT) -> Path:
    """Return the program directory of an environment with wherry from `root`.

    An environment from an earlier run is used again if the sources have not changed.
    """
    home, wheels = keep / "environment", keep / "wheel"
    programs = home / "bin"
    stamp = home / "built-from"
    sources = f"{sys.version}\nserve\n{_digest(root)}"
    if stamp.exists() and stamp.read_text() == sources:
        return programs
    for directory in (home, wheels):
        shutil.rmtree(directory, ignore_errors=True)
    _run(sys.executable, "-m", "venv", home)
    pip = (programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, root)
    _run(*pip, "install", "--compile", *(f"{each}[serve]" for each in wheels.glob("wherry-*.whl")))
    _check(programs / "python")
    stamp.write_text(sources)
    return programs


def _check(python: Path) -> None:
    """Check that the command runs the interpreter without a launcher script."""
    with python.resolve().open("rb") as file:
        if file.read(4) != b"\x7fELF":
            raise RuntimeError(f"{python.resolve()} is a launcher, not an interpreter")


def _digest(root: Path) -> str:
    digest = hashlib.sha256((root / "pyproject.toml").read_bytes())
    for path in sorted((root / "src").rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)
