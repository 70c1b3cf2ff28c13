"""The layers of an image to unpack, wherever the image is."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wherry.content.streams import StreamReader
from wherry.content.verify import check_layer_count
from wherry.errors import IntegrityError, InvalidReference, NotFound
from wherry.model.address import Where
from wherry.model.record import Record
from wherry.ops.documents import choose, read_parsed_config
from wherry.ops.open_source import open_image
from wherry.transfer.graph import check_layers
from wherry.transfer.progress import StagingProgress
from wherry.unpack.unpack_layers import PackedLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RawStream, Source
    from wherry.model.address import Address
    from wherry.model.config import ImageConfig
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access, SourceImage
    from wherry.ops.unpack_options import UnpackOptions
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.progress import Emitter

    T = TypeVar("T")


class ImageLayers(Record):
    """An image whose layers can be read.

    Attributes:
        digest: The digest of the manifest.
        config: The config.
        layers: The layers, bottom first.
    """

    digest: Digest
    config: ImageConfig
    layers: tuple[PackedLayer, ...]


@contextlib.contextmanager
def open_layers(
    address: Address,
    wanted: PlatformChoice,
    directory: Path,
    options: UnpackOptions,
    emitter: Emitter,
    access: Access,
    is_cached: Callable[[Digest], bool] = lambda _: False,
) -> Iterator[ImageLayers]:
    """Yield an image; the layers of one in a registry are fetched during the block.

    Args:
        address: The image.
        wanted: The platform.
        directory: Where layers of a registry are kept, in files without names.
        options: How they are fetched, and which of them.
        emitter: Is told of them.
        access: What opening the image takes.
        is_cached: Tells by the DiffID whether a layer need not be fetched.

    Raises:
        NotFound: There is no such image.
        Unsupported: A layer cannot be read.
        WherryError: The image cannot be read.
    """
    with _open(address, access) as image, contextlib.ExitStack() as held:
        if image.store is not None:
            held.enter_context(image.store.hold(image.digest))
        chosen = choose(image, wanted)
        check_layers(chosen)
        config = read_parsed_config(image, chosen)
        diff_ids: Sequence[Digest | None] = (None,) * len(chosen.layers)
        if chosen.config is not None:  # schema1 has no DiffIDs
            check_layer_count(config, len(chosen.layers))
            diff_ids = config.diff_ids
        pairs = _numbered(list(zip(chosen.layers, diff_ids, strict=True)), options.layer)
        needed = [layer for layer, diff_id in pairs if diff_id is None or not is_cached(diff_id)]
        with _packer(image, needed, directory, options.copy, emitter, access.cancel) as packed:
            layers = tuple(packed(layer, diff_id) for layer, diff_id in pairs)
            yield ImageLayers(chosen.digest, config, layers)


def _numbered(layers: list[T], number: int | None) -> list[T]:
    """Return all layers, or the one with a number; raises `NotFound`."""
    if number is None:
        return layers
    if number == 0 or abs(number) > len(layers):
        raise NotFound(
            f"there is no layer {number}",
            hint=f"it has {len(layers)}: 1 is the lowest, -1 the topmost",
        )
    return [layers[number - 1 if number > 0 else number]]


@contextlib.contextmanager
def _open(address: Address, access: Access) -> Iterator[SourceImage]:
    """Open an image; name it in what is wrong with it during the block.

    The error for an image that the store lacks tells how to name others.
    """
    with contextlib.ExitStack() as opened:
        try:
            image = opened.enter_context(open_image(address, access))
        except (NotFound, InvalidReference) as error:
            if address.where is Where.STORE:
                error.hint = _other_places(address) or error.hint
            raise
        try:
            yield image
        except (NotFound, IntegrityError) as error:
            raise error.within(address) from error.__cause__


def _other_places(address: Address) -> str:
    """Return what to write for an image that is not in the store."""
    name = address.name
    if name.startswith(("/", "./", "../")) or Path(name).is_file():
        return f"write a path after its kind: oci:{name}, docker-archive:{name}, …"
    return "" if address.given is None else f"an image of a registry: docker://{name}"


@contextlib.contextmanager
def _packer(
    image: SourceImage,
    layers: Sequence[Descriptor],
    directory: Path,
    options: CopyOptions,
    emitter: Emitter,
    cancel: CancelToken,
) -> Iterator[Callable[[Descriptor, Digest | None], PackedLayer]]:
    """Yield the function that tells how to open a layer."""
    source = image.source
    if not source.remote:
        yield lambda layer, diff_id: PackedLayer(
            layer.digest, diff_id, partial(_open_local, source, cancel, layer), layer.size or 0
        )
        return
    from wherry.ops.layer_spool import spooled_layers

    progress = StagingProgress(emitter)
    with spooled_layers(source, layers, directory, options, progress, cancel) as spool:
        yield lambda layer, diff_id: PackedLayer(
            layer.digest,
            diff_id,
            partial(spool.open, layer.digest),
            layer.size or 0,
            partial(spool.abandon, layer.digest),
        )


@contextlib.contextmanager
def _open_local(source: Source, cancel: CancelToken, layer: Descriptor) -> Iterator[RawStream]:
    opened = source.open(layer, 0, cancel)
    try:
        yield StreamReader(opened.stream)
    finally:
        opened.stream.close()
