"""Manifests of other registries: served from the store, fetched and revalidated."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, NotFound, StoreError, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest
from wherry.model.record import Record
from wherry.serve.proxy.failures import is_away
from wherry.serve.proxy.upstream_repository import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference
    from wherry.serve.proxy.upstream_repository import ServedManifest, UpstreamRepository
    from wherry.store import LocalStore
    from wherry.store.cached import CachedName

    # Opens a repository; a request to it is made this many times at most.
    OpenRepository = Callable[[Reference, int], UpstreamRepository]


class FoundManifest(Record):
    """A manifest for a client.

    Attributes:
        digest: Its digest in registries.
        raw: Its bytes.
        media_type: Its media type.
        is_fetched: Whether it was fetched now.
        is_stale: Whether the registry could not confirm its tag.
    """

    digest: Digest
    raw: bytes
    media_type: str
    is_fetched: bool = False
    is_stale: bool = False


class ManifestCache:
    """Finds manifests in the store, or fetches them. Blocking; thread-safe.

    Args:
        store: The store.
        open_repository: Opens a repository of another registry.
        name_images: Is told a repository and a document that was stored.
        ttl_seconds: How long a tag is served without asking its registry.
        warn: Is told of registries that do not answer.
        cancel: Ends the calls.
    """

    def __init__(
        self,
        store: LocalStore,
        open_repository: OpenRepository,
        name_images: Callable[[str, Digest], None],
        ttl_seconds: float,
        warn: Callable[[str], None],
        cancel: CancelToken,
    ) -> None:
        self._store = store
        self._names = store.cached_names
        self._open = open_repository
        self._name_images = name_images
        self._ttl_seconds = ttl_seconds
        self._warn = warn
        self._cancel = cancel
        self._away_until: dict[str, float] = {}  # by domain, on the monotonic clock

    def find(self, name: Reference) -> FoundManifest:
        """Return the manifest of a tag or digest.

        Raises:
            NotFound: The registry does not have it.
            WherryError: The registry does not answer, and the store does not have it.
        """
        known = self._names.find(name)
        if name.digest is not None:
            return self._find_digest(name, name.digest, known)
        stored = None if known is None else self._stored(known.root)
        if known is not None and stored is not None and self._is_fresh(known):
            self._note_use(name, known, known.root)
            return stored
        return self._revalidate(name, known, stored or self._stored_name(name))

    def _find_digest(
        self, name: Reference, digest: Digest, known: CachedName | None
    ) -> FoundManifest:
        """Return a manifest by its digest, which is never asked for again."""
        is_known = known is not None or self._names.has(name.name, digest)
        stored = self._stored(digest) if is_known else None
        if stored is None:
            return self._keep(name, self._open(name, ATTEMPTS).get_manifest(str(digest)))
        self._note_use(name, known, digest)
        return stored

    def _revalidate(
        self, name: Reference, known: CachedName | None, fallback: FoundManifest | None
    ) -> FoundManifest:
        """Ask the registry for a tag; what the store has is used if it does not answer."""
        if fallback is not None and self._away_until.get(name.domain, 0.0) > time.monotonic():
            return fallback.replace(is_stale=True)
        try:
            return self._fetch_tag(name, is_hasty=fallback is not None)
        except NotFound:
            if known is not None:
                self._names.forget(name)
            raise
        except WherryError as error:
            if fallback is None or not is_away(error):
                raise
            self._warn(f"{error}; what the store has is served meanwhile")
            self._away_until[name.domain] = time.monotonic() + self._ttl_seconds
            return fallback.replace(is_stale=True)

    def _fetch_tag(self, name: Reference, *, is_hasty: bool) -> FoundManifest:
        repository = self._open(name, 1 if is_hasty else ATTEMPTS)
        digest = repository.find_tag(str(name.tag))
        stored = None if digest is None else self._stored(digest)
        if stored is not None:
            with contextlib.suppress(StoreError):
                self._names.confirm(name, stored.digest)
            self._name_images(name.name, stored.digest)
            return stored
        if digest is not None:
            try:
                return self._keep(name, repository.get_manifest(str(digest)))
            except NotFound:  # some registries know the tag alone
                pass
        return self._keep(name, repository.get_manifest(str(name.tag)))

    def _keep(self, name: Reference, served: ServedManifest) -> FoundManifest:
        """Store a document and record its name; others than manifests and indexes pass."""
        document = served.document
        if isinstance(document, Manifest | Index):
            descriptor = Descriptor(served.media_type, served.digest, len(served.raw))
            with self._store.ingest() as ingest:
                ingest.put_document(descriptor, served.raw, _children(document), self._cancel)
                self._names.confirm(name, served.digest)
            self._name_images(name.name, served.digest)
        return FoundManifest(served.digest, served.raw, served.media_type, is_fetched=True)

    def _stored(self, digest: Digest) -> FoundManifest | None:
        try:
            document = self._store.document(digest)
        except (NotFound, IntegrityError):  # a damaged file is replaced
            return None
        return FoundManifest(digest, document.raw, document.media_type)

    def _stored_name(self, name: Reference) -> FoundManifest | None:
        """Return the document of a name that a pull has given."""
        found = self._store.find(name)
        return None if found is None else self._stored(found.root)

    def _is_fresh(self, known: CachedName) -> bool:
        return abs(time.time() - known.checked) < self._ttl_seconds

    def _note_use(self, name: Reference, known: CachedName | None, root: Digest) -> None:
        """Record a use; what is stored is served even if the store cannot be written."""
        with contextlib.suppress(StoreError):
            if known is None:
                self._names.confirm(name, root)
            elif known.is_touch_due:
                self._names.touch(name)


def _children(document: Manifest | Index) -> list[tuple[Digest, bool]]:
    """Return what a document lists; the images of an index are wanted once they are complete."""
    if isinstance(document, Index):
        return [(entry.digest, False) for entry in document.manifests]
    return [(blob.digest, True) for blob in (document.config, *document.layers)]
