"""Atomic files and directories, which get their names when complete.

A file that is being written has no name if the file system allows that (``O_TMPFILE``), and
otherwise a hidden name. It is locked with ``flock``. The lock ends with its process, so the next
writer in the directory finds and removes the files of killed writers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import stat
from typing import TYPE_CHECKING

from wherry.content.exchange import exchange
from wherry.content.remove_tree import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

_FORM = re.compile(r"\.wherry-[0-9a-f]{16}\.part")
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[int]:
    """Yield a descriptor; after the block the file is synced and has its name.

    It replaces another file of that name. If the block or the disk fails, nothing has changed.

    Raises:
        OSError: The file system fails.
    """
    with opened(path.parent) as directory, whole_file_in(directory, path.name, mode) as file:
        yield file


@contextlib.contextmanager
def whole_file_in(directory: int, name: str, mode: int = 0o666) -> Iterator[int]:
    """Do what `whole_file` does, in a directory that is open."""
    with StagedFile(directory, name, mode) as staged:
        yield staged.descriptor
        staged.publish()


class StagedFile:
    """A file that has no name, or a hidden one, until `publish`.

    Use it as a context manager: a file that was not published is removed.

    Args:
        directory: The directory of the file, open.
        name: The name to be set.
        mode: The mode of the file.

    Attributes:
        descriptor: The open file.

    Raises:
        OSError: The file system fails.
    """

    def __init__(self, directory: int, name: str, mode: int = 0o666) -> None:
        self._directory = directory
        self._name = name
        self._staged = ""
        file = _open_unnamed(directory, mode)
        if file is None:
            file, self._staged = _open_named(directory, mode)
        self.descriptor = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._staged:
            with contextlib.suppress(OSError):
                os.unlink(self._staged, dir_fd=self._directory)
        os.close(self.descriptor)

    def publish(self) -> None:
        """Sync the file and set its name; it replaces another file of that name.

        Raises:
            OSError: The file system fails. Another file of that name is still there.
        """
        directory = self._directory
        os.fsync(self.descriptor)
        self._staged = self._staged or _link(self.descriptor, directory, self._name)
        if self._staged:
            os.rename(self._staged, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            self._staged = ""
        _sync(directory)


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Yield a directory; after the block it is synced and has its name.

    The block must sync the files that it writes. An empty directory of that name is replaced.

    Raises:
        OSError: The file system fails.
    """
    with StagedDirectory(path) as staged:
        yield staged.path
        staged.publish()


class StagedDirectory:
    """A directory with a hidden name beside its place, until `publish`.

    Use it as a context manager: a directory that was not published is removed.

    Attributes:
        path: The directory under its hidden name.
        descriptor: The open directory.

    Raises:
        OSError: The file system fails.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        with contextlib.ExitStack() as stack:
            self._parent = stack.enter_context(opened(path.parent))
            self.descriptor, self._staged = _make_named(self._parent)
            stack.callback(os.close, self.descriptor)
            self._opened = stack.pop_all()
        self.path = path.with_name(self._staged)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            if self._staged:
                _remove_tree(self._staged, self._parent)
        finally:
            self._opened.close()

    def publish(self, *, syncs: bool = True, replaces: bool = False) -> None:
        """Sync the directories and set the name; an empty directory of that name is replaced.

        Args:
            syncs: Whether to sync; if not, a crash of the machine may lose content.
            replaces: Whether a directory of that name with something in it is replaced.

        Raises:
            OSError: The file system fails, or the name is taken.
        """
        for found, _, _ in os.walk(self.path) if syncs else ():
            fsync_directory(found)
        try:
            os.rename(self._staged, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except OSError as error:
            if not replaces or error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            exchange(self._staged, self._name, self._parent)
            _remove_tree(self._staged, self._parent)
        self._staged = ""
        _sync(self._parent)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and its parents, and sync their names to the disk. Idempotent."""
    missing = list(itertools.takewhile(lambda each: not each.is_dir(), (path, *path.parents)))
    for each in reversed(missing):  # no recursion: a path may have 2,000 parts
        _make_directory(each, mode)


def _make_directory(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    try:
        fsync_directory(path.parent)
    except OSError:
        with contextlib.suppress(OSError):  # or the next attempt would not sync it
            path.rmdir()
        raise


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Sync the names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno == errno.EBADF:  # the directory can be written and not read
            os.sync()
        elif error.errno != errno.EINVAL:  # the file system cannot sync directories (fsync(2))
            raise


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Open a directory to write in it, and remove the files of killed writers."""
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    try:
        descriptor = os.open(directory, os.O_RDONLY | flags)
    except PermissionError:  # it may still be writable
        descriptor = os.open(directory, os.O_PATH | flags)
    try:
        remove_abandoned(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def is_staged(name: str) -> bool:
    """Tell whether a name is that of a file or directory that is being written."""
    return _FORM.fullmatch(name) is not None


def remove_abandoned(directory: int) -> None:
    """Remove the files of killed writers from an open directory."""
    for name in _left_over(directory):
        _remove_abandoned(directory, name)


def _left_over(directory: int) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if is_staged(entry.name)]
    except OSError:  # the directory cannot be listed
        return []


def _remove_abandoned(directory: int, name: str) -> None:
    """Remove a staged file or directory of this user if its lock is free."""
    with contextlib.suppress(OSError):
        found = os.open(name, _LOOK, dir_fd=directory)
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = os.fstat(found)
            if about.st_uid != os.geteuid() or not _is_at(found, directory, name):
                return
            if stat.S_ISDIR(about.st_mode):
                _remove_tree(name, directory)
            elif stat.S_ISREG(about.st_mode):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(found)


def _remove_tree(name: str, directory: int) -> None:
    with contextlib.suppress(OSError):
        remove_tree(name, directory)


def _open_unnamed(directory: int, mode: int) -> int | None:
    """Open a file without a name; None if the file system cannot link it later."""
    try:
        file = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=directory)
    except OSError:  # file systems report this with various numbers
        return None
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(_link_to(file)), os.fstat(file)):  # noqa: PTH116 - a string
            _lock(file)
            return file
    os.close(file)
    return None


def _link_to(file: int) -> str:
    return f"/proc/self/fd/{file}"


def _link(file: int, directory: int, name: str) -> str:
    """Give an unnamed file its name; return a staged name if the name is taken."""
    for staged in ("", _new_name()):
        with contextlib.suppress(FileExistsError):
            # With `src_dir_fd`, Python calls linkat, which follows the link.
            os.link(_link_to(file), staged or name, src_dir_fd=directory, dst_dir_fd=directory)
            return staged
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _open_named(directory: int, mode: int) -> tuple[int, str]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        name = _new_name()
        file = os.open(name, flags, mode, dir_fd=directory)
        if _lock(file) and _is_at(file, directory, name):
            return file, name
        os.close(file)  # another process has removed it


def _make_named(directory: int) -> tuple[int, str]:
    while True:
        name = _new_name()
        os.mkdir(name, dir_fd=directory)
        try:
            lock = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory)
        except FileNotFoundError:  # another process has removed it
            continue
        if _lock(lock) and _is_at(lock, directory, name):
            return lock, name
        os.close(lock)


def _new_name() -> str:
    return f".wherry-{os.urandom(8).hex()}.part"


def _lock(descriptor: int) -> bool:
    """Lock a staged file; False if another process that removes it has the lock.

    If the file system has no locks, no process removes staged files.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(descriptor: int, directory: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)
