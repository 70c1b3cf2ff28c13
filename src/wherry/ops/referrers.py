"""What refers to an image: signatures, SBOMs and the like (OCI distribution spec, referrers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.oci import OciLayout
from wherry.model.manifest import Index, Manifest
from wherry.ops.documents import choose
from wherry.ops.open_source import open_place
from wherry.registry.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.ops.documents import Wanted
    from wherry.ops.open_source import Access


def referrers(
    address: Address, access: Access, wanted: Wanted, artifact_type: str = ""
) -> list[Descriptor]:
    """Return what refers to an image: signatures, SBOMs and the like.

    A registry is asked; a layout is searched for documents with this subject. Other places
    have no room for them.
    """
    with open_place(address, access) as source:
        root = source.digest
        if wanted.platform is not None:
            root = choose(source, wanted, access.cancel).digest
        if isinstance(source.place, Repository):
            return source.place.referrers(root, artifact_type)
        found = list(_search(source.place, root)) if isinstance(source.place, OciLayout) else []
    return [entry for entry in found if artifact_type in {"", entry.artifact_type}]


def _search(layout: OciLayout, subject: Digest) -> Iterator[Descriptor]:
    for held in layout.images():
        if not held.is_readable:
            continue
        document = layout.document(held.root.digest)
        if not isinstance(document, Manifest | Index) or document.subject is None:
            continue
        if document.subject.digest == subject:
            kind = document.artifact_type
            if isinstance(document, Manifest):
                kind = kind or document.config.media_type
            yield held.root._replace(artifact_type=kind, annotations=document.annotations)
