"""List the referrers of an image (OCI distribution spec 1.1, Listing Referrers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.ops.documents import choose
from wherry.ops.open_source import open_image

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access


def list_referrers(
    address: Address, access: Access, wanted: PlatformChoice, artifact_type: str = ""
) -> list[Descriptor]:
    """Return the referrers of an image: signatures, SBOMs and other artifacts.

    A layout is searched for documents whose subject is the image. The store and archives of
    other formats have no referrers.
    """
    with open_image(address, access) as image:
        root = image.digest
        if wanted.platform is not None:
            root = choose(image, wanted).digest
        return image.source.referrers(root, artifact_type)
