"""Commands to compare, each with an empty working directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.testing import find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "PEERS",
    "Contender",
    "all_contenders",
    "clean_place",
    "environ",
    "podman_driver",
    "podman_places",
    "stores_on",
]

PEERS = ("docker-registry", "skopeo", "podman")
_BLOB_CACHE = "containers/cache/blob-info-cache-v1.boltdb"
_TMPFS = Path("/dev/shm")  # noqa: S108 - chosen for its file system; tempfile makes the names


@dataclass(frozen=True)
class Contender:
    """A tool that pulls; `command` maps a reference and a directory to a command line."""

    name: str
    program: str | None
    command: Callable[[str, Path], list[str | Path]]
    terminal: bool = False

    @property
    def installed(self) -> bool:
        """Return whether its program is installed."""
        return self.program is not None and Path(self.program).exists()


def all_contenders(wherry: Path, driver: str) -> list[Contender]:
    """Return all contenders; if `program` is None, it is not installed."""
    return [*_wherrys(str(wherry)), *_skopeos(), _podman(driver)]


def _wherrys(wherry: str) -> list[Contender]:
    def pull(*options: str) -> Callable[[str, Path], list[str | Path]]:
        return lambda reference, place: [
            *(wherry, "--store", place / "store", "pull"),
            *(*options, reference),
        ]

    return [
        Contender("wherry", wherry, pull("-q")),
        Contender("wherry --no-verify-layers", wherry, pull("-q", "--no-verify-layers")),
        Contender("wherry on a terminal", wherry, pull(), terminal=True),
    ]


def _skopeos() -> list[Contender]:
    skopeo = find_binary("skopeo")

    def copy(kind: str) -> Callable[[str, Path], list[str | Path]]:
        return lambda reference, place: [
            *(str(skopeo), "copy", "--quiet", "--src-tls-verify=false"),
            *(f"docker://{reference}", f"{kind}:{place / 'copy'}:bench:latest"),
        ]

    def layout(reference: str, place: Path) -> list[str | Path]:
        return [*copy("oci")(reference, place)[:-1], f"oci:{place / 'copy'}:latest"]

    return [
        Contender("skopeo oci:", skopeo, layout),
        Contender("skopeo docker-archive:", skopeo, copy("docker-archive")),
    ]


def _podman(driver: str) -> Contender:
    podman = find_binary("podman")
    return Contender(
        "podman pull",
        podman,
        lambda reference, place: [
            *(str(podman), *podman_places(place, driver)),
            *("pull", "--quiet", "--tls-verify=false", reference),
        ],
    )


def podman_places(place: Path, driver: str) -> list[str | Path]:
    """Return options that give podman its own storage."""
    return [
        *("--root", place / "root", "--runroot", place / "run", "--tmpdir", place / "state"),
        *("--storage-driver", driver),
    ]


def podman_driver() -> str:
    """Return `overlay` if podman can use it on that file system, else `vfs`."""
    podman = find_binary("podman")
    if podman is None:
        return "none"
    with clean_place() as place:
        command = [podman, *podman_places(place, "overlay"), "info"]
        done = subprocess.run(command, env=environ(place), capture_output=True, check=False)
    return "overlay" if done.returncode == 0 else "vfs"


def environ(place: Path) -> Mapping[str, str]:
    """Return an environment without user settings, with temporary files in `place`."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "HOME": str(place),
        "TMPDIR": str(place),
        "XDG_CONFIG_HOME": str(place / "config"),
        "XDG_DATA_HOME": str(place / "data"),
    }


@contextmanager
def clean_place() -> Iterator[Path]:
    """Yield an empty directory, in memory if possible, and clear the caches of the tools."""
    if os.geteuid() == 0:
        # Root cannot move this cache; for other users it is below XDG_DATA_HOME.
        Path("/var/lib", _BLOB_CACHE).unlink(missing_ok=True)
    place = Path(tempfile.mkdtemp(prefix="bench-", dir=_TMPFS if _TMPFS.is_dir() else None))
    try:
        yield place
    finally:
        _remove(place)


def stores_on() -> str:
    """Return a description of the file system of the stores."""
    if _TMPFS.is_dir():
        return str(_TMPFS)
    return f"{tempfile.gettempdir()} (there is no {_TMPFS}: figures include a disk)"


def _remove(place: Path) -> None:
    """Remove a directory. After a failed pull, podman leaves its storage mounted."""
    mounted = place / "root" / "overlay"
    umount = find_binary("umount")
    if umount is not None and mounted.is_dir():
        # is_mount() does not detect a bind mount on itself, so umount may fail without harm.
        subprocess.run([umount, "--lazy", mounted], capture_output=True, check=False)
    shutil.rmtree(place)
