"""Exchanging two names of a directory."""

from __future__ import annotations

import errno
import os

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
# File systems and kernels without it.
_UNKNOWN = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def exchange(first: str, second: str, directory: int) -> None:
    """Exchange two names, so that each is there at any moment.

    Where the file system cannot do that, ``second`` is missing for a moment.

    Args:
        first: A name.
        second: Another one.
        directory: A descriptor of the directory that has both.

    Raises:
        OSError: The names cannot be exchanged; nothing has changed.
    """
    import ctypes  # slow to import

    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    call = getattr(library, "renameat2", None)  # glibc has it since 2.28
    if call is not None:
        if call(directory, names[0], directory, names[1], _EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNKNOWN:
            raise OSError(number, os.strerror(number), second)
    aside = f"{first}.old"
    os.rename(second, aside, src_dir_fd=directory, dst_dir_fd=directory)
    os.rename(first, second, src_dir_fd=directory, dst_dir_fd=directory)
    os.rename(aside, first, src_dir_fd=directory, dst_dir_fd=directory)
