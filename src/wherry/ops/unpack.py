"""Unpack an image into a directory."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

from wherry.archive.write_errors import check_parent, translate_write_errors
from wherry.content.events import Status
from wherry.content.output import StagedDirectory
from wherry.content.protocols import StreamReader
from wherry.content.verify import RawLimit, check_layer_count
from wherry.errors import NotFound, StoreError
from wherry.model.address import Where
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.ops.documents import choose, read_parsed_config
from wherry.ops.open_source import open_image
from wherry.transfer.graph import check_layers
from wherry.transfer.progress import Emitter, LayerProgress
from wherry.unpack.unpack_layers import PackedLayer, unpack_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RawStream, Source
    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access, SourceImage
    from wherry.ops.unpack_options import UnpackOptions
    from wherry.transfer.graph import Selection


class UnpackResult(Record):
    """What was unpacked.

    Attributes:
        digest: The digest of the manifest.
        directory: The directory.
    """

    digest: Digest
    directory: str


def unpack(
    address: Address,
    directory: Path,
    wanted: PlatformChoice,
    options: UnpackOptions,
    access: Access,
) -> UnpackResult:
    """Unpack an image into a new directory.

    The directory gets its name when all layers are unpacked and verified. Layers of a registry
    are unpacked while they arrive.

    Args:
        address: The image.
        directory: The directory; it may exist if it is empty.
        wanted: The platform.
        options: How to unpack.
        access: What opening the image takes.

    Raises:
        StoreError: The directory has something in it, or cannot be written.
        IntegrityError: A layer is damaged; nothing is left of the directory.
        UnsafeArchive: A layer has an entry that leads outside of the directory.
        WherryError: The image cannot be read.
    """
    check_parent(directory)
    _check_target(directory, options)
    with _open(address, access) as image, translate_write_errors(directory):
        chosen = choose(image, wanted)
        check_layers(chosen)
        emitter = Emitter(access.listener, str(address))
        with (
            StagedDirectory(directory) as staged,
            _open_layers(image, chosen, directory, options, emitter, access.cancel) as layers,
        ):
            os.fchmod(staged.descriptor, 0o700)
            unpack_layers(
                layers,
                staged.descriptor,
                options.owners,
                options.limits,
                RawLimit(),
                access.cancel,
                emitter.warn,
                keeps_dirlinks=options.keeps_dirlinks,
            )
            staged.publish(syncs=False, replaces=options.replaces)
    emitter.emit(Status.DONE, message=f"Unpacked to {directory}")
    return UnpackResult(chosen.digest, str(directory))


@contextlib.contextmanager
def _open(address: Address, access: Access) -> Iterator[SourceImage]:
    """Open an image; the error for one that the store lacks tells how to name a registry's."""
    try:
        with open_image(address, access) as image:
            yield image
    except NotFound as error:
        if address.where is Where.STORE and address.given is not None:
            error.hint = f"an image of a registry: docker://{address.name}"
        raise


def _check_target(directory: Path, options: UnpackOptions) -> None:
    """Raise `StoreError` for something that may not be replaced."""
    if not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir():
        raise StoreError("this is not a directory").within(directory)
    if not options.replaces and any(directory.iterdir()):
        raise StoreError(
            "the directory is not empty", hint="choose a new one, or replace it: --replace"
        ).within(directory)


@contextlib.contextmanager
def _open_layers(
    image: SourceImage,
    chosen: Selection,
    directory: Path,
    options: UnpackOptions,
    emitter: Emitter,
    cancel: CancelToken,
) -> Iterator[list[PackedLayer]]:
    """Yield the layers of an image, bottom first; those of a registry are being fetched."""
    config = read_parsed_config(image, chosen)
    diff_ids = config.diff_ids if chosen.config is not None else ()
    if chosen.config is not None:
        check_layer_count(config, len(chosen.layers))
    with contextlib.ExitStack() as opened:
        open_layer: Callable[[Descriptor], AbstractContextManager[RawStream]]
        if image.source.remote:
            from wherry.ops.layer_spool import spooled_layers

            progress = LayerProgress(emitter)
            spool = opened.enter_context(
                spooled_layers(
                    image.source, chosen.layers, directory.parent, options.copy, progress, cancel
                )
            )

            def open_layer(layer: Descriptor) -> AbstractContextManager[RawStream]:
                return spool.open(layer.digest)
        else:
            open_layer = partial(_open_local, image.source, cancel)
        yield [
            PackedLayer(
                layer.digest,
                diff_ids[place] if diff_ids else None,
                partial(open_layer, layer),
                layer.size or 0,
            )
            for place, layer in enumerate(chosen.layers)
        ]


@contextlib.contextmanager
def _open_local(source: Source, cancel: CancelToken, layer: Descriptor) -> Iterator[RawStream]:
    opened = source.open(layer, 0, cancel)
    try:
        yield StreamReader(opened.stream)
    finally:
        opened.stream.close()
