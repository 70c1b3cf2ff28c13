"""What refers to an image: signatures, SBOMs and the like (OCI distribution spec, referrers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.ops.documents import choose
from wherry.ops.open_source import open_image

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access


def referrers(
    address: Address, access: Access, wanted: PlatformChoice, artifact_type: str = ""
) -> list[Descriptor]:
    """Return what refers to an image: signatures, SBOMs and the like.

    A registry is asked; a layout is searched for documents with this subject. Other sources
    hold no referrers.
    """
    with open_image(address, access) as image:
        root = image.digest
        if wanted.platform is not None:
            root = choose(image, wanted).digest
        return image.source.referrers(root, artifact_type)
