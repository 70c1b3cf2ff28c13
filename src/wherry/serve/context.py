"""What the handlers of one registry share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wherry.serve.answers import ApiError
from wherry.serve.byte_budget import ByteBudget
from wherry.serve.document_cache import DocumentCache
from wherry.serve.repository_names import Repository, candidates, in_namespace

if TYPE_CHECKING:
    from wherry.model.platform import Platform
    from wherry.serve.proxy.upstreams import Upstreams
    from wherry.store import LocalStore


@dataclass(frozen=True)
class Context:
    """What the handlers of one registry share.

    Attributes:
        store: The store that is served.
        name: The domain of the names that clients push, such as ``localhost:5000``.
        host: The platform of the image that a name of an index shows.
        read_only: Whether nothing can be pushed or deleted.
        has_pages: Whether there are pages for people.
        upstreams: The registries that the server fetches from, if there are any.
        namespace: The registry that the client of a request means (``?ns=``); empty if it does
            not say.
        documents: Manifests in memory.
        manifests: The memory for manifests that are pushed.
    """

    store: LocalStore
    name: str
    host: Platform
    read_only: bool = False
    has_pages: bool = True
    upstreams: Upstreams | None = None
    namespace: str = ""
    documents: DocumentCache = field(default_factory=DocumentCache)
    manifests: ByteBudget = field(default_factory=ByteBudget)

    def repositories(self, path: str) -> tuple[Repository, ...]:
        """Return the repositories that may answer for a path, the server's own first."""
        if self.namespace:
            return (in_namespace(self.name, self.namespace, path),)
        return candidates(self.name, path)

    def sources(self, path: str) -> tuple[list[Repository], list[Repository]]:
        """Return the repositories for a path: those of the store, and those to fetch from."""
        found: tuple[list[Repository], list[Repository]] = ([], [])
        for place in self.repositories(path):
            is_remote = self.upstreams is not None and self.upstreams.has(place.domain)
            found[is_remote].append(place)
        return found

    def own(self, path: str) -> Repository:
        """Return the repository that a push to a path goes to; raises `ApiError`."""
        if self.read_only:
            raise ApiError("DENIED", "this registry is read-only", status=405)
        return candidates(self.name, path)[0]
