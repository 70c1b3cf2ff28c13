"""A repository of a registry as a source of images: names, documents and blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.read_blob import verify_blob
from wherry.errors import IntegrityError
from wherry.registry.blob_reader import BlobReader
from wherry.registry.failover import EndpointGroup
from wherry.registry.manifest_reader import ManifestReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.errors import WherryError
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.registry.hosts import Endpoint
    from wherry.registry.manifest_reader import Resolution
    from wherry.registry.session import Session


class Repository:
    """One repository, read from its endpoints: mirrors first, the registry last.

    Methods that return documents and lists retry. `open` and `open_range` make one attempt.
    """

    remote = True
    ranges = True
    verified = False
    keeps_referrers = True

    def __init__(
        self,
        session: Session,
        reference: Reference,
        endpoints: Sequence[Endpoint],
        cancel: CancelToken,
        *,
        warn: Callable[[str], None],
        on_retry: Callable[[float, WherryError], None],
        foreign: bool = False,
    ) -> None:
        self.reference = reference
        self._session = session
        self._cancel = cancel
        self._endpoints = EndpointGroup(session, endpoints, cancel, warn=warn, on_retry=on_retry)
        self._manifests = ManifestReader(session, reference, self._endpoints, cancel)
        self._blobs = BlobReader(session, reference.domain, self._endpoints, foreign=foreign)

    @property
    def label(self) -> str:
        """The repository's name."""
        return self.reference.name

    @property
    def has_served(self) -> bool:
        """Whether an endpoint has served a manifest or a tag list."""
        return self._endpoints.has_served

    @property
    def schema1(self) -> str:
        """What hosts.toml says about schema1: ``deny`` if it does for any host involved."""
        named = self._session.hosts.host_settings(self.reference.domain)
        found = {named.schema1, *(api.endpoint.settings.schema1 for api in self._endpoints.apis)}
        return "deny" if "deny" in found else ""

    def resolve(self, reference: Reference) -> Resolution:
        """Resolve a tag or digest, with at most one request if the registry supports HEAD.

        Raises:
            NotFound: The registry has no such tag or repository.
            Unauthorized: The registry wants other credentials.
            Denied: The credentials do not suffice.
            NetworkError: No endpoint responded.
        """
        return self._manifests.resolve(reference)

    def resolve_again(self, reference: Reference) -> tuple[Digest, Document]:
        """Fetch by tag from a registry that does not have the digest that it named."""
        return self._manifests.resolve_again(reference)

    def fetch(self, reference: Reference) -> tuple[Digest, Document]:
        """Resolve a tag or digest and return its document, with one request."""
        return self._manifests.fetch(reference)

    def document(self, digest: Digest, *, fresh: bool = False) -> Document:
        """Return a verified document; with ``fresh`` it does not come from the cache."""
        return self._manifests.document(digest, fresh=fresh)

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a verified blob of at most 4 MiB.

        Raises:
            IntegrityError: The content does not match the digest.
            InvalidDocument: The blob is larger.
        """
        return self._blobs.read(descriptor, self._cancel)

    def verify(self, descriptor: Descriptor, cancel: CancelToken) -> None:
        """Fetch a blob and hash it; raises `NotFound` and `IntegrityError`."""
        try:
            verify_blob(self, descriptor, cancel)
        except IntegrityError as error:
            raise error.within(str(descriptor.digest)).within(self.label) from None

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``, or at 0 if the server does not support ranges."""
        return self._blobs.open(descriptor, offset, cancel)

    def open_range(
        self, descriptor: Descriptor, start: int, stop: int, cancel: CancelToken
    ) -> Opened:
        """Open the bytes from ``start`` up to ``stop``.

        Raises:
            RangeRefused: No endpoint serves the range.
        """
        return self._blobs.open_range(descriptor, start, stop, cancel)

    def find_tag(self, tag: str) -> Digest | None:
        """Return the digest of a tag, by one HEAD; None if the registry has no such tag."""
        return self._manifests.find_tag(tag)

    def tags(self) -> Iterator[str]:
        """Yield all tags, page by page."""
        from wherry.registry.tag_list import list_tags

        return list_tags(self._endpoints, self.reference.name, self._cancel)

    def referrers(self, digest: Digest, artifact_type: str = "") -> list[Descriptor]:
        """Return the referrers of a document: signatures, SBOMs and other artifacts.

        If the registry has no referrers API, they come from the index under the referrers tag
        (OCI distribution spec 1.1, Referrers Tag Schema), if it exists.
        """
        from wherry.registry.referrers import list_referrers

        return list_referrers(self._manifests, self._endpoints, digest, artifact_type, self._cancel)
