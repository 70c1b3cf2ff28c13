"""Translation of the file system's errors to those of the store, and the hints of both."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from wherry.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Hints of several errors of the store.
REBUILD = "`wherry fsck --rebuild` builds a new one from what is in the store"
FULL = (
    "what has arrived is kept; make room (`wherry gc` removes what no name holds),\n"
    "or choose another place with --store"
)
_ELSEWHERE = "choose a place that can be written with --store or WHERRY_STORE"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HINTS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _ELSEWHERE),
    errno.ELOOP: "a store has no links: check its owner with ls -l, and remove it",
    errno.EXDEV: "a store is one file system: `blobs` and `ingest` must not be mounts of their own",
}


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Raise `StoreError` or `StoreFull` for an `OSError` in the block."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        message = error.strerror or str(error)
        if error.errno in _NO_SPACE:
            raise StoreFull(message, hint=FULL).within(where) from error
        raise StoreError(message, hint=_HINTS.get(error.errno or 0, "")).within(where) from error
