"""A layer in a directory of a cache: a list of its entries, and one file for each content.

The name of a file is the number of its entry. No rule of layers has been applied yet, so the
directory depends on its layer alone, and serves every image that has the layer.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, Unsupported
from wherry.model.record import Record
from wherry.unpack.apply import Applier, too_many_files
from wherry.unpack.entry import FILE, KINDS, Attributes, Entry, Extent, shown
from wherry.unpack.file_copy import Copier
from wherry.unpack.owners import Owners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from wherry.content.cancel import CancelToken
    from wherry.content.verify import RawLimit
    from wherry.model.digest import Digest
    from wherry.unpack.apply import UnpackLimits
    from wherry.unpack.unpack_layers import PackedLayer

_LIST = "entries"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_WRITE_BITS = 0o222
_OVERLAY = b"trusted.overlay."
_CONTENT_ONLY = Attributes(0o400, 0, 0, 0)


class CachedLayer(Record):
    """A layer in a cache.

    Attributes:
        digest: The digest of the layer as registries have it, for errors.
        open: Opens the directory, and keeps it until the end of the block.
        links: Whether files become hard links to those in the cache.
    """

    digest: Digest
    open: Callable[[], AbstractContextManager[int]]
    links: bool

    @contextlib.contextmanager
    def read(
        self,
        limit: RawLimit,  # noqa: ARG002 - as for packed layers
        cancel: CancelToken,
    ) -> Iterator[tuple[Iterator[Entry], CachedFiles]]:
        """Yield the entries, and the files that are at the content of the last entry."""
        with self.open() as directory:
            files = CachedFiles(directory, links=self.links)
            yield files.entries(cancel), files


class CachedFiles:
    """The open directory of a layer in a cache, at the content of one entry.

    Args:
        directory: A descriptor of the directory.
        links: Whether files become hard links to those in the cache.
    """

    def __init__(self, directory: int, *, links: bool) -> None:
        self._directory = directory
        self._links = links
        self._copier = Copier()
        self._number = 0

    def entries(self, cancel: CancelToken) -> Iterator[Entry]:
        """Yield the entries.

        Raises:
            IntegrityError: The list is damaged.
        """
        file = os.open(_LIST, _READ, dir_fd=self._directory)
        with os.fdopen(file, "rb") as lines:
            for self._number, line in enumerate(lines, 1):
                cancel.check()
                try:
                    entry = _decode(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise _damaged(f"line {self._number} of the list") from error
                yield entry

    def link(self, name: bytes, parent: int) -> bool:
        """Give the file of the entry one more name; False if it has to be copied."""
        if not self._links:
            return False
        try:
            os.link(
                b"%d" % self._number,
                name,
                src_dir_fd=self._directory,
                dst_dir_fd=parent,
                follow_symlinks=False,
            )
        except FileNotFoundError:
            raise _damaged(f"file {self._number}") from None
        return True

    def write(self, entry: Entry, file: int) -> None:
        """Copy the content of the entry to an empty file."""
        try:
            source = os.open(b"%d" % self._number, _READ, dir_fd=self._directory)
        except FileNotFoundError:
            raise _damaged(f"file {self._number}") from None
        try:
            if not self._copier.copy(source, file, entry):
                raise _damaged(f"file {self._number}")
        finally:
            os.close(source)


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        "the cached layer is damaged",
        expected="the content that was verified",
        actual=f"{what} is missing or cut off",
        hint="unpack without --cache, and remove the directory `unpacked` of the store",
    )


def write_layer(
    layer: PackedLayer,
    directory: int,
    owners: Owners | None,
    limits: UnpackLimits,
    raw_limit: RawLimit,
    cancel: CancelToken,
    warn: Callable[[str], None],
    *,
    below_overlay: bool = False,
) -> None:
    """Write the files and the list of a layer into an empty directory of a cache.

    The content is whole only if the call returns: the DiffID is verified at the end.

    Args:
        layer: The layer.
        directory: A descriptor of the directory; no other process may write there.
        owners: Whose the files are that become hard links; they get all their attributes, but
            cannot be written, except in an overlay. None for files that are copied.
        limits: The limits of the layer.
        raw_limit: The limit of the decompressed layer.
        cancel: Stops the call.
        warn: Called with what cannot be done here, once for each kind.
        below_overlay: Whether the links are for the lower directory of an overlay.

    Raises:
        IntegrityError: The layer is damaged.
        UnsafeArchive: The limits are exceeded.
        OSError: The directory cannot be written.
    """
    listed = os.open(_LIST, _CREATE, 0o600, dir_fd=directory)
    with (
        os.fdopen(listed, "wb") as lines,
        Applier(directory, owners or Owners(), limits, warn) as applier,
        layer.read(raw_limit, cancel) as (entries, reader),
    ):
        for number, found in enumerate(entries, 1):
            if number > limits.files:
                raise too_many_files((found.name,))
            entry = found
            if owners is not None:
                entry = _for_overlay(found) if below_overlay else _read_only(found)
            lines.write(_encode(entry))
            if entry.kind is FILE and (entry.size or owners is not None):
                whole = entry._replace(attributes=_CONTENT_ONLY) if owners is None else entry
                try:
                    applier.make_file(whole, b"%d" % number, directory, reader)
                except Unsupported as error:
                    raise error.within(shown(entry.name)) from None


def _read_only(entry: Entry) -> Entry:
    if entry.kind is not FILE:
        return entry
    attributes = entry.attributes
    return entry._replace(attributes=attributes._replace(mode=attributes.mode & ~_WRITE_BITS))


def _for_overlay(entry: Entry) -> Entry:
    """Drop the attributes by which an overlay is directed to other files."""
    attributes = entry.attributes
    xattrs = {k: v for k, v in attributes.xattrs.items() if not k.startswith(_OVERLAY)}
    return entry._replace(attributes=attributes._replace(xattrs=xattrs))


# Lines of the list: arrays in JSON, in which a character stands for a byte.


def _encode(entry: Entry) -> bytes:
    mode, uid, gid, mtime, xattrs = entry.attributes
    texts = {_text(key): _text(value) for key, value in xattrs.items()}
    fields = (
        _text(entry.name),
        entry.kind,
        (mode, uid, gid, mtime, texts),
        entry.size,
        _text(entry.link),
        entry.device,
        entry.extents,
    )
    return json.dumps(fields).encode() + b"\n"


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _decode(line: bytes) -> Entry:
    name, kind, (mode, uid, gid, mtime, texts), size, link, device, extents = json.loads(line)
    xattrs = {_bytes(key): _bytes(value) for key, value in texts.items()}
    return Entry(
        _bytes(name),
        KINDS[kind],
        Attributes(mode, uid, gid, mtime, xattrs),
        size,
        0,
        _bytes(link),
        (device[0], device[1]),
        None if extents is None else tuple(Extent(*each) for each in extents),
    )


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
