"""Where archives go: pipes, and files and directories, which are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.writer import directory_tasks, tar_tasks, write_stream
from wherry.content.output import whole_directory, whole_file
from wherry.errors import NotFound, StoreError, StoreFull, Unsupported
from wherry.transfer.scheduler import run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from wherry.archive.writer import Entry, Task
    from wherry.content.cancel import CancelToken


def to_stream(file: BinaryIO, entries: Sequence[Entry], cancel: CancelToken) -> None:
    """Write a tar in order; raises `Unsupported` for a terminal."""
    if file.isatty():
        raise Unsupported("cannot write an archive to a terminal", hint="use -o FILE, or a pipe")
    write_stream(file, entries, cancel)


def to_file(path: Path, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
    """Write a tar to a file, which has its name when it is complete; or to a pipe by its name."""
    path = Path(os.path.realpath(path))
    with _translated(path):
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb", buffering=0) as pipe:
                to_stream(pipe, entries, cancel)
            return
        _check_parent(path)
        with whole_file(path) as file:
            _run(list(tar_tasks(file, entries)), jobs, cancel)


def to_directory(path: Path, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
    """Write files below a new directory, which has its name when it is complete."""
    path = Path(os.path.realpath(path))
    with _translated(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise StoreError(f"{path}: is there already", hint="choose another place, or empty it")
        _check_parent(path)
        with whole_directory(path) as staged:
            _run(list(directory_tasks(staged, entries)), jobs, cancel)


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent}: there is no such directory")


def _run(tasks: Sequence[Task], jobs: int, cancel: CancelToken) -> None:
    ordered = sorted(tasks, key=lambda task: -task.size)
    run_tasks(None, [task.run for task in ordered], jobs=jobs, cancel=cancel)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "make room, or choose another place; nothing is left of what was written"
            raise StoreFull(message, hint=hint) from error
        raise StoreError(message) from error
