"""Reading images where they are: the documents and the config for a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.address import Where
from wherry.model.manifest import Index, Manifest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.ops.open_source import open_docker_archive, open_place, open_repository, read_blob
from wherry.ops.platform_check import mismatch, stated_platform
from wherry.transfer.graph import select

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.errors import PlatformMismatch
    from wherry.model.address import Address
    from wherry.model.config import ImageConfig
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.ops.history import Step
    from wherry.ops.open_source import Access, Source
    from wherry.transfer.graph import Selection


class Wanted(Record):
    """The platform that was asked for, if any was, and the one that is meant otherwise."""

    platform: Platform | None
    default: Platform

    @classmethod
    def build(cls, host: Platform, platform: str | Platform | None = None) -> Wanted:
        """Make the choice for a call; a default for amd64 has no variant.

        Raises:
            InvalidReference: ``platform`` does not parse.
        """
        default = Platform(host.os, host.architecture) if host.architecture == "amd64" else host
        if isinstance(platform, str):
            platform = Platform.parse(platform, default)
        return cls(platform, default)


def choose(
    source: Source, wanted: Wanted, cancel: CancelToken, *, artifacts: bool = False
) -> Selection:
    """Return the image for a platform; of a store's index, the one that its name shows.

    The config is read only if a platform was asked for. Raises `PlatformMismatch` where it
    is for another one, as `pull` does, and `Unsupported` for what is no image, unless
    ``artifacts`` will do.
    """
    place = source.place
    if wanted.platform is None and source.shown is not None and isinstance(source.document, Index):
        return select(source.shown, place.document(source.shown), wanted.default, place.document)
    platform = wanted.platform or wanted.default

    def refuse(chosen: Selection) -> PlatformMismatch | None:
        if isinstance(chosen.manifest, Manifest) and chosen.manifest.artifact is not None:
            return None
        return mismatch(
            chosen, stated_platform(chosen, read_config(source, chosen, cancel)), platform
        )

    asked = wanted.platform is not None
    return select(
        source.digest,
        source.document,
        platform,
        place.document,
        artifacts=artifacts,
        refuse=refuse if asked else None,
    )


def read_config(source: Source, chosen: Selection, cancel: CancelToken) -> bytes:
    """Return a config's bytes, empty for schema1, which has none."""
    if chosen.config is None:
        return b""
    return read_blob(source.place, chosen.config, cancel)


def parsed_config(source: Source, chosen: Selection, cancel: CancelToken) -> ImageConfig:
    """Return a config; for schema1 it is made, without DiffIDs."""
    from wherry.model.config import parse_config

    if not isinstance(chosen.manifest, Manifest):
        from wherry.model.inspection import schema1_config

        return parse_config(schema1_config(chosen.manifest))
    return parse_config(read_config(source, chosen, cancel))


def config(address: Address, access: Access, wanted: Wanted) -> ImageConfig:
    """Return an image's config; for schema1 it is made, without DiffIDs."""
    with open_place(address, access) as source:
        return parsed_config(source, choose(source, wanted, access.cancel), access.cancel)


def raw_config(address: Address, access: Access, wanted: Wanted) -> bytes:
    """Return the bytes of a config, an artifact's too; for schema1 it is made.

    Nothing is read from them unless a platform was asked for.
    """
    if address.where is Where.DOCKER_ARCHIVE and wanted.platform is None:
        with open_docker_archive(address, access.cancel) as archive:
            return archive.config(address)
    with open_place(address, access) as source:
        document = source.document
        if isinstance(document, Manifest) and document.artifact is not None:
            return read_blob(source.place, document.config, access.cancel)
        chosen = choose(source, wanted, access.cancel, artifacts=True)
        if not isinstance(chosen.manifest, Manifest):
            return parsed_config(source, chosen, access.cancel).raw
        return read_config(source, chosen, access.cancel)


def document(address: Address, access: Access, wanted: Wanted) -> tuple[Digest, Document]:
    """Return the document that a name stands for, or its manifest for a platform if one is."""
    with open_place(address, access) as source:
        if wanted.platform is None:
            return source.digest, source.document
        chosen = choose(source, wanted, access.cancel)
        return chosen.digest, chosen.manifest


def digest(address: Address, access: Access, wanted: Wanted) -> Digest:
    """Return the digest that a name stands for; of a tag by a request without a body."""
    reference = address.reference
    plain = address.where is Where.REGISTRY and wanted.platform is None
    if not plain or reference is None or reference.digest is not None:
        return document(address, access, wanted)[0]
    return open_repository(reference, access).resolve(reference).digest


def steps(address: Address, access: Access, wanted: Wanted) -> list[Step]:
    """Return the steps that made an image, the last one first, with their layers."""
    from wherry.ops.history import history

    with open_place(address, access) as source:
        chosen = choose(source, wanted, access.cancel)
        return history(parsed_config(source, chosen, access.cancel), chosen.layers)
