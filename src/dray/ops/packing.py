"""Packing: a directory as a tar that a thread writes while it is read."""

from __future__ import annotations

import os
import tarfile
import threading
from typing import TYPE_CHECKING

from dray.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from typing_extensions import Buffer


class Packing:
    """A directory's content as a tar; use it in a ``with`` statement.

    Names are sorted and owners numbers, so that the same content makes the same tar. Times
    later than ``epoch``, in seconds since 1970, become that.
    """

    def __init__(self, root: Path, epoch: int | None = None) -> None:
        self._root = root
        self._epoch = epoch
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dray-pack", daemon=True)

    def __enter__(self) -> Self:
        reading, self._writing = os.pipe()
        self._reader = os.fdopen(reading, "rb", buffering=0)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._reader.close()
        self._thread.join()

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` as far as one read goes; 0 at the end, when all was packed."""
        count = self._reader.readinto(buffer)
        if not count:
            self._thread.join()
            if isinstance(self._error, OSError):
                where = self._error.filename or self._root
                raise StoreError(f"{where}: {self._error.strerror or self._error}") from self._error
            if self._error is not None:
                raise self._error
        return count or 0

    def _run(self) -> None:
        try:
            with (
                os.fdopen(self._writing, "wb") as pipe,
                tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for path in _below(self._root):
                    member = tar.gettarinfo(path, str(path.relative_to(self._root)))
                    if member is None:  # a socket
                        continue
                    member.uname = member.gname = ""
                    member.mtime = int(member.mtime)
                    if self._epoch is not None:
                        member.mtime = min(member.mtime, self._epoch)
                    if member.isreg():
                        with path.open("rb") as content:
                            tar.addfile(member, content)
                    else:
                        tar.addfile(member)
                    tar.members = []  # type: ignore[attr-defined] # it keeps all that it has seen
        except BrokenPipeError:
            pass  # whoever reads has had enough
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error


def _below(directory: Path) -> Iterator[Path]:
    """Yield what is below a directory, in order, however deep."""
    todo = sorted(directory.iterdir(), reverse=True)
    while todo:
        path = todo.pop()
        yield path
        if path.is_dir() and not path.is_symlink():
            todo += sorted(path.iterdir(), reverse=True)
