"""Write the entries of an archive to a file, a pipe or a directory."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.archive_file import ArchiveFile
from wherry.archive.entry import Task
from wherry.archive.read_ahead import ReadAhead
from wherry.archive.tar_writer import FileTar, PipeTar
from wherry.archive.write_errors import CLOSED_PIPE, check_parent, translate_write_errors
from wherry.content.output import whole_directory
from wherry.content.scheduler import run_tasks
from wherry.errors import StoreError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from wherry.archive.entry import Entry
    from wherry.archive.tar_writer import TarWriter
    from wherry.content.cancel import CancelToken


def write_stream(file: BinaryIO, entries: Sequence[Entry], cancel: CancelToken) -> None:
    """Write a tar to a pipe or another stream.

    Raises:
        Unsupported: The stream is a terminal.
        StoreError: The reader has closed the pipe.
    """
    if file.isatty():
        message = "cannot write an archive to a terminal"
        raise Unsupported(message, hint="use -o FILE, or a pipe")
    _write_in_order(PipeTar(file), entries, cancel)


def write_file(path: Path, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
    """Write a tar to a path: a new file, a file to replace, or a named pipe.

    The file gets its name when it is complete. Up to ``jobs`` members are written at a time.

    Raises:
        NotFound: The directory of the file does not exist.
        StoreError: The file cannot be written.
    """
    hint = "--format oci and --format dir write directories"
    with (
        translate_write_errors(os.path.realpath(path)),
        contextlib.closing(ArchiveFile(str(path), hint=hint)) as archive,
    ):
        tar = archive.tar
        if isinstance(tar, FileTar):
            _run(list(_tar_tasks(tar, entries)), jobs, cancel)
            archive.publish()
        else:
            _write_in_order(tar, entries, cancel)


def write_directory(path: Path, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
    """Write files below a new directory, which gets its name when it is complete.

    Raises:
        NotFound: The directory above does not exist.
        StoreError: The path exists and is not an empty directory, or cannot be written.
    """
    path = Path(os.path.realpath(path))
    with translate_write_errors(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            hint = "choose another place, or empty it"
            raise StoreError("already exists", hint=hint).within(path)
        check_parent(path)
        with whole_directory(path) as staged:
            _run(list(_directory_tasks(staged, entries)), jobs, cancel)


def _tar_tasks(tar: FileTar, entries: Sequence[Entry]) -> Iterator[Task]:
    """Write documents; yield tasks that write the other members."""
    for entry in entries:
        if entry.copy is None:
            tar.add(entry)
        else:
            yield tar.reserve(entry)


def _directory_tasks(root: Path, entries: Sequence[Entry]) -> Iterator[Task]:
    """Make directories; yield tasks that write the files."""
    for entry in entries:
        if entry.name.endswith("/"):
            (root / entry.name).mkdir()
        else:
            yield Task(entry.size, functools.partial(_write_file, root / entry.name, entry))


def _write_file(path: Path, entry: Entry, cancel: CancelToken) -> None:
    """Write a file of a directory."""
    with path.open("xb") as file:
        if entry.copy is None:
            file.write(entry.data or b"")
        else:
            entry.write_to(file.write, cancel)
        file.flush()
        os.fsync(file.fileno())


def _run(tasks: Sequence[Task], jobs: int, cancel: CancelToken) -> None:
    ordered = sorted(tasks, key=lambda task: -task.size)
    run_tasks(None, [task.run for task in ordered], jobs=jobs, cancel=cancel)


def _write_in_order(tar: TarWriter, entries: Sequence[Entry], cancel: CancelToken) -> None:
    """Write a tar to a pipe, and read the next members meanwhile."""
    try:
        with cancel.child() as token, ReadAhead(entries, token) as ahead:
            for entry in entries:
                tar.add(entry, () if entry.copy is None else ahead.chunks(entry))
            tar.finish()
    except BrokenPipeError:
        raise StoreError(CLOSED_PIPE) from None
