"""One repository of another registry, read as a pull reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.content.retry import RetryPolicy
from wherry.errors import (
    Denied,
    IntegrityError,
    InvalidDocument,
    RateLimited,
    RegistryError,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.model.digest import Digest
from wherry.model.manifest import digest_of, parse, parse_verified
from wherry.registry.blob_reader import BlobReader
from wherry.registry.failover import EndpointGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.model.descriptor import Descriptor
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.registry.distribution_api import DistributionApi
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session

ATTEMPTS = 2  # of a request for a document, at most


class PromptPolicy(RetryPolicy):
    """A policy for requests that a client waits for: limits of the registry are passed on."""

    def pause(self, failures: int, error: WherryError) -> float | None:
        """Return the seconds to wait, or None to give up."""
        return None if isinstance(error, RateLimited) else super().pause(failures, error)


class ServedManifest(NamedTuple):
    """A manifest or index as a registry serves it.

    Attributes:
        digest: Its digest in registries, verified.
        raw: Its bytes.
        media_type: Its media type.
        document: What was parsed; None for a document of an unknown format.
    """

    digest: Digest
    raw: bytes
    media_type: str
    document: Document | None


class UpstreamRepository:
    """Reads one repository from its endpoints: mirrors first, the registry last. Thread-safe."""

    def __init__(
        self,
        session: Session,
        endpoints: Sequence[Endpoint],
        reference: Reference,
        cancel: CancelToken,
        *,
        warn: Callable[[str], None],
        policy: RetryPolicy,
        headers: Mapping[str, str],
    ) -> None:
        self._session = session
        self._cancel = cancel
        self._reference = reference
        self._endpoints = EndpointGroup(
            session,
            endpoints,
            cancel,
            warn=warn,
            on_retry=lambda *_: None,
            policy=policy,
            headers=headers,
        )
        self._blobs = BlobReader(session, reference.domain, self._endpoints, foreign=False)

    def find_tag(self, tag: str) -> Digest | None:
        """Return the digest of a tag, by a HEAD; None if the registry refuses HEAD.

        Raises:
            NotFound: The registry has no such tag.
        """
        return self._endpoints.ask_each(lambda api: api.stat_manifest(tag, self._cancel)).digest

    def get_manifest(self, reference: str) -> ServedManifest:
        """Fetch a manifest by its tag or digest.

        Raises:
            NotFound: The registry does not have it.
            IntegrityError: The content does not match the digest.
            InvalidDocument: A tag leads to something that is no manifest.
        """
        return self._endpoints.ask_each(lambda api: self._get_manifest(api, reference))

    def _get_manifest(self, api: DistributionApi, reference: str) -> ServedManifest:
        served = api.get_manifest(reference, self._cancel)
        with served.transient_if_truncated():
            if ":" in reference:
                return _verified(Digest.parse(reference), served.raw, served.media_type)
            document = parse(served.raw, served.media_type)
        return ServedManifest(digest_of(document), served.raw, document.media_type, document)

    def stat_blob(self, digest: Digest) -> int | None:
        """Return the size of a blob in bytes, None if it is not stated; raises `NotFound`."""
        return self._endpoints.ask_each(lambda api: self._stat_blob(api, digest))

    def _stat_blob(self, api: DistributionApi, digest: Digest) -> int | None:
        try:
            return api.stat_blob(digest, self._cancel)
        except (Denied, Unauthorized, RegistryError):  # some registries refuse HEAD alone
            from wherry.registry.blob_response import BlobSizes

            opened = api.get_blob(digest, BlobSizes(), 0, self._cancel)
            opened.stream.close()
            return opened.total

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``, or at 0 if the server does not support ranges."""
        return self._blobs.open(descriptor, offset, cancel)

    def tags(self) -> list[str]:
        """Return all tags."""
        from wherry.registry.tag_list import list_tags

        return sorted(list_tags(self._endpoints, self._reference.name, self._cancel))

    def referrers(self, digest: Digest, artifact_type: str) -> list[Descriptor]:
        """Return the referrers of a document, of one type or of any."""
        from wherry.registry.manifest_reader import ManifestReader
        from wherry.registry.referrers import list_referrers

        manifests = ManifestReader(self._session, self._reference, self._endpoints, self._cancel)
        return list_referrers(manifests, self._endpoints, digest, artifact_type, self._cancel)


def _verified(digest: Digest, raw: bytes, media_type: str) -> ServedManifest:
    """Verify a document; one that wherry cannot read is passed on, if its digest matches."""
    try:
        document: Document | None = parse_verified(digest, raw, media_type)
    except (IntegrityError, InvalidDocument, Unsupported):
        if not digest.matches(raw):
            raise
        document = None
    return ServedManifest(digest, raw, document.media_type if document else media_type, document)
