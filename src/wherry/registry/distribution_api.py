"""The distribution protocol, version 2: one method is one endpoint (OCI distribution spec)."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from wherry.content.protocols import Opened, RangeRefused
from wherry.errors import InvalidDigest, InvalidDocument, Unsupported, WherryError
from wherry.model import mediatype
from wherry.model._fields import MAX_DOCUMENT
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.registry.http.redirect import is_http_url
from wherry.registry.http.request import VISIBLE, public_url
from wherry.registry.list_page import next_page, read_referrers, read_tags
from wherry.registry.requester import Call
from wherry.registry.status_errors import MAX_ERROR, error_for_response
from wherry.registry.web_page import PageWatch, refuse_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.cancel import CancelToken
    from wherry.errors import Places
    from wherry.model.manifest import Index
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.session import Session

MAX_TAG_PAGE = 16 * 2**20  # bytes of one page of a tag list
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_NO_API = {404, 405, 501}
_GENERIC = {mediatype.OCI_INDEX, "application/json", "application/octet-stream", "text/plain", ""}
_CONTENT_RANGE = r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)"
_ACCEPT = ", ".join(mediatype.ACCEPT)


class ManifestResponse(Record):
    """A document as served; ``is_framed`` says that its end was seen (see `HttpResponse`)."""

    raw: bytes
    media_type: str
    is_framed: bool

    @contextlib.contextmanager
    def transient_if_truncated(self) -> Iterator[None]:
        """Mark what fails within as worth another attempt if some of it may be missing."""
        try:
            yield
        except WherryError as error:
            error.transient = error.transient or not self.is_framed
            raise


class ReferrersPage(Record):
    """A page of referrers; ``is_filtered`` if the registry has applied the filter itself."""

    index: Index
    size: int
    following: str | None
    is_filtered: bool


class BlobSizes(Record):
    """A blob's size in bytes: ``stated`` by its descriptor, and ``served`` by the first answer.

    The stated one may be wrong, so an answer is only compared with it beside a served one.
    """

    stated: int | None = None
    served: int | None = None

    @property
    def known(self) -> set[int]:
        """The sizes that the blob may have."""
        return {size for size in (self.stated, self.served) if size is not None}


class DistributionApi:
    """One repository of one registry. Each call is one attempt; nothing is retried."""

    def __init__(self, session: Session, endpoint: Endpoint) -> None:
        self._session = session
        self.endpoint = endpoint
        self._path = endpoint.path
        self._name = f"{endpoint.name}/{endpoint.path}"

    def head_manifest(self, tag_or_digest: str, cancel: CancelToken) -> Digest | None:
        """Ask what a tag stands for, by its word alone; None if it does not say by HEAD."""
        response = self._send("HEAD", f"manifests/{tag_or_digest}", cancel, accept=_ACCEPT)
        response.drain()
        if response.status != _OK:
            problem = error_for_response(
                response, b"", self._where(tag_or_digest), self.endpoint.name
            )
            if problem.transient:
                raise problem
            return None
        return _digest(response.header("Docker-Content-Digest"))

    def get_manifest(self, tag_or_digest: str, cancel: CancelToken) -> ManifestResponse:
        """Fetch a document; what is returned has not been verified."""
        response = self._send("GET", f"manifests/{tag_or_digest}", cancel, accept=_ACCEPT)
        self._check(response, self._where(tag_or_digest))
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            message = f"the manifest is over {MAX_DOCUMENT >> 20} MiB"
            raise InvalidDocument(message).within(*self._where(tag_or_digest))
        refuse_page(response, raw, self._where(tag_or_digest), "a manifest")
        return ManifestResponse(
            raw, mediatype.essence(response.header("Content-Type")), response.is_framed
        )

    def get_blob(
        self,
        digest: Digest,
        sizes: BlobSizes,
        offset: int,
        cancel: CancelToken,
        stop: int | None = None,
        *,
        is_small: bool = False,
    ) -> Opened:
        """Open a blob at ``offset``, up to ``stop`` or, if that is less, its end.

        ``small``: it is read into memory, and has to arrive at the pace of a document.
        Without ``stop`` the answer may begin at 0 where the registry ignores the offset.
        Raises `RangeRefused` if it sends another range or none, or, without ``stop``, the rest
        of a blob of another size than ``sizes`` allow.
        """
        headers = _range(offset, stop)
        response = self._send("GET", f"blobs/{digest}", cancel, headers=headers)
        if is_small:
            response.expect_document()
        where = (self._name, f"blob {digest}")
        return _opened(response, digest, where, self.endpoint.name, sizes, offset, stop)

    def get_tags(self, cancel: CancelToken, target: str = "") -> tuple[list[str], str | None]:
        """Fetch a page of the tag list; return it and the target of the next one, if any.

        A ``target`` is a path on this endpoint with a query, or a query that begins with "?".
        """
        path = f"/v2/{self._path}/tags/list"
        response = self._get_list(path, target, cancel)
        self._check(response, (self._name,))
        tags = read_tags(response.read(MAX_TAG_PAGE), response, self._name)
        return tags, next_page(response, path, (self._name, "the tag list"))

    def get_referrers(
        self, digest: Digest, cancel: CancelToken, target: str = ""
    ) -> ReferrersPage | None:
        """Fetch a page of what refers to a document; ``target`` as for `tags`.

        Returns None if the registry has no such API (OCI distribution spec, "Listing
        Referrers"); some registries answer with a web page then, or with another document.
        """
        path = f"/v2/{self._path}/referrers/{digest}"
        response = self._get_list(path, target, cancel, accept=mediatype.OCI_INDEX)
        kind = mediatype.essence(response.header("Content-Type"))
        if response.status in _NO_API or (response.status == _OK and kind not in _GENERIC):
            response.drain()
            return None
        where = (self._name, f"referrers of {digest}")
        self._check(response, where)
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise InvalidDocument(f"the list is over {MAX_DOCUMENT >> 20} MiB").within(*where)
        index = read_referrers(raw, kind, response, where)
        if index is None:
            return None
        is_filtered = "artifacttype" in response.header("OCI-Filters-Applied").lower()
        return ReferrersPage(index, len(raw), next_page(response, path, where), is_filtered)

    def _get_list(
        self, path: str, target: str, cancel: CancelToken, *, accept: str = ""
    ) -> HttpResponse:
        sent = target if target.startswith("/") else path + target
        headers = {"Accept": accept} if accept else {}
        return self._session.send(
            self.endpoint, Call("GET", sent, self._path, headers=headers), cancel
        )

    def _send(
        self,
        method: str,
        path: str,
        cancel: CancelToken,
        *,
        accept: str = "",
        headers: dict[str, str] | None = None,
    ) -> HttpResponse:
        call = Call(
            method,
            f"/v2/{self._path}/{path}",
            self._path,
            headers=(headers or {}) | ({"Accept": accept} if accept else {}),
            is_verified=":" in path,  # a digest; tags have no colon
        )
        return self._session.send(self.endpoint, call, cancel)

    def _check(self, response: HttpResponse, where: Places) -> None:
        _check(response, where, self.endpoint.name)

    def _where(self, tag_or_digest: str) -> Places:
        return (f"{self._name}{'@' if ':' in tag_or_digest else ':'}{tag_or_digest}",)


def open_url(
    session: Session,
    url: str,
    digest: Digest,
    sizes: BlobSizes,
    offset: int,
    cancel: CancelToken,
    stop: int | None = None,
) -> Opened:
    """Open what a foreign layer's address points at; no credentials go there.

    Otherwise as `DistributionApi.get_blob`. Raises `Unsupported` for addresses that are not http
    or https, and `RangeRefused`.
    """
    if not is_http_url(url):
        raise Unsupported(f"{url[:200]!r} is not an address that layers can be fetched from")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    endpoint = session.hosts.host(host).replace(host=host, schemes=(parts.scheme,))
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    path = quote(path, safe=VISIBLE, errors="replace")  # as UTF-8, which documents are in
    call = Call("GET", path, "", headers=_range(offset, stop), is_verified=True)
    response = session.send_anonymous(endpoint, call, cancel)
    return _opened(response, digest, (public_url(url),), host, sizes, offset, stop)


def _range(offset: int, stop: int | None) -> dict[str, str]:
    if stop is not None:
        return {"Range": f"bytes={offset}-{stop - 1}"}
    return {"Range": f"bytes={offset}-"} if offset else {}


def _check(response: HttpResponse, where: Places, host: str) -> None:
    if response.status not in {_OK, _PARTIAL}:
        raise error_for_response(response, response.read_secret(MAX_ERROR), where, host)


def _opened(
    response: HttpResponse,
    digest: Digest,
    where: Places,
    host: str,
    sizes: BlobSizes,
    offset: int,
    stop: int | None,
) -> Opened:
    """Take an answer to a request from ``offset`` on, up to ``stop``, for what it is."""
    ranged = offset > 0 or stop is not None
    if ranged and response.status == _UNSATISFIABLE:
        response.close()  # its body is not read: some say a length that is not true
        raise RangeRefused
    _check(response, where, host)
    if response.status != _PARTIAL and stop is None:
        length = _length(response)
        if length in sizes.known:  # pages have the blob's size by chance alone
            return Opened(response, 0, length)
        return Opened(PageWatch(response, digest, where), 0, length)
    partial = response.header("Content-Range") if response.status == _PARTIAL else ""
    found = re.fullmatch(_CONTENT_RANGE, partial.strip())
    start, end = (int(found.group(1)), int(found.group(2)) + 1) if found else (-1, 0)
    total = None if found is None or found.group(3) == "*" else int(found.group(3))
    if start == offset and end == _range_end(total, stop, end):
        size = end if total is None and stop is None else total
        if stop is not None or sizes.served is None or size in sizes.known:
            return Opened(response, offset, size)
    response.close()
    raise RangeRefused


def _range_end(total: int | None, stop: int | None, end: int) -> int:
    """Return where a range has to end that goes up to ``stop``, or to the end of the blob.

    That is the ``end`` given where the answer does not say how large the blob is.
    """
    if stop is None:
        return end if total is None else total
    return stop if total is None else min(stop, total)


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text.strip())
    except InvalidDigest:
        return None


def _length(response: HttpResponse) -> int | None:
    length = response.header("Content-Length")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
