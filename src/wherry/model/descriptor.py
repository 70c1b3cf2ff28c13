"""Descriptors: references of documents to blobs (OCI image spec, descriptor.md)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.problem import DocumentFault

if TYPE_CHECKING:
    from wherry.model._fields import Fields


_REFERENCE_TYPE = "vnd.docker.reference.type"  # BuildKit, attestation-storage.md


class Descriptor(NamedTuple):
    """The type, digest and size of a blob (OCI image spec, descriptor.md).

    Attributes:
        media_type: The media type; empty for layers of schema1.
        digest: The digest of the blob.
        size: Its size in bytes; None if the format has none.
        urls: Addresses of a foreign layer.
        annotations: Values by name.
        platform: The platform of an entry of an index.
        artifact_type: The type of an artifact.
        data: The verified content, if it is embedded in the document.
    """

    media_type: str
    digest: Digest
    size: int | None = None
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""
    data: bytes | None = None

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Descriptor {self.media_type} {self.digest}>"

    @property
    def is_attestation(self) -> bool:
        """Whether this is an attestation of another image in the index.

        Attestations of BuildKit have the platform ``unknown/unknown``.
        """
        if self.annotations.get(_REFERENCE_TYPE) == "attestation-manifest":
            return True
        found = self.platform
        return found is not None and found.os.lower() == found.architecture.lower() == "unknown"

    @classmethod
    def of(cls, raw: bytes, media_type: str) -> Descriptor:
        """Return the descriptor of ``raw``."""
        return cls(media_type, Digest.of(raw), len(raw))


def read_descriptor(fields: Fields) -> Descriptor:
    """Parse a descriptor of a manifest or index; raises `InvalidDocument`."""
    return _read(fields, fields.size("size"))


def read_layer(fields: Fields) -> Descriptor:
    """Parse the descriptor of a layer; a size of 0 or less counts as unknown.

    Raises:
        InvalidDocument: The descriptor is invalid.
    """
    size = fields.integer("size")
    return _read(fields, size if size is not None and size > 0 else None)


def size_problem(fields: Fields) -> DocumentFault | None:
    """Return the fault of a layer's size that counts as unknown."""
    size = fields.integer("size")
    if size is None:
        return DocumentFault(fields.at("size"), "is missing, expected a size in bytes")
    if size > 0 or (size == 0 and fields.digest("digest").matches(b"")):
        return None
    return DocumentFault(fields.at("size"), f"is {size}, expected a size in bytes")


def _read(fields: Fields, size: int | None) -> Descriptor:
    digest = fields.digest("digest")
    return Descriptor(
        media_type=fields.text("mediaType"),
        digest=digest,
        size=size,
        urls=fields.texts("urls"),
        annotations=fields.text_map("annotations"),
        platform=_read_platform(fields),
        artifact_type=fields.text("artifactType"),
        data=_read_data(fields, digest, size),
    )


def _read_platform(fields: Fields) -> Platform | None:
    found = fields.object("platform")
    if found is None:
        return None
    return Platform(
        os=found.text("os"),
        architecture=found.text("architecture"),
        variant=found.text("variant"),
        os_version=found.text("os.version"),
        os_features=found.texts("os.features"),
    )


def _read_data(fields: Fields, digest: Digest, size: int | None) -> bytes | None:
    encoded = fields.text("data")
    if not encoded:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        fields.fail("data", "is not base64")
    if size not in {None, len(data)} or not digest.matches(data):
        fields.fail("data", "does not match the descriptor's digest and size")
    return data
