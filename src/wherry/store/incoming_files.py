"""The files of uploads to the server: their names, and when they expire."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING

from wherry.store.locks import lock_abandoned
from wherry.store.repository_blobs import KEPT_SECONDS

if TYPE_CHECKING:
    from wherry.store.blobs import BlobFiles

EXPIRY_SECONDS = KEPT_SECONDS  # since the last write
_ID = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"upload-[0-9a-f]{32}-[0-9a-f]{16}\.part")


def file_name(repository: str, upload: str) -> str:
    """Return the name of an upload's file; raises `FileNotFoundError` for an invalid id."""
    if _ID.fullmatch(upload) is None:
        raise FileNotFoundError
    import hashlib  # `gc` and `df` hash nothing

    return f"upload-{upload}-{hashlib.sha256(repository.encode()).hexdigest()[:16]}.part"


def names(files: BlobFiles) -> list[str]:
    """Return the names of all uploads' files, in order."""
    try:
        return sorted(filter(_FILE.fullmatch, files.ingest.names()))
    except FileNotFoundError:
        return []


def sweep(files: BlobFiles, *, dry_run: bool) -> tuple[int, int]:
    """Remove expired uploads; return their number and their bytes."""
    count = size = 0
    for name in names(files):
        with contextlib.suppress(FileNotFoundError):
            if not _is_expired(files.ingest.stat(name)):
                continue
        lock = lock_abandoned(files.ingest, name)
        if lock is None:
            continue
        try:
            found = os.fstat(lock.descriptor)
            if _is_expired(found):
                count += 1
                size += found.st_size
                if not dry_run:
                    files.ingest.unlink(name)
        finally:
            lock.release()
    return count, size


def _is_expired(found: os.stat_result) -> bool:
    return found.st_mtime < time.time() - EXPIRY_SECONDS
