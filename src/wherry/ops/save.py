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
    from collections.abc import Callable, Iterator, Sequence

    from wherry.archive.entry import Entry
    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.model.address import Address
    from wherry.ops.open_source import Access
    from wherry.ops.save_options import SaveOptions


class SaveResult(Record):
    """An image that was saved.

    Attributes:
        root: The digest of its manifest or index in the archive.
        id: The digest of its config.
        names: Its names in the archive.
        v1_ids: The version 1 ids of its layers in a docker archive, the lowest layer first.
    """

    root: Digest
    id: Digest
    names: tuple[Reference, ...]
    v1_ids: tuple[str, ...] = ()


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
        for each in chosen:
            _report_v1_ids(each, access.listener)
        return [
            SaveResult(each.root.digest, each.manifest.config.digest, each.references, each.v1_ids)
            for each in chosen
        ]


def _report_v1_ids(saved: ImageToSave, listener: Callable[[Event], None]) -> None:
    """Tell in which directory of a docker archive each layer is."""
    name = saved.references[0].familiar if saved.references else saved.root.digest.short
    emitter = Emitter(listener, name)
    for v1_id, layer in zip(saved.v1_ids, saved.manifest.layers, strict=False):
        emitter.note(f"layer {layer.digest.short} is in the directory {v1_id}")


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
