"""Save images as archives and layouts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wherry.archive.write_entries import write_directory, write_file, write_stream
from wherry.errors import PlatformMismatch, Unsupported
from wherry.model.address import Where
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.ops.archive_entries import ArchiveEntries
from wherry.ops.blob_writers import SaveProgress
from wherry.ops.image_to_save import ImageToSave, choose_image
from wherry.ops.open_source import open_image
from wherry.ops.save_options import DIRECTORIES
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.archive.entry import Entry
    from wherry.content.cancel import CancelToken
    from wherry.model.address import Address
    from wherry.ops.open_source import Access
    from wherry.ops.save_options import SaveOptions


class SaveResult(Record):
    """An image that was saved.

    Attributes:
        root: The digest of its manifest or index in the archive.
        id: The digest of its config.
        names: Its names in the archive.
    """

    root: Digest
    id: Digest
    names: tuple[Reference, ...]


def save(
    addresses: Sequence[Address], target: Path | BinaryIO, options: SaveOptions, access: Access
) -> list[SaveResult]:
    """Write images to a file, a directory or a pipe (docs/command.md, "save").

    The same images give the same bytes. A file or directory gets its name when it is complete.
    A file replaces another file of that name.

    Raises:
        WherryError: An image cannot be read, or the archive cannot be written.
    """
    options.check(len(addresses))
    with contextlib.ExitStack() as opened:
        images: dict[Digest, ImageToSave] = {}
        for address in addresses:
            for image in _open_images(address, options, access, opened):
                images.setdefault(image.root.digest, image).names |= image.names
        progress = SaveProgress(Emitter(access.listener, str(addresses[0])))
        chosen = list(images.values())
        entries = list(ArchiveEntries(progress, access.cancel).of(chosen, options.format))
        _write(target, options, entries, access.cancel)
        return [
            SaveResult(each.root.digest, each.manifest.config.digest, each.references)
            for each in chosen
        ]


def _open_images(
    address: Address, options: SaveOptions, access: Access, opened: contextlib.ExitStack
) -> Iterator[ImageToSave]:
    """Open an address and yield its image for each platform."""
    image = opened.enter_context(open_image(address, access))
    if image.store is not None:
        opened.enter_context(image.store.hold(image.digest))
    emitter = Emitter(access.listener, str(address))
    for platform in options.platforms or (None,):
        access.cancel.check()
        try:
            chosen = choose_image(image, options, platform, emitter)
        except PlatformMismatch as error:
            name = address.name if address.where is Where.STORE else str(address)
            raise error.within(name) from None
        several = platform if len(options.platforms) > 1 else None
        chosen.names = options.names(image.reference or image.named, several)
        yield chosen


def _write(
    target: Path | BinaryIO, options: SaveOptions, entries: list[Entry], cancel: CancelToken
) -> None:
    is_directory = options.format in DIRECTORIES
    if isinstance(target, Path):
        write = write_directory if is_directory else write_file
        write(target, entries, options.jobs, cancel)
    elif is_directory:
        message = f"{options.format} is a directory, and cannot be written to a stream"
        raise Unsupported(message)
    else:
        write_stream(target, entries, cancel)
