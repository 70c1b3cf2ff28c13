"""Verify and convert images in docker's schema1 format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model import v1
from wherry.model.config import parse_config
from wherry.model.platform import Platform
from wherry.model.schema1_signatures import verify_signatures
from wherry.transfer.derive import from_schema1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.content.protocols import Receipt
    from wherry.model.config import ImageConfig
    from wherry.model.manifest import Manifest
    from wherry.model.schema1 import Schema1


def check(manifest: Schema1, *, verify: bool) -> tuple[Platform, str]:
    """Return the platform of the topmost layer, and a warning for the user.

    With ``verify``, raises `IntegrityError` for a signature that does not match.
    """
    message = "docker schema1 is a deprecated format"
    if verify and manifest.signatures:
        keys = verify_signatures(manifest.signatures, manifest.payload)
        message += f"; signed by {', '.join(keys)}"
    return read_schema1_platform(manifest), message


def read_schema1_platform(manifest: Schema1) -> Platform:
    """Return the platform of the topmost layer."""
    top = v1.image(manifest.layers[0].v1_json)
    names = (top.get(name, "") for name in ("os", "architecture", "variant"))
    return Platform(*names)


def convert(manifest: Schema1, layers: Sequence[Receipt]) -> tuple[Manifest, ImageConfig]:
    """Return the manifest and the config that docker makes of the image."""
    made = from_schema1(manifest, layers)
    return made.manifest, parse_config(made.config)
