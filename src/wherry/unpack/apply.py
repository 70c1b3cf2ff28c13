"""Carrying out operations: the only module that writes root file systems."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol

from wherry.content.remove_tree import remove_tree
from wherry.errors import UnsafeArchive, Unsupported
from wherry.model.record import Record
from wherry.unpack.beneath import OpenDirectories
from wherry.unpack.entry import BLOCK_DEVICE, CHARACTER, DEVICES, FIFO, FILE, SYMLINK, shown
from wherry.unpack.plan import Make, MakeDirectory, MakeLink, Remove
from wherry.unpack.tree import directories

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from wherry.unpack.entry import Attributes, Entry
    from wherry.unpack.owners import Owners
    from wherry.unpack.plan import Operation
    from wherry.unpack.tree import Directory, Path

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_KINDS = 100  # of warnings
_IMPLIED_MODE = 0o755  # of a directory without an entry
_TYPES = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
# Names of a layer that no file system takes.
_NAME_ERRORS = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP}
_NO_XATTRS = {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENODATA}
_NO_XATTRS |= {errno.ERANGE, errno.E2BIG}  # longer than any file system takes


class LayerContent(Protocol):
    """A layer, at the content of a file."""

    def link(self, name: bytes, parent: int) -> bool:
        """Make the file as a link to one that has its attributes; False if that cannot be."""

    def write(self, entry: Entry, file: int) -> None:
        """Write the content of the file into an empty one."""


class UnpackLimits(Record):
    """The most that an image may unpack to.

    Attributes:
        size: Bytes of all files together.
        files: Files, directories and links together.
    """

    size: int = 2**40
    files: int = 5_000_000


class Applier:
    """Carries out operations below a directory; use it as a context manager.

    Args:
        root: A descriptor of the directory; no other process may write there.
        owners: Whose the files are.
        limits: The limits; more raises `UnsafeArchive`.
        warn: Called with what could not be done, each kind once.
    """

    def __init__(
        self, root: int, owners: Owners, limits: UnpackLimits, warn: Callable[[str], None]
    ) -> None:
        self._root = root
        self._owners = owners
        self._files_left = limits.files
        self._bytes_left = limits.size
        self._warn = warn
        self._warned: set[str] = set()
        self._directories = OpenDirectories(root)
        # New files have the owner of the process. Their group may be that of the directory.
        about, ids = os.fstat(root), (os.geteuid(), os.getegid())
        self._usual_owner = ids if (about.st_uid, about.st_gid) == ids else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._directories.close()

    def apply(self, operation: Operation, layer: LayerContent) -> None:
        """Carry out an operation; ``layer`` is at the content of its file.

        Raises:
            UnsafeArchive: The limits are exceeded, or no file system takes the name.
            OSError: The directory cannot be written.
        """
        path = operation.path
        try:
            match operation:
                case Make():
                    self._count(path)
                    self._make(operation, self._directories.get(path[:-1]), layer)
                case MakeDirectory():
                    self._count(path)
                    os.mkdir(path[-1], 0o700, dir_fd=self._directories.get(path[:-1]))
                case MakeLink():
                    self._count(path)
                    self._make_link(path, operation.target)
                case Remove():
                    self._remove(path)
        except Unsupported as error:
            raise error.within(shown(b"/".join(path))) from None
        except OSError as error:
            if error.errno in _NAME_ERRORS:
                text = f"no file system takes it ({error.strerror})"
                raise UnsafeArchive(text, member=shown(b"/".join(path))) from None
            raise

    def _remove(self, path: Path) -> None:
        parent = self._directories.get(path[:-1])
        try:
            os.unlink(path[-1], dir_fd=parent)
        except IsADirectoryError:
            self._directories.forget(path)
            remove_tree(os.fsdecode(path[-1]), parent)

    def _count(self, path: Path) -> None:
        self._files_left -= 1
        if self._files_left < 0:
            raise too_many_files(path)

    # Files

    def _make(self, operation: Make, parent: int, layer: LayerContent) -> None:
        entry, name = operation.entry, operation.path[-1]
        if entry.kind is FILE:
            self.make_file(entry, name, parent, layer)
        elif entry.kind is SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
            self._set_link_attributes(entry.attributes, name, parent)
        else:
            self._make_special(entry, name, parent)

    def make_file(self, entry: Entry, name: bytes, parent: int, layer: LayerContent) -> None:
        """Make a file with its attributes in an open directory.

        Raises:
            UnsafeArchive: The limit of the content is exceeded.
            Unsupported: No range has the owner.
            OSError: The directory cannot be written.
        """
        self._take_room(entry)
        if layer.link(name, parent):
            return
        file = os.open(name, _WRITE, 0o600, dir_fd=parent)
        try:
            if entry.size:
                layer.write(entry, file)
            self._set_attributes(entry.attributes, file)
        finally:
            os.close(file)

    def _take_room(self, entry: Entry) -> None:
        self._bytes_left -= entry.size
        if self._bytes_left < 0:
            raise too_much_content(entry)

    def _make_special(self, entry: Entry, name: bytes, parent: int) -> None:
        """Make a device or a fifo; an empty file in its place where that is forbidden."""
        device = os.makedev(*entry.device) if entry.kind in DEVICES else 0
        try:
            os.mknod(name, _TYPES[entry.kind] | 0o600, device, dir_fd=parent)
        except PermissionError:
            text = f"only root makes devices: empty files stand for them ({shown(entry.name)})"
            self._warn_once("devices", text)
            os.close(os.open(name, _WRITE, 0o600, dir_fd=parent))
        file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._set_attributes(entry.attributes, f"/proc/self/fd/{file}")
        finally:
            os.close(file)

    def _make_link(self, path: Path, target: Path) -> None:
        source = os.dup(self._directories.get(target[:-1]))  # the next call may close it
        try:
            os.link(
                target[-1],
                path[-1],
                src_dir_fd=source,
                dst_dir_fd=self._directories.get(path[:-1]),
                follow_symlinks=False,
            )
        finally:
            os.close(source)

    # Attributes

    def _set_attributes(self, attributes: Attributes, file: int | str) -> None:
        """Set owner, extended attributes, mode and time, in an order that undoes none."""
        mode, mtime = attributes.mode, attributes.mtime
        self._give(attributes, lambda *owner: os.chown(file, *owner))
        for key, value in self._owners.xattrs(attributes):
            self._set_xattr(file, key, value)
        os.chmod(file, mode)  # noqa: PTH101 - a descriptor
        os.utime(file, ns=(mtime, mtime))

    def _set_link_attributes(self, attributes: Attributes, name: bytes, parent: int) -> None:
        self._give(
            attributes,
            lambda *owner: os.chown(name, *owner, dir_fd=parent, follow_symlinks=False),
        )
        for key, value in attributes.xattrs.items():
            path = b"/proc/self/fd/%d/%s" % (parent, name)
            self._set_xattr(path, key, value, follow_symlinks=False)
        times = (attributes.mtime, attributes.mtime)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _give(self, attributes: Attributes, chown: Callable[[int, int], None]) -> None:
        """Set the owner if it is not that of all new files."""
        owner = self._owners.of(attributes.uid, attributes.gid)
        if owner is None or owner == self._usual_owner:
            return
        try:
            chown(*owner)
        except PermissionError:
            raise Unsupported(
                f"you may not give files to {owner[0]}:{owner[1]}",
                hint="only root may; --keep-owners records the owners",
            ) from None

    def _set_xattr(
        self, file: int | str | bytes, key: bytes, value: bytes, *, follow_symlinks: bool = True
    ) -> None:
        try:
            os.setxattr(file, key, value, follow_symlinks=follow_symlinks)
        except OSError as error:
            if error.errno == errno.ENOSPC:  # some file systems have little room for them
                text = f"no room for the extended attribute {shown(key)}"
                raise OSError(errno.ENOSPC, text) from None
            if error.errno not in _NO_XATTRS:
                raise
            text = f"extended attributes {shown(key)} cannot be set: {error.strerror}"
            self._warn_once(text, text)

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned and len(self._warned) < _MOST_KINDS:
            self._warned.add(kind)
            self._warn(text)

    def finish(self, tree: Directory) -> None:
        """Set the attributes of all directories, the deepest first."""
        for path, directory in directories(tree):
            here = self._directories.get(path)
            if directory.attributes is not None:
                self._set_attributes(directory.attributes, here)
            else:
                owner = self._owners.of(0, 0)
                if owner is not None:
                    os.chown(here, *owner)
                os.fchmod(here, _IMPLIED_MODE)


def too_many_files(path: Path) -> UnsafeArchive:
    """Return the error for a file beyond the limit."""
    return UnsafeArchive(
        "the image has more files than is allowed",
        member=shown(b"/".join(path)),
        hint="allow more with --max-files",
    )


def too_much_content(entry: Entry) -> UnsafeArchive:
    """Return the error for a file beyond the limit of bytes."""
    return UnsafeArchive(
        "the image has more content than is allowed",
        member=shown(entry.name),
        hint="allow more with --max-size",
    )
