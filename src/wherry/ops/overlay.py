"""A directory as an overlay file system over an image whose files are hard links to a cache.

The files are in ``lower``. What is written goes to ``upper``. All directories of the overlay are
below the one on which it is mounted, so they are hidden while it is, and are removed with it.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from wherry.errors import Unsupported

if TYPE_CHECKING:
    from pathlib import Path

LOWER = "lower"
_UPPER, _WORK = "upper", "work"
_HINT = "--cache=link makes a directory of hard links, --cache=copy one of copies"
_FACTS = {
    errno.EPERM: "this process may not mount file systems (a sandbox or container forbids it)",
    errno.EACCES: "this process may not mount file systems (a sandbox or container forbids it)",
    errno.ENODEV: "this kernel has no overlay file systems",
    errno.EINVAL: "the file system of the directory cannot be below an overlay",
}


def check_overlay(directory: Path) -> None:
    """Raise `Unsupported` if this user cannot mount file systems."""
    if os.geteuid() != 0:
        raise Unsupported("only root mounts overlay file systems", hint=_HINT).within(directory)


def make_layers(directory: int) -> int:
    """Make the directories of an overlay, and open the one for the files of the image."""
    for name in (LOWER, _UPPER, _WORK):
        os.mkdir(name, 0o700, dir_fd=directory)
    return os.open(LOWER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)


def finish_layers(directory: int, path: Path) -> None:
    """Complete the directories, and mount the overlay once to see that it can be.

    Args:
        directory: A descriptor of the directory, which is private.
        path: Its path.

    Raises:
        Unsupported: The overlay cannot be mounted.
        OSError: The disk fails.
    """
    lower, upper = (f"{_link_to(directory)}/{name}" for name in (LOWER, _UPPER))
    about = os.stat(lower)  # noqa: PTH116 - a string
    os.chown(upper, about.st_uid, about.st_gid)
    shutil.copystat(lower, upper)  # the root of an overlay has the attributes of the upper one
    mount(directory, path)
    unmount(path)


def mount(directory: int, path: Path) -> None:
    """Mount the overlay on its directory; raises `Unsupported` if that cannot be done."""
    place = _link_to(directory)
    options = f"lowerdir={place}/{LOWER},upperdir={place}/{_UPPER},workdir={place}/{_WORK}"
    number = _call("mount", b"overlay", place.encode(), b"overlay", 0, options.encode())
    if number:
        fact = _FACTS.get(number, os.strerror(number))
        raise Unsupported(f"the overlay cannot be mounted: {fact}", hint=_HINT).within(path)


def unmount(path: Path) -> None:
    """Unmount an overlay; raises `OSError`."""
    number = _call("umount2", os.fsencode(path), 0)
    if number:
        raise OSError(number, os.strerror(number), str(path))


def _link_to(directory: int) -> str:
    # No character of this path has a meaning in the options of an overlay.
    return f"/proc/self/fd/{directory}"


def _call(name: str, *arguments: bytes | int) -> int:
    """Call a function of the C library; return the number of the error, or 0."""
    import ctypes  # slow to import

    library = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if getattr(library, name)(*arguments) != 0 else 0
