"""The blob files of a store, ``blobs/<algorithm>/<hex>``, and the part files in ``ingest``."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from typing import TYPE_CHECKING

from wherry.model.digest import HEX_LENGTHS
from wherry.store.root_directory import open_store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from wherry.model.digest import Digest
    from wherry.store.directory import Directory

_PART = re.compile(
    "|".join(f"{name}-[0-9a-f]{{{length}}}\\.part" for name, length in HEX_LENGTHS.items())
)
_HEX = b"0123456789abcdef"
_NAMES = {name: re.compile(f"[0-9a-f]{{{length}}}") for name, length in HEX_LENGTHS.items()}


class BlobFiles:
    """The directories of the store at a path; a file with the name of a blob is complete.

    Each directory is opened on its first use and stays open: see `is_current`. Digests as text
    come from the database, which another user may have written. Each is checked before it is
    used as a file name.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._root: Directory | None = None
        self._opened: dict[str, Directory] = {}

    @property
    def root(self) -> Directory:
        """The store's own directory; raises `FileNotFoundError` and `StoreError`."""
        if self._root is None:
            self._root = open_store(self._path)
        return self._root

    @property
    def is_current(self) -> bool:
        """Whether the open directories are still those at the path."""
        return self._root is None or (
            self._root.is_unchanged(self._path)
            and all(directory.is_linked for directory in list(self._opened.values()))
        )

    def _directory(self, algorithm: str) -> Directory:
        """Return the directory of one algorithm's blobs; raises `FileNotFoundError`."""
        opened = self._opened.get(algorithm)
        if opened is None:
            opened = self.root.child("blobs").child(algorithm)
            self._opened[algorithm] = opened
        return opened

    @property
    def ingest(self) -> Directory:
        """The directory of the part files; raises `FileNotFoundError`."""
        opened = self._opened.get("ingest")
        if opened is None:
            opened = self._opened["ingest"] = self.root.child("ingest")
        return opened

    def _status(self, algorithm: str, name: str) -> os.stat_result:
        """Return a blob's status; raises `FileNotFoundError` unless it is a regular file."""
        directory = self._directory(algorithm)
        found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory.where(name))
        return found

    def exists(self, digest: Digest) -> bool:
        """Tell whether a blob is stored."""
        try:
            self._status(digest.algorithm, digest.hex)
        except OSError:
            return False
        return True

    def size(self, digest: Digest) -> int:
        """Return a blob's size in bytes; raises `FileNotFoundError`."""
        return self._status(digest.algorithm, digest.hex).st_size

    def all(self) -> set[str]:
        """Return the digests of all stored blobs, as text."""
        found: set[str] = set()
        for algorithm in _NAMES:
            try:
                listed = self._directory(algorithm).names()
            except FileNotFoundError:
                continue
            prefix = f"{algorithm}:"
            found.update([prefix + name for name in _blob_names(algorithm, listed)])
        return found

    def has(self, digest: str) -> bool:
        """Tell whether a blob is stored; the digest is text, as in `all`."""
        try:
            self._status(*_split(digest))
        except OSError:
            return False
        return True

    def size_of(self, digest: str) -> int:
        """Return a blob's size in bytes, 0 if it is gone; the digest is text, as in `all`."""
        try:
            return self._status(*_split(digest)).st_size
        except FileNotFoundError:
            return 0

    def open(self, digest: str) -> io.FileIO:
        """Open a blob for reading; the digest is text, as in `all`."""
        return io.FileIO(self.descriptor(digest))

    def descriptor(self, digest: str) -> int:
        """Open a blob for reading; return the descriptor, which belongs to the caller."""
        algorithm, name = _split(digest)
        return self._directory(algorithm).open(name)

    def identity(self, digest: str) -> tuple[int, ...]:
        """Return values that change if another file takes the place of a blob."""
        algorithm, name = _split(digest)
        found = self._directory(algorithm).stat(name)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def unlink(self, digests: Collection[str]) -> None:
        """Remove those blobs that are stored; the digests are text, as in `all`."""
        for algorithm in _NAMES:
            prefix = f"{algorithm}:"
            start = len(prefix)
            names = [digest[start:] for digest in digests if digest.startswith(prefix)]
            if names:
                with contextlib.suppress(FileNotFoundError):
                    _unlink(self._directory(algorithm), _blob_names(algorithm, names))

    def parts(self) -> list[str]:
        """Return the names of all part files, in order; other names are ignored."""
        try:
            listed = self.ingest.names()
        except FileNotFoundError:
            return []
        return sorted(filter(_PART.fullmatch, listed))

    def prepare(self, digest: Digest) -> None:
        """Make the directories that a blob needs."""
        if digest.algorithm in self._opened and "ingest" in self._opened:
            return
        ingest = self.root.child("ingest", make=True)
        blobs = self.root.child("blobs", make=True).child(digest.algorithm, make=True)
        if blobs.device != ingest.device:
            # Raised before a download that could not be renamed in the end.
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), blobs.path)
        self._opened.setdefault("ingest", ingest)
        self._opened.setdefault(digest.algorithm, blobs)

    def publish(self, part: str, digest: Digest) -> None:
        """Rename a part file, whose content is flushed to the disk, to the blob."""
        self.ingest.rename(part, digest.hex, self._directory(digest.algorithm))

    def sync(self, algorithm: str) -> None:
        """Flush the names of blobs to the disk."""
        self._directory(algorithm).sync()


def part_name(digest: Digest) -> str:
    """Return the name of a blob's part file."""
    return f"{digest.algorithm}-{digest.hex}.part"


def _split(digest: str) -> tuple[str, str]:
    """Return algorithm and file name; raises `FileNotFoundError` for an invalid digest."""
    algorithm, _, name = digest.partition(":")
    names = _NAMES.get(algorithm)
    if names is None or names.fullmatch(name) is None:
        raise FileNotFoundError(errno.ENOENT, "no digest", digest)
    return algorithm, name


def _blob_names(algorithm: str, names: list[str]) -> list[str]:
    """Return those of ``names`` that are the hex digits of a digest.

    `gc` checks the name of every file. One check of all names together takes a sixth of the time
    of a match for each. Only if that fails are the names matched one by one.
    """
    digits = "".join(names).encode("ascii", "replace")
    if {*map(len, names)} <= {HEX_LENGTHS[algorithm]} and not digits.translate(None, _HEX):
        return names
    return list(filter(_NAMES[algorithm].fullmatch, names))


def _unlink(directory: Directory, names: Iterable[str]) -> None:
    descriptor = directory.fd
    for name in names:
        try:
            os.unlink(name, dir_fd=descriptor)
        except (FileNotFoundError, IsADirectoryError):
            continue  # `suppress` costs an eighth of it: there are thousands
