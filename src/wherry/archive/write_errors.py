"""Errors of the file system about archives and layouts that are written."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from wherry.errors import NotFound, StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PULL_SCHEMA1 = "`wherry pull` converts the image, and `wherry save` writes it"
CLOSED_PIPE = "the reader of the archive closed the pipe before the end"
NOTHING_LEFT = "nothing is left of what was written"


@contextlib.contextmanager
def translate_write_errors(path: object, *, left: str = NOTHING_LEFT) -> Iterator[None]:
    """Turn errors of the file system into `WherryError`.

    Args:
        path: The archive or layout.
        left: What the hint about a full disk says of the files that were written.

    Raises:
        StoreFull: No space is left.
        StoreError: The path cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        raise StoreError(CLOSED_PIPE).within(path) from None
    except OSError as error:
        message = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            hint = f"make room, or choose another place; {left}"
            raise StoreFull(message, hint=hint).within(path) from error
        raise StoreError(message).within(path) from error


def check_parent(path: Path) -> None:
    """Raise `NotFound` unless the directory of ``path`` exists."""
    if not path.parent.is_dir():
        raise NotFound("there is no such directory").within(path.parent)
