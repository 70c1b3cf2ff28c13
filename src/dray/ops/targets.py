"""Where archives go: pipes, and files and directories, which are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from dray.archive.writing import directory_tasks, tar_tasks, write_stream
from dray.errors import NotFound, StoreError, Unsupported
from dray.store.locks import fsync_directory
from dray.transfer.scheduler import run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from dray.archive.writing import Entry, Task
    from dray.content.cancel import CancelToken


def to_stream(file: BinaryIO, entries: Sequence[Entry], cancel: CancelToken) -> None:
    """Write a tar in order; raises `Unsupported` for a terminal."""
    if file.isatty():
        raise Unsupported("an archive is nothing for a terminal", hint="use -o FILE, or a pipe")
    write_stream(file, entries, cancel)


def to_file(path: Path, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
    """Write a tar to a file, which has its name when it is complete; or to a pipe by its name."""
    path = Path(os.path.realpath(path))
    with _translated(path):
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb", buffering=0) as pipe:
                to_stream(pipe, entries, cancel)
            return
        staged = _beside(path)
        file = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _run(list(tar_tasks(file, entries)), jobs, cancel)
            os.fsync(file)
            staged.rename(path)
        except BaseException:
            staged.unlink()
            raise
        finally:
            os.close(file)


def to_directory(path: Path, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
    """Write files below a new directory, which has its name when it is complete."""
    path = Path(os.path.realpath(path))
    with _translated(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise StoreError(f"{path}: is there already", hint="choose another place, or empty it")
        staged = _beside(path)
        staged.mkdir()
        try:
            _run(list(directory_tasks(staged, entries)), jobs, cancel)
            for directory, _, _ in os.walk(staged):
                fsync_directory(directory)
            staged.rename(path)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise


def _beside(path: Path) -> Path:
    """Name what is being written, so that a crash leaves nothing under the name itself."""
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent}: there is no such directory")
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")


def _run(tasks: Sequence[Task], jobs: int, cancel: CancelToken) -> None:
    ordered = sorted(tasks, key=lambda task: -task.size)
    run_tasks(None, [task.run for task in ordered], jobs=jobs, cancel=cancel)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "make room, or choose another place; nothing is left of what was written"
        raise StoreError(f"{path}: {error.strerror or error}", hint=hint if full else "") from error
