"""A repository as a source: names resolved, documents and blobs read, from where they are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from dray.content.retry import run
from dray.errors import Cancelled, DrayError, IntegrityError, NetworkError
from dray.model.manifest import digest_of, parse, parse_named
from dray.model.mediatype import is_foreign
from dray.registry.v2 import V2, RangeRefused, open_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from dray.content.cancel import CancelToken
    from dray.content.ports import Opened
    from dray.model.descriptor import Descriptor
    from dray.model.digest import Digest
    from dray.model.manifest import Document
    from dray.model.reference import Reference
    from dray.registry.hosts import Endpoint
    from dray.registry.session import Session

    T = TypeVar("T")


class Resolved(NamedTuple):
    """What a name stands for; ``document`` is None where the digest alone is known so far."""

    digest: Digest
    document: Document | None = None


class Repository:
    """One repository, asked at its endpoints in order: mirrors first, the registry last.

    The methods for documents retry; `open` is one attempt at a blob, and each attempt goes
    to the next endpoint (the caller decides when to stop).
    """

    def __init__(
        self,
        session: Session,
        reference: Reference,
        endpoints: Sequence[Endpoint],
        cancel: CancelToken,
        *,
        warn: Callable[[str], None],
        on_retry: Callable[[float, DrayError], None],
    ) -> None:
        self.reference = reference
        self._session = session
        self._apis = [V2(session, endpoint, reference.path) for endpoint in endpoints]
        self._cancel = cancel
        self._warn = warn
        self._on_retry = on_retry
        self._cursors: dict[Digest, int] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: Reference) -> Resolved:
        """Find what a tag or digest stands for; at most one request where HEAD works.

        Raises `NotFound`, `Unauthorized`, `Denied`, `NetworkError` and the like.
        """
        if reference.digest is not None:
            return Resolved(reference.digest)
        return self._anywhere(lambda api: self._resolve_tag(api, str(reference.tag)))

    def _resolve_tag(self, api: V2, tag: str) -> Resolved:
        head = api.head_manifest(tag, self._cancel)
        if head is not None:
            return Resolved(head)
        return Resolved(*self._get_tag(api, tag))

    def resolve_again(self, reference: Reference) -> tuple[Digest, Document]:
        """Fetch by tag from a registry that does not know the digest it gave for it."""
        tag = str(reference.tag)
        self._warn(
            f"{reference.domain} does not know the digest that it gave for {tag}; "
            "asked again by the tag"
        )
        return self._anywhere(lambda api: self._get_tag(api, tag))

    def _get_tag(self, api: V2, tag: str) -> tuple[Digest, Document]:
        raw, media_type = api.get_manifest(tag, self._cancel)
        document = parse(raw, media_type)
        digest = digest_of(document)
        self._session.keep(digest, document)
        return digest, document

    def document(self, digest: Digest, *, fresh: bool = False) -> Document:
        """Return a document, verified before it is looked at; ``fresh``: by a request."""
        known = None if fresh else self._session.document(digest)
        if known is not None:
            return known
        return self._anywhere(lambda api: self._get_document(api, digest))

    def _get_document(self, api: V2, digest: Digest) -> Document:
        raw, media_type = api.get_manifest(str(digest), self._cancel)
        try:
            document = parse_named(digest, raw, media_type)
        except IntegrityError as error:
            error.hint = f"nothing was stored; {api.endpoint.name} or a proxy on the way altered it"
            raise error.within(f"{self.reference.name}@{digest}") from None
        self._session.keep(digest, document)
        return document

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``, or before it where the place does not do ranges.

        A layer that names addresses of its own is read from there.
        """
        with self._lock:
            turn = self._cursors.get(descriptor.digest, 0)
            self._cursors[descriptor.digest] = turn + 1
        attempt = self._attempt_at(descriptor, turn)
        for start in (offset, 0):
            try:
                return attempt(start, cancel)
            except RangeRefused:
                continue
        host = self.reference.domain
        raise NetworkError(f"{host}: it sends parts of {descriptor.digest} unasked", host=host)

    def _attempt_at(
        self, descriptor: Descriptor, turn: int
    ) -> Callable[[int, CancelToken], Opened]:
        """Return how to open a blob at the ``turn``-th attempt."""
        urls = descriptor.urls if is_foreign(descriptor.media_type) else ()
        if urls:
            url = urls[turn % len(urls)]
            return lambda offset, cancel: open_url(
                self._session, url, descriptor.size, offset, cancel
            )
        api = self._apis[turn % len(self._apis)]
        return lambda offset, cancel: api.get_blob(
            descriptor.digest, descriptor.size, offset, cancel
        )

    def tags(self) -> Iterator[str]:
        """Yield all tags, page by page."""
        query: str | None = ""
        seen: set[str] = set()
        while query is not None:
            at = query
            page, query = self._anywhere(lambda api, at=at: api.tags(self._cancel, at))  # type: ignore[misc]
            fresh = [tag for tag in page if tag not in seen]
            if not fresh:
                return  # some registries ignore the paging parameters
            seen.update(fresh)
            yield from fresh

    def _anywhere(self, call: Callable[[V2], T]) -> T:
        """Ask endpoint after endpoint, with retries; the last one's failure is the answer."""
        for api in self._apis[:-1]:
            try:
                return self._attempt(api, call)
            except Cancelled:
                raise
            except DrayError as error:
                self._warn(f"{api.endpoint.name}: {error}; trying the next endpoint")
        return self._attempt(self._apis[-1], call)

    def _attempt(self, api: V2, call: Callable[[V2], T]) -> T:
        return run(self._session.policy, self._cancel, lambda: call(api), self._on_retry)
