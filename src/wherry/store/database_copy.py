"""A temporary copy of a database that cannot be read in place."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.store.directory import Directory


class DatabaseCopy:
    """A copy of a database and its log; `remove` deletes it, as does the end of the process."""

    def __init__(self, root: Directory, name: str) -> None:
        directory = tempfile.mkdtemp(prefix="wherry-")
        self.remove = weakref.finalize(self, _remove, directory, os.getpid())
        self.path = Path(directory) / name
        for each in (name, f"{name}-wal"):
            with contextlib.suppress(FileNotFoundError):
                source = os.fdopen(root.open(each), "rb")
                with source, self.path.with_name(each).open("xb") as target:
                    shutil.copyfileobj(source, target)

    def identity(self) -> tuple[int, int]:
        """Return device and inode of the copy."""
        found = self.path.stat()
        return found.st_dev, found.st_ino


def _remove(directory: str, process: int) -> None:
    if os.getpid() == process:  # a forked child must leave the copy of its parent
        shutil.rmtree(directory, ignore_errors=True)
