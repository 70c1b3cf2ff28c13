"""Directories of a store, held by descriptor: below the store's path no link is followed.

Another user may write to the store's directory, and may replace any name in it by a link while
root works there. So each directory is opened once, and every name is looked up relative to its
descriptor (openat(2), "Rationale for openat()").
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading

from wherry.content import fork
from wherry.errors import StoreError
from wherry.store.locks import fsync_directory

MODE = 0o644  # of new files
_DIRECTORY_MODE = 0o775  # of new directories, less the umask: never writable for everybody
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block
_making = threading.RLock()
fork.hold(_making)

_KINDS = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISREG, "is a file"),
)


class Directory:
    """An open directory of a store. Its descriptor is closed with the last reference to it.

    A thread may still use the directory when the store is closed. A forked child shares the
    descriptor, which has no state that matters: listing opens the directory anew.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.fd = descriptor
        self._stat = os.fstat(descriptor)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # the kernel has closed it all the same
            os.close(self.fd)

    def where(self, name: str) -> str:
        """Return the path of a name, for messages and for SQLite."""
        return f"{self.path}/{name}"

    def is_at(self, path: str) -> bool:
        """Tell whether ``path`` leads to this directory."""
        try:
            return os.path.samestat(os.stat(path), self._stat)  # noqa: PTH116 - a string
        except OSError:
            return False

    def is_unchanged(self, path: str) -> bool:
        """Tell whether ``path`` leads to this directory, with the owner and mode it had."""
        now = os.fstat(self.fd)
        before = (self._stat.st_uid, self._stat.st_gid, self._stat.st_mode)
        return (now.st_uid, now.st_gid, now.st_mode) == before and self.is_at(path)

    @property
    def is_linked(self) -> bool:
        """Whether the directory still has a name."""
        return os.fstat(self.fd).st_nlink > 0

    # Directories

    def child(self, name: str, *, make: bool = False) -> Directory:
        """Open a directory in this one, or make it.

        Raises:
            FileNotFoundError: it is not there, and ``make`` is not given.
            StoreError: something else has its name, or other users can write to it.
        """
        while True:
            with _PathInErrors(self, name):
                try:
                    descriptor = os.open(name, _DIRECTORY, dir_fd=self.fd)
                except FileNotFoundError:
                    if not make:
                        raise
                    self._make(name)
                    continue
                except OSError as error:
                    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                        raise unsafe(self.where(name), _kind(self.stat(name))) from None
                    raise
            opened = Directory(self.where(name), descriptor)
            self._check_owner(opened.path, opened._stat)
            check_mode(opened)
            return opened

    def _make(self, name: str) -> None:
        # No thread may put anything into it before it has its owner.
        with _making:
            try:
                os.mkdir(name, _DIRECTORY_MODE, dir_fd=self.fd)
            except FileExistsError:  # another process may not have synced it yet
                self.sync()
                return
            try:
                made = Directory(self.where(name), os.open(name, _DIRECTORY, dir_fd=self.fd))
                self.give(made.fd)
                self.sync()
            except OSError:
                with contextlib.suppress(OSError):  # the next attempt would not sync it
                    os.rmdir(name, dir_fd=self.fd)
                raise

    def _check_owner(self, path: str, found: os.stat_result) -> None:
        """Refuse what a stranger has put here: no user of a group that shares the store."""
        mode = self._stat.st_mode
        owners = {self._stat.st_uid, os.geteuid(), 0}
        if found.st_uid not in owners and (mode & stat.S_IWOTH or not mode & stat.S_IWGRP):
            raise unsafe(path, f"belongs to another user (uid {found.st_uid})")

    def sync(self) -> None:
        """Make the names in the directory survive a loss of power."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            error.filename = self.path
            raise

    def names(self) -> list[str]:
        """List the names, in no order."""
        with _PathInErrors(
            self, "."
        ):  # opened anew: threads would share the position of one descriptor
            descriptor = os.open(".", _DIRECTORY, dir_fd=self.fd)
        try:
            return os.listdir(descriptor)  # noqa: PTH208 - a descriptor
        finally:
            os.close(descriptor)

    # Files

    def stat(self, name: str) -> os.stat_result:
        """Look at a name without following a link; raises `FileNotFoundError`."""
        with _PathInErrors(self, name):
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Tell whether anything has a name."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def check(self, name: str) -> os.stat_result | None:
        """Return the status of a file, None where there is none; raises `StoreError`.

        The file is not opened: closing a descriptor would drop the locks that SQLite has on the
        same file in this process (sqlite.org/howtocorrupt.html, section 2.2).
        """
        try:
            found = self.stat(name)
        except FileNotFoundError:
            return None
        self._check_file(name, found)
        return found

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file, or make one with ``O_CREAT | O_EXCL``, which gets the store's owner.

        Raises:
            FileNotFoundError: it is not there.
            StoreError: a link, FIFO, device, directory or foreign hard link has its name.
        """
        try:
            descriptor = os.open(name, flags | _FILE, MODE, dir_fd=self.fd)
        except OSError as error:
            error.filename = self.where(name)
            if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
                raise unsafe(self.where(name), _kind(self.stat(name))) from None
            raise
        try:
            self._check_file(name, os.fstat(descriptor))
            if flags & os.O_CREAT:
                self.give(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_file(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise unsafe(self.where(name), _kind(found))
        # Copies of a store by `cp -al` have hard links too: those are of the same owner.
        if found.st_nlink > 1 and found.st_uid != self._stat.st_uid:
            raise unsafe(self.where(name), "is a hard link to another user's file")
        self._check_owner(self.where(name), found)

    def unlink(self, name: str) -> None:
        """Remove a name as far as it is there; never what a link leads to."""
        with contextlib.suppress(FileNotFoundError), _PathInErrors(self, name):
            os.unlink(name, dir_fd=self.fd)

    def rename(self, name: str, new: str, target: Directory | None = None) -> None:
        """Rename a file, in this directory or into another one of the store."""
        target = target or self
        with _PathInErrors(target, new):
            os.rename(name, new, src_dir_fd=self.fd, dst_dir_fd=target.fd)

    def give(self, descriptor: int) -> None:
        """Have what root makes in here belong to the owner of the directory.

        Else the owner could not use the store any more after root did so once.
        """
        if os.geteuid() == 0 and self._stat.st_uid != 0:
            os.fchown(descriptor, self._stat.st_uid, self._stat.st_gid)

    def is_writable(self, name: str = ".") -> bool:
        """Tell whether a name can be written; one that is not there can."""
        return os.access(name, os.W_OK, dir_fd=self.fd) or not self.exists(name)

    @property
    def device(self) -> int:
        """The file system that the directory is on."""
        return self._stat.st_dev


def open_store(path: str) -> Directory:
    """Open the directory of a store. Links in the user's own path are followed, once.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: something else is there, or every user can write to it.
    """
    link = os.lstat(path)
    real = os.path.realpath(path)
    try:
        opened = Directory(real, os.open(real, _DIRECTORY))
    except NotADirectoryError:
        raise StoreError(
            f"{path}: {_kind(os.stat(real))}, a store is a directory",  # noqa: PTH116 - a string
            hint="choose another place with --store or WHERRY_STORE",
        ) from None
    # As Linux does with protected_symlinks: the link of a third user leads anywhere.
    owners = {os.geteuid(), opened._stat.st_uid, 0}  # noqa: SLF001 - of this module
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in owners:
        raise unsafe(path, f"is a link that another user made (uid {link.st_uid})")
    check_mode(opened)
    return opened


def make_store(path: str) -> None:
    """Make the directory of a store and those above it, so that their names last. Idempotent."""
    missing = []
    while path and not os.path.isdir(path):  # noqa: PTH112 - a string
        missing.append(path)
        path = os.path.dirname(path)  # noqa: PTH120 - as above
    for each in reversed(missing):  # no recursion: a path may have 2,000 parts
        _make_directory(each)


def _make_directory(path: str) -> None:
    above = os.path.dirname(path)  # noqa: PTH120 - as above
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, _DIRECTORY_MODE)  # noqa: PTH102 - as above
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - as above
        raise StoreError(f"{path}: is a link to {os.readlink(path)}, which is not there")  # noqa: PTH115 - as above
    try:
        fsync_directory(above)
    except OSError:
        with contextlib.suppress(OSError):  # the next attempt would not sync it
            os.rmdir(path)  # noqa: PTH106 - as above
        raise


def check_mode(directory: Directory) -> None:
    """Refuse a directory in which every user can replace names.

    With the sticky bit, as tmpfs has it, names belong to those that made them.
    """
    mode = directory._stat.st_mode  # noqa: SLF001 - of this module
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StoreError(
            f"{directory.path}: every user can write to this directory of the store",
            hint=f"chmod o-w {directory.path}\nor choose a new directory inside of it with --store",
        )


def unsafe(path: str, fact: str) -> StoreError:
    """Return the error for something in a store that wherry did not put there."""
    return StoreError(
        f"{path}: {fact}, which a store does not have",
        hint="wherry did not make it: see where it leads and whose it is (ls -l), and remove it",
    )


def _kind(found: os.stat_result) -> str:
    return next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), "is a device")


class _PathInErrors:
    """Put the whole path into what the system says of a name in a directory."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            error.filename, error.filename2 = self._directory.where(self._name), None
