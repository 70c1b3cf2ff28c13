"""Documents that refer to another one, as lists of referrers show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest, parse

if TYPE_CHECKING:
    from wherry.model.digest import Digest


def referrer_of(descriptor: Descriptor, raw: bytes) -> tuple[Digest, Descriptor] | None:
    """Return the subject of a document and its entry in lists of referrers; None without one.

    The entry has the artifact type and the annotations of the document (OCI distribution spec
    1.1, Listing Referrers).
    """
    if b"subject" not in raw:
        return None
    document = parse(raw, descriptor.media_type)
    if not isinstance(document, Manifest | Index) or document.subject is None:
        return None
    kind = document.artifact_type
    if isinstance(document, Manifest):
        kind = kind or document.config.media_type
    entry = Descriptor(
        document.media_type,
        descriptor.digest,
        len(raw),
        annotations=document.annotations,
        artifact_type=kind,
    )
    return document.subject.digest, entry
