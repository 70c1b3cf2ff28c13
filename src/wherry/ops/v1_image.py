"""What a version 1 registry gets of an image: a chain of images of one platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wherry.errors import Unsupported
from wherry.model.compression import GZIP, Compression
from wherry.model.config import chain_ids, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.model.v1_chain import ChainImage, chain_of_config, chain_of_schema1
from wherry.ops.platform_check import find_mismatch, read_stated_platform
from wherry.transfer.graph import check_layers, select
from wherry.transfer.plan_blobs import layer_packing

if TYPE_CHECKING:
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.copy_source import CopySource
    from wherry.transfer.graph import Selection

    # Returns the ids that a registry is known to have for ChainIDs and a config.
    KnownIds = Callable[[Sequence[Digest], Digest], list[str] | None]


class V1PushedImage(Record):
    """An image as a version 1 registry gets it.

    Attributes:
        manifest: The manifest at the source.
        chain: The images that its layers become, bottom first.
        conversions: The layers that are compressed anew, and how.
        config: The digest of the config; None for schema1, which has none.
    """

    manifest: Descriptor
    chain: tuple[ChainImage, ...]
    conversions: Mapping[Digest, Compression]
    config: Digest | None = None

    @property
    def id(self) -> str:
        """The id of the top image."""
        return self.chain[-1].id

    @property
    def chain_ids(self) -> Sequence[Digest | None]:
        """The ChainID of each layer, as far as they are known."""
        diff_ids = [each.diff_id for each in self.chain if each.diff_id is not None]
        return chain_ids(diff_ids) if len(diff_ids) == len(self.chain) else [None] * len(self.chain)


def read_pushed_image(found: CopySource, choice: CopyChoice, known: KnownIds) -> V1PushedImage:
    """Choose the image to push, and return what the registry gets.

    Of an index this is the image for the named platform, or else for this machine. If the
    registry is known to have all layers by ids, these are used; else they are made.

    Raises:
        PlatformMismatch: There is no image for the platform.
        Unsupported: The registry cannot hold what is asked for.
        InvalidDocument: The config is invalid.
    """
    _check_choice(choice)
    selection = _select(found, choice)
    check_layers(selection)
    manifest = selection.manifest
    descriptor = Descriptor(manifest.media_type, selection.digest, len(manifest.raw))
    if not isinstance(manifest, Manifest):
        _check_platform(selection, b"", choice)
        return V1PushedImage(descriptor, chain_of_schema1(manifest), {})
    config = found.source.read(manifest.config)
    _check_platform(selection, config, choice)
    diff_ids = parse_config(config).diff_ids
    ids = known(chain_ids(diff_ids), manifest.config.digest) or ()
    chain = chain_of_config(config, manifest.layers, ids)
    conversions = {
        layer.digest: how
        for layer in manifest.layers
        if (how := _compression(layer, choice.compression)) is not None
    }
    return V1PushedImage(descriptor, chain, conversions, manifest.config.digest)


def _check_choice(choice: CopyChoice) -> None:
    """Raise `Unsupported` for options that a version 1 registry cannot fulfil."""
    if choice.format is not None:
        raise Unsupported("a version 1 registry has its own format", hint="leave --format out")
    if choice.referrers:
        raise Unsupported("a version 1 registry has no referrers", hint="leave --referrers out")
    if choice.sparse or choice.several:
        raise _no_index()


def _select(found: CopySource, choice: CopyChoice) -> Selection:
    root = found.load()
    if isinstance(root, Index) and choice.all_platforms:
        raise _no_index()
    wanted = choice.platforms[0] if choice.platforms else choice.host
    return select(found.digest, root, wanted, found.source.document)


def _no_index() -> Unsupported:
    return Unsupported(
        "a version 1 registry has no indexes", hint="name one platform with --platform"
    )


def _check_platform(selection: Selection, config: bytes, choice: CopyChoice) -> None:
    """Raise `PlatformMismatch` if the image is not for the named platform."""
    for wanted in choice.platforms:
        error = find_mismatch(selection, read_stated_platform(selection, config), wanted)
        if error is not None:
            raise error


def _compression(layer: Descriptor, wanted: Compression | None) -> Compression | None:
    """Return how a layer is compressed anew, or None to leave it as it is.

    Old registries read layers with gzip and plain ones. Engines sent plain ones and compressed
    nothing; gzip saves the traffic.
    """
    packing = layer_packing(layer.media_type)
    kind = "" if wanted is None else wanted.kind
    if kind == "zstd" or (kind == "keep" and packing == "zstd"):
        raise Unsupported(
            f"version 1 registries cannot read layers with zstd ({layer.digest})",
            hint="leave --compression out: they are sent with gzip",
        )
    if wanted is None:
        return GZIP if packing in {"none", "zstd"} else None
    return None if wanted.kind in {"keep", packing} else wanted
