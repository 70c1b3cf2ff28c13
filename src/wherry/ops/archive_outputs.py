"""Write archives to pipes, files and directories."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.archive.write_errors import check_parent, translate_write_errors
from wherry.archive.writer import directory_tasks, tar_tasks, write_stream
from wherry.content.output import whole_directory, whole_file
from wherry.content.scheduler import run_tasks
from wherry.errors import StoreError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO, Protocol

    from wherry.archive.writer import Entry, Task
    from wherry.content.cancel import CancelToken

    class ArchiveOutput(Protocol):
        """Where an archive is written to."""

        def write(self, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
            """Write all entries, up to ``jobs`` of them at a time; raises `StoreError`."""
            ...


class PipeOutput:
    """Write a tar to an open file, in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, entries: Sequence[Entry], _jobs: int, cancel: CancelToken) -> None:
        """Write a tar.

        Raises:
            Unsupported: The file is a terminal.
            StoreError: The reader has closed the pipe.
        """
        if self._file.isatty():
            message = "cannot write an archive to a terminal"
            raise Unsupported(message, hint="use -o FILE, or a pipe")
        write_stream(self._file, entries, cancel)


class FileOutput:
    """Write a tar to a path: a new file, a file to replace, or a named pipe.

    The file gets its name when it is complete.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))

    def write(self, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
        """Write a tar.

        Raises:
            NotFound: The directory of the file does not exist.
            StoreError: The file cannot be written.
        """
        path = self._path
        with translate_write_errors(path):
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                with path.open("wb", buffering=0) as pipe:
                    PipeOutput(pipe).write(entries, jobs, cancel)
                return
            check_parent(path)
            with whole_file(path) as file:
                _run(list(tar_tasks(file, entries)), jobs, cancel)


class DirectoryOutput:
    """Write files below a new directory, which gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))

    def write(self, entries: Sequence[Entry], jobs: int, cancel: CancelToken) -> None:
        """Write the files.

        Raises:
            NotFound: The directory above does not exist.
            StoreError: The path exists and is not an empty directory, or cannot be written.
        """
        path = self._path
        with translate_write_errors(path):
            if path.exists() and not (path.is_dir() and not any(path.iterdir())):
                hint = "choose another place, or empty it"
                raise StoreError("already exists", hint=hint).within(path)
            check_parent(path)
            with whole_directory(path) as staged:
                _run(list(directory_tasks(staged, entries)), jobs, cancel)


def _run(tasks: Sequence[Task], jobs: int, cancel: CancelToken) -> None:
    ordered = sorted(tasks, key=lambda task: -task.size)
    run_tasks(None, [task.run for task in ordered], jobs=jobs, cancel=cancel)
