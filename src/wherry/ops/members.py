"""List the merged file system of an image without writing any of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.ops.export import limited, read_layer
from wherry.ops.open_layers import open_layers
from wherry.transfer.progress import Emitter
from wherry.unpack.entry_filter import Selection
from wherry.unpack.merged import Merger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.model.address import Address
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access
    from wherry.ops.unpack_options import UnpackOptions


class ImageMember(Record):
    """A file of an image, as its layers leave it.

    Attributes:
        path: The path below the root, without a slash in front; empty for the root itself.
            Bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
        kind: ``file``, ``directory``, ``symlink``, ``hardlink``, ``fifo``,
            ``character device`` or ``block device``.
        mode: The permission bits.
        uid: The owner's number.
        gid: The group's number.
        mtime: The time of the last change, in nanoseconds since 1970.
        size: The bytes of a file.
        link: The target of a link; for a hard link the path of a member that came before.
        xattrs: The extended attributes.
        layer: The digest of the layer with the content; None for directories.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    link: str = ""
    xattrs: Mapping[str, bytes] = MappingProxyType({})
    layer: Digest | None = None


def list_members(
    address: Address, wanted: PlatformChoice, options: UnpackOptions, access: Access
) -> Iterator[ImageMember]:
    """Yield the files of an image sorted by path, after all layers have been verified.

    Raises:
        WherryError: As `wherry.ops.export.export_pieces`.
    """
    emitter = Emitter(access.listener, str(address))
    directory = Path(tempfile.gettempdir())
    with open_layers(address, wanted, directory, options, emitter, access) as image:
        merger = Merger(options.limits.files, keeps_dirlinks=options.keeps_dirlinks)
        selection = Selection(options.wanted)
        for layer in image.layers:
            read_layer(layer, merger, selection, access.cancel)
        selection.check()
    for file in limited(merger.files(), options):
        entry, attributes = file.entry, file.entry.attributes
        yield ImageMember(
            os.fsdecode(entry.name),
            entry.kind,
            attributes.mode,
            attributes.uid,
            attributes.gid,
            attributes.mtime,
            entry.size,
            os.fsdecode(entry.link),
            {os.fsdecode(key): value for key, value in attributes.xattrs.items()},
            None if file.origin is None else image.layers[file.origin.layer - 1].digest,
        )
