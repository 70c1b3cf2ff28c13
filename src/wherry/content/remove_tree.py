"""Removing a directory with all below it, however deep it is."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level(NamedTuple):
    """A directory that is being emptied, and those in it that are left."""

    name: str
    identity: tuple[int, int]
    left: list[str]


def remove_tree(name: str, parent: int) -> None:
    """Remove a directory; links are not followed.

    One descriptor is open at a time, and nothing recurses: a layer may have 2,000 directories
    inside each other. `shutil.rmtree` does both for each level.

    Args:
        name: The name of the directory.
        parent: A descriptor of the directory that has it.

    Raises:
        OSError: Something cannot be removed, or another process moves directories.
    """
    here = _open(name, parent)
    levels = [_Level(name, _identity(here), [])]
    try:
        levels[0].left.extend(_empty(here))
        while True:
            level = levels[-1]
            if level.left:
                below = level.left.pop()
                here = _replace(here, _open(below, here))
                levels.append(_Level(below, _identity(here), _empty(here)))
                continue
            levels.pop()
            if not levels:
                break
            here = _replace(here, os.open("..", _FLAGS, dir_fd=here))
            if _identity(here) != levels[-1].identity:
                raise OSError("a directory was moved while it was removed")
            os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)


def _open(name: str, parent: int) -> int:
    """Open a directory; the owner may have forbidden it to himself."""
    try:
        return os.open(name, _FLAGS, dir_fd=parent)
    except PermissionError:
        found = os.open(name, _PATH, dir_fd=parent)
    try:
        link = f"/proc/self/fd/{found}"
        os.chmod(link, 0o700)  # noqa: PTH101 - a string
        return os.open(link, _FLAGS & ~os.O_NOFOLLOW)
    finally:
        os.close(found)


def _replace(old: int, new: int) -> int:
    os.close(old)
    return new


def _identity(directory: int) -> tuple[int, int]:
    about = os.fstat(directory)
    return about.st_dev, about.st_ino


def _empty(directory: int) -> list[str]:
    """Remove the files in a directory; return the names of the directories in it."""
    with contextlib.suppress(PermissionError):  # the owner may have forbidden it to himself
        os.fchmod(directory, 0o700)
    directories = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
    return directories
