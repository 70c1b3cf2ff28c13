"""The registries that a server fetches from, and what it answers with their content."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import TYPE_CHECKING

from starlette.responses import Response

from wherry.content.cancel import CancelToken
from wherry.errors import NotFound, StoreError, WherryError
from wherry.model.reference import Reference
from wherry.serve.answers import ApiError
from wherry.serve.blob_response import blob_headers, parse_range, stored_blob
from wherry.serve.observe import PROXY
from wherry.serve.proxy.downloads import Downloads
from wherry.serve.proxy.failures import answer_to, is_away, is_worth_warning
from wherry.serve.proxy.follow import HELD, FollowingResponse
from wherry.serve.proxy.image_naming import ImageNaming
from wherry.serve.proxy.manifest_cache import ManifestCache
from wherry.serve.proxy.shared_calls import SharedCalls
from wherry.serve.proxy.upstream_repository import ATTEMPTS, PromptPolicy, UpstreamRepository
from wherry.serve.proxy.via import Via
from wherry.serve.route import checked_tag, parse_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.requests import Request

    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.platform import Platform
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session
    from wherry.serve.proxy.addresses import UpstreamAddress
    from wherry.serve.proxy.download import Download
    from wherry.serve.proxy.manifest_cache import FoundManifest
    from wherry.serve.repository_names import Repository
    from wherry.store import LocalStore

TTL_SECONDS = 60.0
_PATIENCE = 30.0  # seconds of all pauses for one blob together
_STALE = '110 - "Response is Stale"'  # RFC 7234, "Warning"


class Upstreams:
    """Answers for other registries: from the store, or by fetching into it.

    Use it in one event loop.

    Args:
        store: The store.
        session: Fetches as a pull does: with its mirrors and credentials.
        addresses: By domain of names, such as ``docker.io``: None, or another address for it.
        host: The platform of the image that a name of an index shows.
        ttl_seconds: How long a tag is served without asking its registry.
    """

    def __init__(
        self,
        store: LocalStore,
        session: Session,
        addresses: Mapping[str, UpstreamAddress | None],
        host: Platform,
        *,
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        self._store = store
        self._session = session
        self._addresses = dict(addresses)
        self._cancel = CancelToken()
        naming = ImageNaming(store, host, _warn, self._cancel)
        self._manifests = ManifestCache(
            store, self._open, naming.name_above, ttl_seconds, _warn, self._cancel
        )
        policy = PromptPolicy(**session.policy.replace(patience=_PATIENCE).__dict__)
        self._downloads = Downloads(
            store, naming.name_above, policy, session.jobs, _warn, self._cancel
        )
        self._calls = {domain: SharedCalls() for domain in addresses}
        self._via = Via()

    def has(self, domain: str) -> bool:
        """Tell whether a registry is fetched from, for the request of this task.

        A request that has come through this server before is answered from the store alone.
        """
        return domain in self._addresses and not self._via.is_loop

    def cancel(self) -> None:
        """End all requests and downloads; what has arrived of them stays."""
        self._cancel.cancel()

    def close(self) -> None:
        """Do as `cancel`, and wait for the threads."""
        self.cancel()
        self._downloads.close()

    # Documents

    async def manifest(
        self, request: Request, repository: Repository, reference: str
    ) -> Response | None:
        """Answer GET and HEAD of a manifest by its tag or digest; None if there is none."""
        name = _reference(repository, reference)
        with _translated(repository.domain):
            try:
                found = await self._calls[repository.domain].run(
                    ("manifest", str(name)), functools.partial(self._manifests.find, name)
                )
            except NotFound:
                return None
        request.scope[PROXY] = "miss" if found.is_fetched else "hit"
        return _manifest_response(request, found)

    async def tags(self, request: Request, repository: Repository) -> list[str] | None:
        """Return all tags of a repository in order; None if there is no such repository.

        If the registry does not answer, these are the tags that the store knows.
        """
        del request
        with _translated(repository.domain):
            try:
                return await self._calls[repository.domain].run(
                    ("tags", repository.name), functools.partial(self._tags, repository)
                )
            except NotFound:
                return None

    def _tags(self, repository: Repository) -> list[str]:
        known = self._store.cached_names.tags(repository.name)
        try:
            reference = Reference(repository.domain, repository.path)
            return self._open(reference, 1 if known else ATTEMPTS).tags()
        except WherryError as error:
            if not known or not is_away(error):
                raise
            return known

    async def referrers(
        self, repository: Repository, subject: Digest, artifact_type: str
    ) -> list[Descriptor]:
        """Return the referrers of a manifest, of one type or of any."""
        with _translated(repository.domain):
            source = self._open(Reference(repository.domain, repository.path))
            find = functools.partial(source.referrers, subject, artifact_type)
            try:
                return await self._calls[repository.domain].run(
                    ("referrers", repository.name, subject, artifact_type), find
                )
            except NotFound:
                return []

    # Blobs

    async def blob(
        self, request: Request, repository: Repository, digest: Digest
    ) -> Response | None:
        """Answer GET and HEAD of a blob; None if the repository does not have it."""
        request.scope[PROXY] = "hit"
        with _translated(repository.domain):
            try:
                return await self._blob(request, repository, digest)
            except NotFound:
                return None

    async def _blob(self, request: Request, repository: Repository, digest: Digest) -> Response:
        download = self._downloads.find(digest)
        if download is None or download.repository != repository.name:
            size = await self._locate(repository, digest)
            if size is not None:
                return stored_blob(request, self._store, digest, size)
        download = self._downloads.find(digest)
        if request.method == "HEAD":
            request.scope[PROXY] = "miss"
            total = None if download is None else download.total
            return await self._stat_blob(repository, digest, total)
        if download is None:
            if self._downloads.is_full:
                raise ApiError("TOOMANYREQUESTS", "the server is fetching too many blobs")
            source = self._open(_reference(repository, str(digest)))
            request.scope[PROXY] = "miss"
            download = self._downloads.start(repository.name, source, digest)
        return await self._follow(request, repository, download)

    async def _locate(self, repository: Repository, digest: Digest) -> int | None:
        """Return the size of a stored blob; None if it is not stored.

        Raises:
            NotFound: The blob is stored or on its way, but the repository does not have it.
        """
        names, is_coming = self._store.cached_names, self._downloads.find(digest) is not None

        def locate() -> int | None:
            is_stored = self._store.holds(digest)
            if (is_stored or is_coming) and not names.has(repository.name, digest):
                self._open(_reference(repository, str(digest))).stat_blob(digest)
                with contextlib.suppress(StoreError):  # it is asked again then
                    names.add_blob(repository.name, digest)
            return self._store.size(digest) if is_stored else None

        return await self._calls[repository.domain].run(
            ("blob", repository.name, digest, is_coming), locate
        )

    async def _stat_blob(
        self, repository: Repository, digest: Digest, size: int | None
    ) -> Response:
        """Answer HEAD of a blob that is not stored."""
        source = self._open(_reference(repository, str(digest)))
        if size is None:
            stat = functools.partial(source.stat_blob, digest)
            size = await self._calls[repository.domain].run(("stat", repository.name, digest), stat)
        response = Response(None, 200, blob_headers(digest))
        del response.headers["content-length"]
        if size is not None:
            response.headers["content-length"] = str(size)
        return response

    async def _follow(
        self, request: Request, repository: Repository, download: Download
    ) -> Response:
        await download.started()
        total = download.total
        if total is not None and total <= HELD:  # nothing can be sent before the end
            await download.ended()
        file = None if download.is_done and not download.is_aside else download.open()
        if file is not None:
            wanted = None if total is None else request.headers.get("Range")
            try:
                part = parse_range(wanted, total or 0)
            except ApiError:
                file.close()
                raise
            return FollowingResponse(download, file, part, blob_headers(download.digest))
        await download.ended()
        if isinstance(download.error, NotFound):
            raise NotFound(download.error.message)
        if download.error is not None:
            raise answer_to(download.error, repository.domain)
        size = await self._locate(repository, download.digest)
        if size is None:
            raise NotFound("the blob was just removed")
        return stored_blob(request, self._store, download.digest, size)

    # Registries

    def _open(self, reference: Reference, attempts: int = ATTEMPTS) -> UpstreamRepository:
        """Return a repository of another registry, which tries a request ``attempts`` times."""
        attempts = min(attempts, self._session.policy.attempts)
        return UpstreamRepository(
            self._session,
            self._endpoints(reference),
            reference,
            self._cancel,
            warn=_warn,
            policy=PromptPolicy(**self._session.policy.replace(attempts=attempts).__dict__),
            headers={"Via": self._via.header},
        )

    def _endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        address = self._addresses[reference.domain]
        hosts = self._session.hosts
        if address is None:
            return hosts.endpoints(reference, warn=_warn)
        path = f"{address.prefix}/{reference.path}" if address.prefix else reference.path
        found = hosts.host(address.host)
        return (found.replace(path=path, schemes=(address.scheme,), own=False),)


@contextlib.contextmanager
def _translated(domain: str) -> Iterator[None]:
    """Raise what clients are told of failures in the block."""
    try:
        yield
    except WherryError as error:
        if is_worth_warning(error):
            _warn(f"{domain}: {error}")
        raise answer_to(error, domain) from error


def _warn(message: str) -> None:
    """Tell the operator of the server."""
    text = "".join(each if each.isprintable() else " " for each in message)
    logging.getLogger("wherry").warning("%s", text)


def _reference(repository: Repository, text: str) -> Reference:
    """Return the full name of a tag or digest."""
    if ":" in text:
        return Reference(repository.domain, repository.path, None, parse_digest(text))
    return repository.tagged(checked_tag(text))


def _manifest_response(request: Request, found: FoundManifest) -> Response:
    etag = f'"{found.digest}"'
    headers = {"Docker-Content-Digest": str(found.digest), "ETag": etag}
    if found.is_stale:
        headers["Warning"] = _STALE
    if etag in request.headers.get("If-None-Match", ""):
        return Response(None, 304, headers)
    headers |= {"Content-Type": found.media_type, "Content-Length": str(len(found.raw))}
    return Response(None if request.method == "HEAD" else found.raw, 200, headers)
