"""The files of a store: ``blobs/<algorithm>/<hex>`` and parts on their way there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dray.store.locks import fsync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from dray.model.digest import Digest


class BlobFiles:
    """Where blobs are; a file that has its name is whole."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._ingest = root / "ingest"
        self._prepared: set[Path] = set()

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return self._blobs / digest.algorithm / digest.hex

    def part_path(self, digest: Digest) -> Path:
        """Return where a blob grows until it is whole."""
        return self._ingest / f"{digest.algorithm}-{digest.hex}.part"

    def exists(self, digest: Digest) -> bool:
        """Tell whether a blob is there."""
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Return a blob's size in bytes; raises `FileNotFoundError`."""
        return self.path(digest).stat().st_size

    def prepare(self, digest: Digest) -> None:
        """Make the directories that a blob needs."""
        for directory in (self._ingest, self.path(digest).parent):
            if directory not in self._prepared:
                directory.mkdir(parents=True, exist_ok=True)
                self._prepared.add(directory)

    def publish(self, digest: Digest) -> None:
        """Give the part its name; it is on the disk already."""
        os.rename(self.part_path(digest), self.path(digest))  # noqa: PTH104 - atomic, no copy

    def sync(self, digest: Digest) -> None:
        """Make the name survive a loss of power."""
        fsync_directory(self.path(digest).parent)
