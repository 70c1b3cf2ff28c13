"""Blobs of a repository, read from its endpoints or a foreign layer's URLs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherry.content.protocols import RangeRefused
from wherry.content.read_blob import read_verified
from wherry.errors import Cancelled, Denied, NetworkError, NotFound, Unauthorized, WherryError
from wherry.registry.blob_response import BlobSizes
from wherry.registry.distribution_api import open_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.registry.distribution_api import DistributionApi
    from wherry.registry.failover import EndpointGroup
    from wherry.registry.session import Session

    _OpenBlob = Callable[[int, int | None], Opened]  # opens a blob from a start up to a stop

MAX_URLS = 16  # URLs of a foreign layer that are tried


class BlobReader:
    """Reads the blobs of one repository. Thread-safe.

    `open` and `open_range` make one attempt each. Every attempt for the same blob starts at the
    next endpoint; the caller decides when to stop.

    ``domain`` names the registry in messages. With ``foreign`` a layer that the registry does
    not have is read from the URLs in its descriptor.
    """

    def __init__(
        self, session: Session, domain: str, endpoints: EndpointGroup, *, foreign: bool
    ) -> None:
        self._session = session
        self._domain = domain
        self._endpoints = endpoints
        self._foreign = foreign
        self._attempts: dict[Digest, int] = {}
        self._served_sizes: dict[Digest, int] = {}
        self._without_ranges: set[int] = set()
        self._lock = threading.Lock()

    def read(self, descriptor: Descriptor, cancel: CancelToken) -> bytes:
        """Return a verified blob of at most 4 MiB, from the cache if it is there.

        Raises:
            IntegrityError: The content does not match the digest.
            InvalidDocument: The blob is larger.
        """
        known = self._session.configs.get(descriptor.digest)
        if known is not None:
            return known
        raw = self._endpoints.ask_each(lambda api: _read_small(api, descriptor, cancel))
        self._session.configs.put(descriptor.digest, raw, len(raw))
        return raw

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``, or at 0 if the server does not support ranges."""

        def attempt(open_blob: _OpenBlob) -> Opened:
            for start in (offset, 0):
                try:
                    return open_blob(start, None)
                except RangeRefused:
                    continue
            raise _unexpected_range(self._domain)

        return self._attempt(descriptor, cancel, attempt)

    def open_range(
        self, descriptor: Descriptor, start: int, stop: int, cancel: CancelToken
    ) -> Opened:
        """Open the bytes from ``start`` up to ``stop``.

        Raises:
            RangeRefused: No endpoint serves the range.
        """
        return self._attempt(
            descriptor, cancel, lambda open_blob: open_blob(start, stop), ranged=True
        )

    def _attempt(
        self,
        blob: Descriptor,
        cancel: CancelToken,
        attempt: Callable[[_OpenBlob], Opened],
        *,
        ranged: bool = False,
    ) -> Opened:
        """Attempt at the endpoints; if none has the blob, at the URLs of a foreign layer."""
        excluded = self._without_ranges if ranged else set()
        openers = [
            self._opener(number, blob, cancel)
            for number in self._endpoints.responsive()
            if number not in excluded
        ]
        try:
            opened = self._attempt_in_turn(blob, openers, attempt)
        except (NotFound, Denied, Unauthorized):
            if not (self._foreign and blob.urls):
                raise
            urls = [self._url_opener(url, blob, cancel) for url in blob.urls[:MAX_URLS]]
            opened = self._attempt_in_turn(blob, urls, attempt)
        if opened.total is not None:
            self._served_sizes.setdefault(blob.digest, opened.total)
        return opened

    def _attempt_in_turn(
        self,
        descriptor: Descriptor,
        openers: list[_OpenBlob],
        attempt: Callable[[_OpenBlob], Opened],
    ) -> Opened:
        """Attempt at the next opener, and at others after a permanent error."""
        with self._lock:
            turn = self._attempts.get(descriptor.digest, 0)
            self._attempts[descriptor.digest] = turn + 1
        for number in range(turn, turn + len(openers)):
            try:
                return attempt(openers[number % len(openers)])
            except (WherryError, RangeRefused) as error:
                # A permanent error of one endpoint says nothing about the others.
                is_transient = isinstance(error, WherryError) and error.transient
                is_last = number == turn + len(openers) - 1
                if is_transient or is_last or isinstance(error, Cancelled):
                    raise
        raise RangeRefused

    def _sizes(self, blob: Descriptor) -> BlobSizes:
        return BlobSizes(blob.size, self._served_sizes.get(blob.digest))

    def _url_opener(self, url: str, blob: Descriptor, cancel: CancelToken) -> _OpenBlob:
        return lambda start, stop: open_url(
            self._session, url, blob.digest, self._sizes(blob), start, cancel, stop
        )

    def _opener(self, number: int, blob: Descriptor, cancel: CancelToken) -> _OpenBlob:
        def open_blob(start: int, stop: int | None) -> Opened:
            api = self._endpoints.apis[number]
            try:
                return api.get_blob(blob.digest, self._sizes(blob), start, cancel, stop)
            except WherryError as error:
                self._endpoints.note_failure(number, error)
                raise
            except RangeRefused:
                if stop is not None:
                    self._without_ranges.add(number)
                raise

        return open_blob


def _read_small(api: DistributionApi, descriptor: Descriptor, cancel: CancelToken) -> bytes:
    sizes = BlobSizes(descriptor.size)
    try:
        opened = api.get_blob(descriptor.digest, sizes, 0, cancel, is_small=True)
    except RangeRefused:
        raise _unexpected_range(api.endpoint.name) from None
    return read_verified(opened, descriptor, api.endpoint.name)


def _unexpected_range(host: str) -> NetworkError:
    return NetworkError("it sends parts of blobs that were not requested", host=host).within(host)
