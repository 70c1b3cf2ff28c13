"""Listing the referrers of a document (OCI distribution spec 1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from wherry.content.budget import Budget
from wherry.errors import NotFound, Unsupported
from wherry.model import mediatype
from wherry.model.manifest import Index, Manifest
from wherry.registry.failover import ListEndpoint
from wherry.registry.pager import Page, Pager

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.registry.failover import EndpointGroup
    from wherry.registry.manifest_reader import ManifestReader

MAX_REFERRERS = 16 * 2**20  # bytes of all pages of a list


def list_referrers(
    manifests: ManifestReader,
    endpoints: EndpointGroup,
    digest: Digest,
    artifact_type: str,
    cancel: CancelToken,
) -> list[Descriptor]:
    """Return the referrers of a document, all if ``artifact_type`` is empty."""
    endpoint = ListEndpoint(endpoints)
    where = f"{manifests.reference.name}@{digest}"
    size, is_filtered = 0, True

    def fetch(target: str) -> Page[Digest, Descriptor]:
        nonlocal size, is_filtered
        page = endpoint.ask(lambda api: api.get_referrers(digest, cancel, target))
        if page is None:
            if size:
                raise NotFound("the next page of the list of referrers is not found").within(where)
            is_filtered = False
            tagged = _tagged_referrers(manifests, endpoints, digest)
            return Page({each.digest: each for each in tagged}, None)
        size += page.size
        is_filtered = is_filtered and page.is_filtered
        if size > MAX_REFERRERS:
            raise Unsupported(f"{digest} has over {MAX_REFERRERS >> 20} MiB of referrers")
        return Page({each.digest: each for each in page.index.manifests}, page.following)

    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    pager = Pager(fetch, (where,), "the list of referrers")
    found = [entry for page in pager.read(query) for entry in page.values()]
    if not artifact_type:
        return found
    # Registries need not apply the filter, and some leave out the artifact types.
    document = Budget().limit(manifests.document)
    return [
        entry
        for entry in found
        if artifact_type == entry.artifact_type
        or (
            not entry.artifact_type
            and (is_filtered or _artifact_type(document, entry) == artifact_type)
        )
    ]


def referrers_tag(digest: Digest) -> str:
    """Return the tag under which the referrers of a document are listed."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def lists_referrers(index: Index, subject: Digest) -> bool:
    """Return whether an index may list the referrers of a document.

    Any other image may have the tag; an index that lists the subject holds images.
    """
    is_listed = any(entry.digest == subject for entry in index.manifests)
    return index.media_type == mediatype.OCI_INDEX and not is_listed


def _artifact_type(fetch: Callable[[Digest], Document], entry: Descriptor) -> str:
    """Return an entry's artifact type as its document states it.

    A manifest without ``artifactType`` has the media type of its config (OCI distribution
    spec 1.1, Listing Referrers).
    """
    try:
        document = fetch(entry.digest)
    except NotFound:
        return ""
    if isinstance(document, Manifest):
        return document.artifact_type or document.config.media_type
    return document.artifact_type if isinstance(document, Index) else ""


def _tagged_referrers(
    manifests: ManifestReader, endpoints: EndpointGroup, digest: Digest
) -> Sequence[Descriptor]:
    """Return the entries of the index under the referrers tag, if there is one.

    Some registries mistake the tag for a digest and serve the subject itself.
    """
    tag = referrers_tag(digest)
    try:
        found, document = endpoints.ask_each(
            lambda api: manifests.get_tag(api, tag), registry_first=True
        )
    except NotFound:
        return ()
    if found == digest or not isinstance(document, Index):
        return ()
    if not document.manifests or not lists_referrers(document, digest):
        return ()
    own = set(_children(manifests, digest))
    return [entry for entry in document.manifests if entry.digest not in own]


def _children(manifests: ManifestReader, digest: Digest) -> Sequence[Digest]:
    """Return the entries of an index; none for other or missing documents."""
    try:
        document = manifests.document(digest)
    except NotFound:
        return ()
    return [entry.digest for entry in document.manifests] if isinstance(document, Index) else ()
