"""Artifacts that refer to images: signatures, SBOMs, and what signs those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.testing import BuiltImage, BuiltIndex, build_image, build_index

if TYPE_CHECKING:
    from wherry.testing import Piece

SBOM, SIGNATURE = "application/vnd.example.sbom+json", "application/vnd.example.signature"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"


def document_of(image: BuiltImage | BuiltIndex) -> Piece:
    """Return the root document."""
    return image.manifest if isinstance(image, BuiltImage) else image.index


def refer_to(
    subject: BuiltImage | BuiltIndex, kind: str = SBOM, data: bytes = b"{}", **notes: str
) -> BuiltImage:
    """Make an artifact with a blob of odd content, whose subject is an image."""
    extra: dict[str, Any] = {
        "artifactType": kind,
        "subject": document_of(subject).descriptor(),
        "annotations": notes or None,
    }
    return build_image(
        [data],
        compression="none",
        config_media_type="application/vnd.oci.empty.v1+json",
        layer_media_types=[kind],
        manifest_extra=extra,
    )


def refer_by_index(subject: BuiltImage | BuiltIndex, *images: BuiltImage) -> BuiltIndex:
    """Make an index whose subject is an image."""
    extra = {"artifactType": "application/vnd.example.set", "subject": None}
    extra["subject"] = document_of(subject).descriptor()  # type: ignore[assignment]
    return build_index([(image, None) for image in images], extra=extra)


def cosign(data: bytes) -> BuiltImage:
    """Make what cosign stores under a tag; only the tag tells what it is about."""
    return build_image([data], compression="none", layer_media_types=[COSIGN_LAYER])


def cosign_tag(subject: BuiltImage | BuiltIndex, suffix: str = ".sig") -> str:
    """Return the tag of cosign for an image."""
    return subject.digest.replace(":", "-") + suffix
