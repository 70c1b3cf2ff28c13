"""Open directories of a store, in which no symbolic link is followed.

Another user may have write access to the store's directory, and may replace a name in it by a
link while root works there. So each directory is opened once, and every name is looked up
relative to its descriptor (openat(2), "Rationale for openat()").
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading

from wherry.content import fork
from wherry.errors import StoreError

FILE_MODE = 0o644  # of new files
DIRECTORY_MODE = 0o775  # of new directories, before the umask: never world-writable
PRIVATE_FILE_MODE = 0o600  # of new files in a private directory
PRIVATE_DIRECTORY_MODE = 0o700
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a FIFO must not block
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
    """An open directory of a store.

    The descriptor is closed with the last reference to the object, because a thread may still
    use the directory after the store is closed. A forked child shares the descriptor; it has no
    position that matters, because `names` opens the directory again.

    Only their owner can read the files that are created in a ``private`` directory.
    """

    def __init__(self, path: str, descriptor: int, *, private: bool = False) -> None:
        self.path = path
        self.fd = descriptor
        self.status = os.fstat(descriptor)
        self._file_mode = PRIVATE_FILE_MODE if private else FILE_MODE

    def __del__(self) -> None:
        # Linux closes the descriptor even when it reports an error.
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def where(self, name: str) -> str:
        """Return the full path of a name, for error messages and for SQLite."""
        return f"{self.path}/{name}"

    def is_at(self, path: str) -> bool:
        """Tell whether ``path`` leads to this directory."""
        try:
            return os.path.samestat(os.stat(path), self.status)  # noqa: PTH116 - a string
        except OSError:
            return False

    def is_unchanged(self, path: str) -> bool:
        """Tell whether ``path`` leads to this directory, with its owner and mode unchanged."""
        now = os.fstat(self.fd)
        before = (self.status.st_uid, self.status.st_gid, self.status.st_mode)
        return (now.st_uid, now.st_gid, now.st_mode) == before and self.is_at(path)

    @property
    def is_linked(self) -> bool:
        """Whether the directory has not been removed."""
        return os.fstat(self.fd).st_nlink > 0

    # Directories

    def child(self, name: str, *, make: bool = False, private: bool = False) -> Directory:
        """Open a subdirectory; with ``make``, create it first if it does not exist.

        A new ``private`` directory has no access for the group and other users.

        Raises:
            FileNotFoundError: The directory does not exist, and ``make`` is false.
            StoreError: The name belongs to something else, or other users can write to the
                directory.
        """
        while True:
            with _PathInErrors(self, name):
                try:
                    descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=self.fd)
                except FileNotFoundError:
                    if not make:
                        raise
                    self._make(name, PRIVATE_DIRECTORY_MODE if private else DIRECTORY_MODE)
                    continue
                except OSError as error:
                    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                        raise unsafe(self.where(name), kind_of(self.stat(name))) from None
                    raise
            if make and os.fstat(descriptor).st_uid == 0:  # perhaps made a moment ago
                self.set_owner(descriptor)
            opened = Directory(self.where(name), descriptor, private=private)
            self._check_owner(opened.path, opened.status)
            check_mode(opened)
            return opened

    def _make(self, name: str, mode: int) -> None:
        # The lock keeps other threads out until the new directory has its owner.
        with _making:
            try:
                os.mkdir(name, mode, dir_fd=self.fd)
            except FileExistsError:  # another process made it and may not have synced it yet
                self.sync()
                return
            try:
                made = Directory(self.where(name), os.open(name, DIRECTORY_FLAGS, dir_fd=self.fd))
                self.set_owner(made.fd)
                self.sync()
            except OSError:
                with contextlib.suppress(OSError):  # the next attempt would skip the sync
                    os.rmdir(name, dir_fd=self.fd)
                raise

    def _check_owner(self, path: str, found: os.stat_result) -> None:
        """Refuse what another user put here, unless the store is shared with a group."""
        mode = self.status.st_mode
        owners = {self.status.st_uid, os.geteuid(), 0}
        if found.st_uid not in owners and (mode & stat.S_IWOTH or not mode & stat.S_IWGRP):
            raise unsafe(path, f"belongs to another user (uid {found.st_uid})")

    def sync(self) -> None:
        """Flush the names in the directory to the disk."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            error.filename = self.path
            raise

    def names(self) -> list[str]:
        """Return all names in the directory, in no particular order."""
        # Threads would share the read position of `self.fd`.
        with _PathInErrors(self, "."):
            descriptor = os.open(".", DIRECTORY_FLAGS, dir_fd=self.fd)
        try:
            return os.listdir(descriptor)  # noqa: PTH208 - a descriptor
        finally:
            os.close(descriptor)

    # Files

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a name without following a link; raises `FileNotFoundError`."""
        with _PathInErrors(self, name):
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Tell whether a name exists, whatever it belongs to."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def check(self, name: str) -> os.stat_result | None:
        """Return the status of a file after safety checks, or None if it does not exist.

        The file is not opened: closing a descriptor would drop the locks that SQLite holds on
        the same file in this process (sqlite.org/howtocorrupt.html, section 2.2).

        Raises:
            StoreError: The name belongs to something that is not safe to use.
        """
        try:
            found = self.stat(name)
        except FileNotFoundError:
            return None
        self._check_file(name, found)
        return found

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file, or create one with ``O_CREAT | O_EXCL``.

        A new file gets the owner of the directory.

        Raises:
            FileNotFoundError: The file does not exist.
            StoreError: The name belongs to a link, FIFO, device, directory, or a hard link to
                another user's file.
        """
        try:
            descriptor = os.open(name, flags | _FILE_FLAGS, self._file_mode, dir_fd=self.fd)
        except OSError as error:
            error.filename = self.where(name)
            if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
                raise unsafe(self.where(name), kind_of(self.stat(name))) from None
            raise
        try:
            self._check_file(name, os.fstat(descriptor))
            if flags & os.O_CREAT:
                self.set_owner(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_file(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise unsafe(self.where(name), kind_of(found))
        # `cp -al` makes hard links too, but these have the owner of the store.
        if found.st_nlink > 1 and found.st_uid != self.status.st_uid:
            raise unsafe(self.where(name), "is a hard link to another user's file")
        self._check_owner(self.where(name), found)

    def unlink(self, name: str) -> None:
        """Remove a name if it exists; a link is removed, not its target."""
        with contextlib.suppress(FileNotFoundError), _PathInErrors(self, name):
            os.unlink(name, dir_fd=self.fd)

    def rename(self, name: str, new: str, target: Directory | None = None) -> None:
        """Rename a file in this directory, or move it to ``target``."""
        target = target or self
        with _PathInErrors(target, new):
            os.rename(name, new, src_dir_fd=self.fd, dst_dir_fd=target.fd)

    def set_owner(self, descriptor: int) -> None:
        """Give what root creates here to the owner of the directory.

        Without this the owner could no longer use the store after root used it once.
        """
        if os.geteuid() == 0 and self.status.st_uid != 0:
            os.fchown(descriptor, self.status.st_uid, self.status.st_gid)

    def is_writable(self, name: str = ".") -> bool:
        """Tell whether a name can be written; True for a name that does not exist."""
        return os.access(name, os.W_OK, dir_fd=self.fd) or not self.exists(name)

    @property
    def device(self) -> int:
        """The device number of the directory's file system."""
        return self.status.st_dev


def check_mode(directory: Directory) -> None:
    """Refuse a directory in which every user can replace names.

    A directory with the sticky bit, such as ``/tmp``, is allowed: there only the owner of a name
    can replace it.
    """
    mode = directory.status.st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StoreError(
            "every user can write to this directory of the store",
            hint=f"chmod o-w {directory.path}\nor choose a new directory inside of it with --store",
        ).within(directory.path)


def unsafe(path: str, fact: str) -> StoreError:
    """Return the error for an entry of a store that wherry did not create."""
    return StoreError(
        f"{fact}, which a store does not have",
        hint="wherry did not make it: check its target and owner with ls -l, and remove it",
    ).within(path)


def kind_of(found: os.stat_result) -> str:
    """Return what an entry is, as a phrase: ``is a symbolic link``."""
    return next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), "is a device")


class _PathInErrors:
    """Set the full path in an `OSError` about a name in a directory.

    A class, because a generator with `contextlib.contextmanager` takes longer to call.
    """

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            error.filename, error.filename2 = self._directory.where(self._name), None
