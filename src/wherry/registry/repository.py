"""A repository as a source: names resolved, documents and blobs read, from where they are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.content.protocols import RangeRefused
from wherry.content.read_blob import read_verified
from wherry.content.retry import run
from wherry.errors import (
    Cancelled,
    Denied,
    IntegrityError,
    NetworkError,
    NotFound,
    Unauthorized,
    WherryError,
)
from wherry.model.manifest import digest_of, parse, parse_named
from wherry.model.record import Record
from wherry.registry.distribution_api import BlobSizes, DistributionApi, open_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session

    T = TypeVar("T")
    _Place = Callable[[int, int | None], Opened]  # opens a blob from here up to there

MAX_URLS = 16  # addresses of a foreign layer that are tried


class Resolution(Record):
    """What a name stands for; ``document`` is None where the digest alone is known so far."""

    digest: Digest
    document: Document | None = None


class Repository:
    """One repository, asked at its endpoints in order: mirrors first, the registry last.

    The methods for documents retry; `open` is one attempt at a blob, and each attempt goes
    to the next endpoint (the caller decides when to stop). An endpoint that does not answer
    is asked again only where no other one helps.
    """

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
        self._foreign = foreign
        self._session = session
        self._apis = [DistributionApi(session, endpoint) for endpoint in endpoints]
        self._cancel = cancel
        self._warn = warn
        self._on_retry = on_retry
        self._cursors: dict[Digest, int] = {}
        self._totals: dict[Digest, int] = {}
        self._silent: set[int] = set()
        self._unranged: set[int] = set()
        self._told: set[int] = set()
        self._lock = threading.Lock()

    @property
    def schema1(self) -> str:
        """What hosts.toml says about schema1: ``deny`` if it does for any host involved."""
        named = self._session.hosts.host_settings(self.reference.domain)
        said = {named.schema1, *(api.endpoint.settings.schema1 for api in self._apis)}
        return "deny" if "deny" in said else ""

    def resolve(self, reference: Reference) -> Resolution:
        """Find what a tag or digest stands for; at most one request where HEAD works.

        Raises `NotFound`, `Unauthorized`, `Denied`, `NetworkError` and the like.
        """
        if reference.digest is not None:
            return Resolution(reference.digest)
        return self._anywhere(lambda api: self._resolve_tag(api, str(reference.tag)))

    def _resolve_tag(self, api: DistributionApi, tag: str) -> Resolution:
        head = api.head_manifest(tag, self._cancel)
        if head is not None:
            return Resolution(head)
        return Resolution(*self._get_tag(api, tag))

    def resolve_again(self, reference: Reference) -> tuple[Digest, Document]:
        """Fetch by tag from a registry that does not know the digest it gave for it."""
        tag = str(reference.tag)
        self._warn(
            f"{reference.domain} does not know the digest that it gave for {tag}; "
            "asked again by the tag"
        )
        return self._anywhere(lambda api: self._get_tag(api, tag))

    def _get_tag(self, api: DistributionApi, tag: str) -> tuple[Digest, Document]:
        try:
            served = api.get_manifest(tag, self._cancel)
        except NotFound as error:
            if "NAME_UNKNOWN" not in error.message:  # else there is no repository to list
                name = self.reference.familiar_name
                error.hint = error.hint or f"`wherry tags {name}` lists the tags that there are"
            raise
        with served.perhaps_cut():
            document = parse(served.raw, served.media_type)
        digest = digest_of(document)
        self._keep(digest, document)
        self._session.names.put(f"{self.reference.name}:{tag}", digest, len(tag))
        return digest, document

    def _keep(self, digest: Digest, document: Document) -> None:
        self._session.documents.put(digest, document, len(document.raw))

    def fetch(self, reference: Reference) -> tuple[Digest, Document]:
        """Return what a tag or digest stands for, and its document, in one request.

        Where this client has seen the tag before, and has kept what it stood for, the request
        is one that registries do not count as a pull, unless the tag has moved since.
        """
        if reference.digest is not None:
            return reference.digest, self.document(reference.digest)
        return self._anywhere(lambda api: self._fetch_tag(api, str(reference.tag)))

    def _fetch_tag(self, api: DistributionApi, tag: str) -> tuple[Digest, Document]:
        seen = self._session.names.get(f"{self.reference.name}:{tag}")
        if seen is not None and self._session.documents.get(seen) is not None:
            head = api.head_manifest(tag, self._cancel)
            known = None if head is None else self._session.documents.get(head)
            if head is not None and known is not None:
                return head, known
        return self._get_tag(api, tag)

    def document(self, digest: Digest, *, fresh: bool = False) -> Document:
        """Return a document, verified before it is looked at; ``fresh``: by a request."""
        known = None if fresh else self._session.documents.get(digest)
        if known is not None:
            return known
        return self._anywhere(lambda api: self._get_document(api, digest))

    def _get_document(self, api: DistributionApi, digest: Digest) -> Document:
        served = api.get_manifest(str(digest), self._cancel)
        try:
            with served.perhaps_cut():
                document = parse_named(digest, served.raw, served.media_type)
        except IntegrityError as error:
            altered = f"nothing was stored; {api.endpoint.name} or a proxy on the way altered it"
            error.hint = error.hint or altered
            raise error.within(f"{self.reference.name}@{digest}") from None
        self._keep(digest, document)
        return document

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a blob of at most 4 MiB, verified; raises `IntegrityError`, `InvalidDocument`."""
        known = self._session.configs.get(descriptor.digest)
        if known is not None:
            return known
        raw = self._anywhere(lambda api: self._read(api, descriptor))
        self._session.configs.put(descriptor.digest, raw, len(raw))
        return raw

    def _read(self, api: DistributionApi, descriptor: Descriptor) -> bytes:
        sizes = BlobSizes(descriptor.size)
        try:
            opened = api.get_blob(descriptor.digest, sizes, 0, self._cancel, small=True)
        except RangeRefused:
            raise _sent_unasked(api.endpoint.name) from None
        return read_verified(opened, descriptor, api.endpoint.name)

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``, or before it where the place does not do ranges.

        A layer that the registry does not have is read from the addresses that it names, if
        that is allowed.
        """

        def attempt(place: _Place) -> Opened:
            for start in (offset, 0):
                try:
                    return place(start, None)
                except RangeRefused:
                    continue
            raise _sent_unasked(self.reference.domain)

        return self._attempt(descriptor, cancel, attempt)

    def open_range(
        self, descriptor: Descriptor, start: int, stop: int, cancel: CancelToken
    ) -> Opened:
        """Open a piece of a blob; each one is asked for at the next endpoint.

        Raises `RangeRefused` where none of them sends pieces.
        """
        return self._attempt(descriptor, cancel, lambda place: place(start, stop), ranged=True)

    def _attempt(
        self,
        blob: Descriptor,
        cancel: CancelToken,
        attempt: Callable[[_Place], Opened],
        *,
        ranged: bool = False,
    ) -> Opened:
        """Attempt at an endpoint, and where none has the blob, at an address that it names."""
        without = self._unranged if ranged else set()
        places = [
            self._at_endpoint(place, blob, cancel)
            for place in self._answering()
            if place not in without
        ]
        try:
            opened = self._at_next(blob, places, attempt)
        except (NotFound, Denied, Unauthorized):
            if not (self._foreign and blob.urls):
                raise
            urls = [self._at_url(url, blob, cancel) for url in blob.urls[:MAX_URLS]]
            opened = self._at_next(blob, urls, attempt)
        if opened.total is not None:
            self._totals.setdefault(blob.digest, opened.total)
        return opened

    def _at_next(
        self, descriptor: Descriptor, places: list[_Place], attempt: Callable[[_Place], Opened]
    ) -> Opened:
        """Attempt at the place whose turn it is; at others too, for what is not there."""
        with self._lock:
            turn = self._cursors.get(descriptor.digest, 0)
            self._cursors[descriptor.digest] = turn + 1
        for number in range(turn, turn + len(places)):
            try:
                return attempt(places[number % len(places)])
            except (WherryError, RangeRefused) as error:
                # What this place will not give in the next attempt either, another one may.
                again = isinstance(error, WherryError) and error.transient
                last = number == turn + len(places) - 1
                if again or last or isinstance(error, Cancelled):
                    raise
        raise RangeRefused

    def _sizes(self, blob: Descriptor) -> BlobSizes:
        return BlobSizes(blob.size, self._totals.get(blob.digest))

    def _at_url(self, url: str, blob: Descriptor, cancel: CancelToken) -> _Place:
        return lambda start, stop: open_url(
            self._session, url, blob.digest, self._sizes(blob), start, cancel, stop
        )

    def _at_endpoint(self, number: int, blob: Descriptor, cancel: CancelToken) -> _Place:
        def place(start: int, stop: int | None) -> Opened:
            try:
                sizes = self._sizes(blob)
                return self._apis[number].get_blob(blob.digest, sizes, start, cancel, stop)
            except WherryError as error:
                self._failed(number, error)
                raise
            except RangeRefused:
                if stop is not None:
                    self._unranged.add(number)
                raise

        return place

    def tags(self) -> Iterator[str]:
        """Yield all tags, page by page."""
        from wherry.registry.lists import tags

        return tags(self, self._cancel)

    def referrers(self, digest: Digest, artifact_type: str = "") -> list[Descriptor]:
        """Return what refers to a document: signatures, SBOMs and the like.

        Where the registry has no API for it, the index that clients keep under a tag is read
        (OCI distribution spec, "Referrers Tag Schema"); without one there are none.
        """
        from wherry.registry.lists import referrers

        return referrers(self, digest, artifact_type, self._cancel)

    def ask_registry(self, call: Callable[[DistributionApi], T]) -> T:
        """Ask the registry itself; a mirror only if the registry does not answer."""
        return self._anywhere(call, registry_first=True)

    def ask(self, api: DistributionApi, call: Callable[[DistributionApi], T]) -> T:
        """Ask one endpoint, as often as the policy says."""
        return run(self._session.policy, self._cancel, lambda: call(api), self._on_retry)

    def warn(self, message: str) -> None:
        """Warn of what is odd about an answer."""
        self._warn(message)

    def warn_of_mirror(self, api: DistributionApi) -> None:
        """Warn if a list came from a mirror."""
        if api is not self._apis[-1]:
            self._warn(
                f"{self._apis[-1].endpoint.name} does not answer; this is the list of its "
                f"mirror {api.endpoint.name}, which may lack entries"
            )

    def fetch_tag(self, api: DistributionApi, tag: str) -> tuple[Digest, Document]:
        """Return what a tag stands for at one endpoint; one attempt."""
        return self._get_tag(api, tag)

    def _anywhere(self, call: Callable[[DistributionApi], T], *, registry_first: bool = False) -> T:
        """Ask endpoint after endpoint, and when all have failed, again as the policy says."""
        return run(
            self._session.policy,
            self._cancel,
            lambda: self._round(call, registry_first=registry_first),
            self._on_retry,
        )

    def _round(self, call: Callable[[DistributionApi], T], *, registry_first: bool) -> T:
        """Ask each endpoint once; the registry's own failure outranks those of mirrors."""
        registry = len(self._apis) - 1
        answering = sorted(
            self._answering(), key=lambda place: (registry_first and place < registry, place)
        )
        others = [place for place in range(len(self._apis)) if place not in answering]
        failure: WherryError | None = None
        for place in (*answering, *others):
            try:
                return call(self._apis[place])
            except Cancelled:
                raise
            except WherryError as error:
                self._failed(place, error)
                if place == registry:
                    failure = error
                    if not error.transient and not isinstance(error, NetworkError):
                        raise  # its word is final
        assert failure is not None  # noqa: S101 - the registry was asked
        raise failure

    def _answering(self) -> list[int]:
        """Return the endpoints that have not failed to answer; all of them where none is left."""
        with self._lock:
            every = range(len(self._apis))
            return [place for place in every if place not in self._silent] or list(every)

    def _failed(self, place: int, error: WherryError) -> None:
        with self._lock:
            if isinstance(error, NetworkError):
                self._silent.add(place)
            said = place in self._told or place == len(self._apis) - 1
            self._told.add(place)
        if not said:
            self._warn(f"{self._apis[place].endpoint.name}: {error}; trying the next endpoint")


def _sent_unasked(host: str) -> NetworkError:
    return NetworkError(f"{host}: it sends parts of blobs unasked", host=host)
