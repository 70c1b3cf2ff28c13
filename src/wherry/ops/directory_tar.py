"""Stream the content of a directory as a tar."""

from __future__ import annotations

import os
import tarfile
import threading
from typing import TYPE_CHECKING

from wherry.errors import StoreError
from wherry.ops.tree import TreeChanged, TreeEntry, walk

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from typing_extensions import Buffer


class DirectoryTar:
    """A tar of a directory, written by a thread while it is read.

    Use it in a ``with`` statement. Names are sorted and owners are numbers, so the same content
    makes the same tar. Times later than ``epoch``, in seconds since 1970, become ``epoch``.
    Links are not followed, and files that another process replaces meanwhile raise an error
    (see `tree`).
    """

    def __init__(self, root: Path, epoch: int | None = None) -> None:
        self._root = root
        self._epoch = epoch
        self._names: dict[tuple[int, int], str] = {}  # of files with several hard links
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="wherry-pack", daemon=True)

    def __enter__(self) -> Self:
        reading, self._writing = os.pipe()
        self._reader = os.fdopen(reading, "rb", buffering=0)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._reader.close()
        self._thread.join()

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` with what one read returns; return 0 when the tar is complete."""
        count = self._reader.readinto(buffer)
        if not count:
            self._thread.join()
            if isinstance(self._error, TreeChanged):
                raise StoreError(
                    "changed while it was read",
                    hint="import a copy, or a directory that no process writes to",
                ).within(f"{self._root}/{self._error}")
            if isinstance(self._error, OSError):
                where = self._root / (self._error.filename or "")
                error = StoreError(self._error.strerror or str(self._error))
                raise error.within(where) from self._error
            if self._error is not None:
                raise self._error
        return count or 0

    def _run(self) -> None:
        try:
            with (
                os.fdopen(self._writing, "wb") as pipe,
                tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for entry in walk(self._root):
                    self._add(tar, entry)
                    tar.members = []  # type: ignore[attr-defined] # it would keep all of them
        except BrokenPipeError:
            pass  # the reader has stopped
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            self._error = error

    def _add(self, tar: tarfile.TarFile, entry: TreeEntry) -> None:
        if entry.is_socket:  # a tar cannot hold sockets
            return
        key = entry.status.st_dev, entry.status.st_ino
        if not entry.is_file:
            tar.addfile(self._member(entry, entry.status, entry.type))
        elif key in self._names:
            member = self._member(entry, entry.status, tarfile.LNKTYPE)
            member.linkname = self._names[key]
            tar.addfile(member)
        else:
            if entry.status.st_nlink > 1:
                self._names[key] = entry.path
            with entry.open() as (content, status):
                member = self._member(entry, status, tarfile.REGTYPE)
                member.size = status.st_size
                tar.addfile(member, content)

    def _member(self, entry: TreeEntry, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
        member = tarfile.TarInfo(entry.path)
        member.type = kind
        member.mode = status.st_mode & 0o7777
        member.uid, member.gid = status.st_uid, status.st_gid
        member.mtime = int(status.st_mtime)
        if self._epoch is not None:
            member.mtime = min(member.mtime, self._epoch)
        member.linkname = entry.target
        if entry.is_device:
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return member
