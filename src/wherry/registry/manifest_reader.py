"""Manifests and indexes of a repository: resolved, fetched, verified, cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Denied, IntegrityError, NotFound, RegistryError, Unauthorized
from wherry.model.manifest import digest_of, parse, parse_verified
from wherry.model.record import Record

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.registry.distribution_api import DistributionApi
    from wherry.registry.failover import EndpointGroup
    from wherry.registry.session import Session


class Resolution(Record):
    """What a name resolves to; ``document`` is None if only the digest is known."""

    digest: Digest
    document: Document | None = None


class ManifestReader:
    """Reads the manifests and indexes of one repository. Thread-safe.

    Documents are verified before they are parsed. The session caches them for all its
    repositories.
    """

    def __init__(
        self, session: Session, reference: Reference, endpoints: EndpointGroup, cancel: CancelToken
    ) -> None:
        self.reference = reference
        self._session = session
        self._endpoints = endpoints
        self._cancel = cancel

    def resolve(self, reference: Reference) -> Resolution:
        """Resolve a tag or digest, with at most one request if the registry supports HEAD."""
        if reference.digest is not None:
            return Resolution(reference.digest)
        return self._endpoints.ask_each(lambda api: self._resolve_tag(api, str(reference.tag)))

    def _resolve_tag(self, api: DistributionApi, tag: str) -> Resolution:
        head = api.head_manifest(tag, self._cancel)
        if head is not None:
            return Resolution(head)
        return Resolution(*self.get_tag(api, tag))

    def find_tag(self, tag: str) -> Digest | None:
        """Return the digest of a tag; None if the registry has no such tag."""

        def find(api: DistributionApi) -> Digest:
            digest = None
            try:
                digest = api.stat_manifest(tag, self._cancel).digest
            except (Unauthorized, Denied, RegistryError) as error:
                if error.transient:
                    raise
            return digest or self.get_tag(api, tag)[0]  # some registries refuse HEAD alone

        try:
            return self._endpoints.ask_each(find, registry_first=True)
        except NotFound:
            return None

    def resolve_again(self, reference: Reference) -> tuple[Digest, Document]:
        """Fetch by tag from a registry that does not have the digest that it named."""
        tag = str(reference.tag)
        self._endpoints.warn(
            f"{reference.domain} does not know the digest that it gave for {tag}; "
            "asked again by the tag"
        )
        return self._endpoints.ask_each(lambda api: self.get_tag(api, tag))

    def get_tag(self, api: DistributionApi, tag: str) -> tuple[Digest, Document]:
        """Fetch a document by tag from one endpoint, in one attempt."""
        try:
            served = api.get_manifest(tag, self._cancel)
        except NotFound as error:
            if "NAME_UNKNOWN" not in error.codes:  # else there is no repository to list
                name = self.reference.familiar_name
                error.hint = error.hint or f"`wherry tags {name}` lists the existing tags"
            raise
        with served.transient_if_truncated():
            document = parse(served.raw, served.media_type)
        digest = digest_of(document)
        self._cache(digest, document)
        self._session.names.put(f"{self.reference.name}:{tag}", digest, len(tag))
        return digest, document

    def _cache(self, digest: Digest, document: Document) -> None:
        self._session.documents.put(digest, document, len(document.raw))

    def fetch(self, reference: Reference) -> tuple[Digest, Document]:
        """Resolve a tag or digest and return its document, with one request.

        If the session has cached the tag's document, the request is a HEAD. Registries do not
        count a HEAD as a pull. A GET follows only if the tag has moved.
        """
        if reference.digest is not None:
            return reference.digest, self.document(reference.digest)
        return self._endpoints.ask_each(lambda api: self._fetch_tag(api, str(reference.tag)))

    def _fetch_tag(self, api: DistributionApi, tag: str) -> tuple[Digest, Document]:
        seen = self._session.names.get(f"{self.reference.name}:{tag}")
        if seen is not None and self._session.documents.get(seen) is not None:
            head = api.head_manifest(tag, self._cancel)
            known = None if head is None else self._session.documents.get(head)
            if head is not None and known is not None:
                return head, known
        return self.get_tag(api, tag)

    def document(self, digest: Digest, *, fresh: bool = False) -> Document:
        """Return a verified document; with ``fresh`` it does not come from the cache."""
        known = None if fresh else self._session.documents.get(digest)
        if known is not None:
            return known
        return self._endpoints.ask_each(lambda api: self._get_document(api, digest))

    def _get_document(self, api: DistributionApi, digest: Digest) -> Document:
        served = api.get_manifest(str(digest), self._cancel)
        try:
            with served.transient_if_truncated():
                document = parse_verified(digest, served.raw, served.media_type)
        except IntegrityError as error:
            altered = f"nothing was stored; {api.endpoint.name} or a proxy on the way altered it"
            error.hint = error.hint or altered
            raise error.within(f"{self.reference.name}@{digest}") from None
        self._cache(digest, document)
        return document
