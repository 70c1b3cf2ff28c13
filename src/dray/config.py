"""What the environment says: the one place that reads variables and finds files."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dray.model.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

# Flags of /proc/cpuinfo that make up the levels of amd64 (x86-64 psABI, "Micro-Architecture
# Levels"), by the names that Linux gives them.
_AMD64_LEVELS = (
    ("v2", {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    ("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)


class Config(NamedTuple):
    """Paths and defaults; nothing here has been opened yet."""

    store: Path
    auth_files: tuple[Path, ...] = ()

    @classmethod
    def from_environment(
        cls, env: Mapping[str, str] | None = None, home: Path | None = None
    ) -> Config:
        """Read ``env`` (the process's own by default) and place files below ``home``."""
        env = os.environ if env is None else env
        home = _home(env) if home is None else home
        data = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share")
        store = Path(env["DRAY_STORE"]) if env.get("DRAY_STORE") else data / "dray"
        return cls(store, _auth_files(env, home))


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path("~").expanduser()


def _auth_files(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return the files of credentials in order; ``REGISTRY_AUTH_FILE`` stands alone."""
    if env.get("REGISTRY_AUTH_FILE"):
        return (Path(env["REGISTRY_AUTH_FILE"]),)
    runtime = env.get("XDG_RUNTIME_DIR")
    run = Path(runtime) / "containers" if runtime else Path(f"/run/containers/{os.getuid()}")
    settings = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(env.get("DOCKER_CONFIG") or home / ".docker")
    return (
        run / "auth.json",
        settings / "containers" / "auth.json",
        docker / "config.json",
    )


@functools.cache
def host_platform() -> Platform:
    """Return the platform of this machine, with the level that an amd64 reaches."""
    machine = os.uname()
    found = Platform(machine.sysname, machine.machine).normalized()
    if found.architecture == "amd64" and found.os == "linux":
        variant = _amd64_level(Path("/proc/cpuinfo"))
        return Platform(found.os, found.architecture, variant)
    return found


def _amd64_level(cpuinfo: Path) -> str:
    """Return ``v2`` to ``v4``, or "" for the first level or where it cannot be known."""
    try:
        with cpuinfo.open() as lines:
            line = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return ""
    flags, level = set(line.split()), ""
    for name, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        level = name
    return level
