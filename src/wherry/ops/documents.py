"""Read the documents and the config of an image at its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.read_blob import read_blob
from wherry.errors import WherryError
from wherry.model.address import Where
from wherry.model.manifest import Index, Manifest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.ops.open_source import open_docker_archive, open_image, open_repository
from wherry.ops.platform_check import find_mismatch, read_stated_platform
from wherry.transfer.graph import select

if TYPE_CHECKING:
    from wherry.errors import PlatformMismatch
    from wherry.model.address import Address
    from wherry.model.config import ImageConfig
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.ops.open_source import Access, SourceImage
    from wherry.transfer.graph import Selection


class PlatformChoice(Record):
    """The platform that the caller named, if any, and the default platform."""

    platform: Platform | None
    default: Platform

    @classmethod
    def build(cls, host: Platform, platform: str | Platform | None = None) -> PlatformChoice:
        """Make the choice for a call; a default for amd64 has no variant.

        Raises:
            InvalidReference: ``platform`` does not parse.
        """
        default = Platform(host.os, host.architecture) if host.architecture == "amd64" else host
        if isinstance(platform, str):
            platform = Platform.parse(platform, default)
        return cls(platform, default)


def choose(image: SourceImage, wanted: PlatformChoice, *, artifacts: bool = False) -> Selection:
    """Select the image for a platform.

    Without a platform it is the image that a name of the store shows. The config is read only
    if the caller named a platform. With ``artifacts`` the result may be an artifact.

    Raises:
        PlatformMismatch: There is no image for the platform.
        Unsupported: The document is an artifact.
    """
    source = image.source
    if wanted.platform is None and image.shown is not None and isinstance(image.document, Index):
        return select(image.shown, source.document(image.shown), wanted.default, source.document)
    platform = wanted.platform or wanted.default

    def refuse(chosen: Selection) -> PlatformMismatch | None:
        if isinstance(chosen.manifest, Manifest) and chosen.manifest.artifact is not None:
            return None
        return find_mismatch(
            chosen, read_stated_platform(chosen, read_config(image, chosen)), platform
        )

    return select(
        image.digest,
        image.document,
        platform,
        source.document,
        artifacts=artifacts,
        refuse=None if wanted.platform is None else refuse,
    )


def read_config(image: SourceImage, chosen: Selection) -> bytes:
    """Return the bytes of a config; empty for schema1, which has no config."""
    if chosen.config is None:
        return b""
    return read_blob(image.source, chosen.config)


def read_parsed_config(image: SourceImage, chosen: Selection) -> ImageConfig:
    """Return a config; a schema1 image gets one, without DiffIDs."""
    from wherry.model.config import parse_config

    if not isinstance(chosen.manifest, Manifest):
        from wherry.model.inspection import schema1_config

        return parse_config(schema1_config(chosen.manifest))
    return parse_config(read_config(image, chosen))


def get_config(address: Address, access: Access, wanted: PlatformChoice) -> ImageConfig:
    """Return the config of an image; a schema1 image gets one, without DiffIDs."""
    with open_image(address, access) as image:
        return read_parsed_config(image, choose(image, wanted))


def get_raw_config(address: Address, access: Access, wanted: PlatformChoice) -> bytes:
    """Return the bytes of the config of an image or artifact.

    A schema1 image gets a config. The bytes are not parsed unless the caller named a platform.
    """
    if address.where is Where.DOCKER_ARCHIVE and wanted.platform is None:
        with open_docker_archive(address, access.cancel) as archive:
            return archive.config(address)
    with open_image(address, access) as image:
        document = image.document
        if isinstance(document, Manifest) and document.artifact is not None:
            return read_blob(image.source, document.config)
        chosen = choose(image, wanted, artifacts=True)
        if not isinstance(chosen.manifest, Manifest):
            return read_parsed_config(image, chosen).raw
        return read_config(image, chosen)


def get_document(
    address: Address, access: Access, wanted: PlatformChoice
) -> tuple[Digest, Document]:
    """Return the document that a name stands for; for a named platform, its manifest."""
    with open_image(address, access) as image:
        if wanted.platform is None:
            return image.digest, image.document
        chosen = choose(image, wanted)
        return chosen.digest, chosen.manifest


def get_digest(address: Address, access: Access, wanted: PlatformChoice) -> Digest:
    """Return the digest that a name stands for; a tag is resolved with HEAD."""
    reference = address.reference
    plain = address.where is Where.REGISTRY and wanted.platform is None
    if not plain or reference is None or reference.digest is not None:
        return get_document(address, access, wanted)[0]
    try:
        return open_repository(reference, access).resolve(reference).digest
    except WherryError as error:
        from wherry.ops.legacy import without_v1

        raise without_v1(
            access.session(), reference, error, access.listener, access.cancel
        ) from None
