"""The files of a store: ``blobs/<algorithm>/<hex>`` and parts on their way there."""

from __future__ import annotations

import errno
import io
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dray.model.digest import HEX_LENGTHS
from dray.store.locks import fsync_directory, make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dray.model.digest import Digest


class BlobFiles:
    """Where blobs are; a file that has its name is whole.

    Paths are plain strings inside: making `Path` objects is what a small blob would spend
    most of its time on.
    """

    def __init__(self, root: Path) -> None:
        self._blobs = str(root / "blobs")
        self._ingest = str(root / "ingest")
        self._prepared: set[str] = set()

    def _file(self, digest: Digest) -> str:
        return f"{self._blobs}/{digest.algorithm}/{digest.hex}"

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return Path(self._file(digest))

    def part(self, digest: Digest) -> str:
        """Return where a blob grows until it is whole."""
        return f"{self._ingest}/{digest.algorithm}-{digest.hex}.part"

    def exists(self, digest: Digest) -> bool:
        """Tell whether a blob is there."""
        return os.path.isfile(self._file(digest))  # noqa: PTH113 - see above

    def size(self, digest: Digest) -> int:
        """Return a blob's size in bytes; raises `FileNotFoundError`."""
        return os.path.getsize(self._file(digest))  # noqa: PTH202 - see above

    def all(self) -> set[str]:
        """Return the digests of all blobs that are there, as text."""
        found: set[str] = set()
        for algorithm, length in HEX_LENGTHS.items():
            try:
                names = os.listdir(f"{self._blobs}/{algorithm}")  # noqa: PTH208 - see above
            except FileNotFoundError:
                continue
            prefix = f"{algorithm}:"
            found.update([prefix + name for name in names if len(name) == length])
        return found

    def has(self, digest: str) -> bool:
        """Tell whether a blob is there; the digest is text, as in `all`."""
        return os.path.isfile(f"{self._blobs}/{digest.replace(':', '/')}")  # noqa: PTH113 - see above

    def size_of(self, digest: str) -> int:
        """Return a blob's size in bytes, 0 if it is gone; the digest is text, as in `all`."""
        try:
            return os.path.getsize(f"{self._blobs}/{digest.replace(':', '/')}")  # noqa: PTH202
        except FileNotFoundError:
            return 0

    def open(self, digest: str) -> io.FileIO:
        """Open a blob for reading; the digest is text, as in `all`."""
        return io.FileIO(f"{self._blobs}/{digest.replace(':', '/')}")

    def identity(self, digest: str) -> tuple[int, ...]:
        """Return what tells a file from another one put in its place."""
        found = os.stat(f"{self._blobs}/{digest.replace(':', '/')}")  # noqa: PTH116 - see above
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def unlink(self, digests: Iterable[str]) -> None:
        """Remove blobs as far as they are there; the digests are text, as in `all`."""
        # By names within one directory: looking up whole paths is a tenth of the work.
        for algorithm, some in itertools.groupby(digests, lambda each: each.partition(":")[0]):
            try:
                directory = os.open(f"{self._blobs}/{algorithm}", os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                _unlink(directory, [digest.partition(":")[2] for digest in some])
            finally:
                os.close(directory)

    def prepare(self, digest: Digest) -> None:
        """Make the directories that a blob needs."""
        for directory in (self._ingest, f"{self._blobs}/{digest.algorithm}"):
            if directory not in self._prepared:
                make_directory(directory)
                if Path(directory).stat().st_dev != Path(self._ingest).stat().st_dev:
                    # Before anything is fetched that could not be renamed in the end.
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), directory)
                self._prepared.add(directory)

    def publish(self, digest: Digest) -> None:
        """Give the part its name; it is on the disk already."""
        os.rename(self.part(digest), self._file(digest))  # noqa: PTH104 - see above

    def sync(self, algorithm: str) -> None:
        """Make the names of blobs survive a loss of power."""
        fsync_directory(f"{self._blobs}/{algorithm}")


def _unlink(directory: int, names: Iterable[str]) -> None:
    for name in names:
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:  # `suppress` costs an eighth of it, and there are thousands
            continue
