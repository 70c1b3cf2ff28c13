"""The OCI distribution API (spec 1.1): one method for each endpoint."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from wherry.errors import InvalidDigest, InvalidDocument, Unsupported, WherryError
from wherry.model import mediatype
from wherry.model.digest import Digest
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.registry.blob_response import check_status, content_length, open_response, range_header
from wherry.registry.http.redirect import is_http_url
from wherry.registry.http.request import VISIBLE, public_url
from wherry.registry.requester import Call
from wherry.registry.status_errors import error_for_response
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.errors import Places
    from wherry.model.manifest import Index
    from wherry.registry.blob_response import BlobSizes
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.server_warnings import ServerWarnings
    from wherry.registry.session import Session

MAX_TAG_PAGE = 16 * 2**20  # bytes of one page of a tag list
_OK = 200
_NO_HEAD = {401, 405, 501}  # 401: see `Session.send`
_NO_API = {404, 405, 501}
_GENERIC = {mediatype.OCI_INDEX, "application/json", "application/octet-stream", "text/plain", ""}
_ACCEPT = ", ".join(mediatype.ACCEPT)


class ManifestResponse(Record):
    """A document as served, and its ``ETag``; for ``is_framed`` see `HttpResponse`."""

    raw: bytes
    media_type: str
    is_framed: bool
    etag: str = ""

    @contextlib.contextmanager
    def transient_if_truncated(self) -> Iterator[None]:
        """Mark errors in the block as transient if the document may be truncated."""
        try:
            yield
        except WherryError as error:
            error.transient = error.transient or not self.is_framed
            raise


class ManifestHead(Record):
    """What a registry says about a manifest without sending it; either may be missing."""

    digest: Digest | None
    media_type: str


class ReferrersPage(Record):
    """A page of referrers; ``is_filtered`` says that the registry applied the filter."""

    index: Index
    size: int
    following: str | None
    is_filtered: bool


class DistributionApi:
    """One repository at one endpoint. Each call is one attempt; nothing is retried.

    ``headers`` are sent with each call.
    """

    def __init__(
        self,
        session: Session,
        endpoint: Endpoint,
        warnings: ServerWarnings | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._session = session
        self._warnings = warnings
        self._headers = headers
        self.endpoint = endpoint
        self._path = endpoint.path
        self._name = f"{endpoint.name}/{endpoint.path}"

    def head_manifest(self, tag_or_digest: str, cancel: CancelToken) -> Digest | None:
        """Return the digest that a HEAD states for a tag, or None."""
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

    def stat_manifest(self, tag_or_digest: str, cancel: CancelToken) -> ManifestHead:
        """Return what a HEAD says about a manifest; nothing if the registry refuses HEAD.

        Raises:
            NotFound: The repository has no such manifest.
        """
        response = self._send("HEAD", f"manifests/{tag_or_digest}", cancel, accept=_ACCEPT)
        response.drain()
        if response.status in _NO_HEAD:
            return ManifestHead(None, "")
        self._check(response, self._where(tag_or_digest))
        return ManifestHead(
            _digest(response.header("Docker-Content-Digest")),
            mediatype.essence(response.header("Content-Type")),
        )

    def get_manifest(self, tag_or_digest: str, cancel: CancelToken) -> ManifestResponse:
        """Fetch a document without verifying it."""
        response = self._send("GET", f"manifests/{tag_or_digest}", cancel, accept=_ACCEPT)
        self._check(response, self._where(tag_or_digest))
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            message = f"the manifest is over {MAX_DOCUMENT >> 20} MiB"
            raise InvalidDocument(message).within(*self._where(tag_or_digest))
        refuse_page(response, raw, self._where(tag_or_digest), "a manifest")
        media_type = mediatype.essence(response.header("Content-Type"))
        return ManifestResponse(raw, media_type, response.is_framed, response.header("ETag"))

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
        """Open a blob at ``offset``, up to ``stop`` or its end.

        Without ``stop`` the content may start at 0, if the registry ignores the offset. With
        ``is_small`` it has to arrive as fast as a document.

        Raises:
            RangeRefused: The registry sent another range, or ``sizes`` exclude the blob's size.
        """
        headers = range_header(offset, stop)
        response = self._send("GET", f"blobs/{digest}", cancel, headers=headers)
        if is_small:
            response.expect_document()
        where = (self._name, f"blob {digest}")
        return open_response(response, digest, where, self.endpoint.name, sizes, offset, stop)

    def stat_blob(self, digest: Digest, cancel: CancelToken) -> int | None:
        """Return the size of a blob in bytes that a HEAD states; None if it states none.

        Raises:
            NotFound: The repository has no such blob.
        """
        response = self._send("HEAD", f"blobs/{digest}", cancel)
        response.drain()
        self._check(response, (self._name, f"blob {digest}"))
        return content_length(response)

    def get_tags(self, cancel: CancelToken, target: str = "") -> tuple[list[str], str | None]:
        """Fetch a page of the tag list; return it and the target of the next page, if any.

        A ``target`` is a path on this endpoint with a query, or a query that begins with "?".
        """
        from wherry.registry.list_page import next_page, read_tags

        path = f"/v2/{self._path}/tags/list"
        response = self._get_list(path, target, cancel)
        self._check(response, (self._name,))
        tags = read_tags(response.read(MAX_TAG_PAGE), response, self._name)
        return tags, next_page(response, path, (self._name, "the tag list"))

    def get_referrers(
        self, digest: Digest, cancel: CancelToken, target: str = ""
    ) -> ReferrersPage | None:
        """Fetch a page of a document's referrers; ``target`` is as for `get_tags`.

        Returns:
            The page, or None if the registry has no referrers API (OCI distribution spec 1.1,
            Listing Referrers). Some such registries send a web page or another document.
        """
        from wherry.registry.list_page import next_page, read_referrers

        path = f"/v2/{self._path}/referrers/{digest}"
        response = self._get_list(path, target, cancel, accept=mediatype.OCI_INDEX)
        media_type = mediatype.essence(response.header("Content-Type"))
        if response.status in _NO_API or (response.status == _OK and media_type not in _GENERIC):
            response.drain()
            return None
        where = (self._name, f"referrers of {digest}")
        self._check(response, where)
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise InvalidDocument(f"the list is over {MAX_DOCUMENT >> 20} MiB").within(*where)
        index = read_referrers(raw, media_type, response, where)
        if index is None:
            return None
        is_filtered = "artifacttype" in response.header("OCI-Filters-Applied").lower()
        return ReferrersPage(index, len(raw), next_page(response, path, where), is_filtered)

    def _get_list(
        self, path: str, target: str, cancel: CancelToken, *, accept: str = ""
    ) -> HttpResponse:
        sent = target if target.startswith("/") else path + target
        headers = {"Accept": accept} if accept else {}
        return self._send_call(Call("GET", sent, self._path, headers=headers), cancel)

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
        return self._send_call(call, cancel)

    def _send_call(self, call: Call, cancel: CancelToken) -> HttpResponse:
        if self._headers:
            call = call.replace(headers={**self._headers, **call.headers})
        response = self._session.send(self.endpoint, call, cancel)
        if self._warnings is not None:
            self._warnings.note(response, self.endpoint)
        return response

    def _check(self, response: HttpResponse, where: Places) -> None:
        check_status(response, where, self.endpoint.name)

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
    """Open a foreign layer at one of its URLs, as `DistributionApi.get_blob` does.

    No credentials are sent.

    Raises:
        Unsupported: The URL is not an http or https URL.
        RangeRefused: The server sent another range.
    """
    if not is_http_url(url):
        raise Unsupported(f"{url[:200]!r} is not an address that layers can be fetched from")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    endpoint = session.hosts.host(host).replace(host=host, schemes=(parts.scheme,))
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    path = quote(path, safe=VISIBLE, errors="replace")  # as UTF-8, the encoding of documents
    call = Call("GET", path, "", headers=range_header(offset, stop), is_verified=True)
    response = session.send_anonymous(endpoint, call, cancel)
    return open_response(response, digest, (public_url(url),), host, sizes, offset, stop)


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text.strip())
    except InvalidDigest:
        return None
