"""The distribution protocol, version 2: one method is one endpoint (OCI distribution spec)."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from dray.content.ports import Opened, RangeRefused
from dray.errors import DrayError, InvalidDigest, InvalidDocument, Unsupported
from dray.model import mediatype
from dray.model._fields import MAX_DOCUMENT
from dray.model.digest import Digest
from dray.model.record import Record
from dray.registry.answers import MAX_ERROR, failure
from dray.registry.pages import next_page, read_referrers, read_tags
from dray.registry.requester import Call
from dray.registry.transport import VISIBLE, public_url
from dray.registry.web_page import PageWatch, refuse_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dray.content.cancel import CancelToken
    from dray.model.manifest import Index
    from dray.registry.hosts import Endpoint
    from dray.registry.session import Session
    from dray.registry.transport import Response

MAX_TAG_PAGE = 16 * 2**20  # bytes of one page of a tag list
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_NO_API = {404, 405, 501}
_GENERIC = {mediatype.OCI_INDEX, "application/json", "application/octet-stream", "text/plain", ""}
_CONTENT_RANGE = r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)"
_ACCEPT = ", ".join(mediatype.ACCEPT)


class Served(Record):
    """A document as it was served; ``framed`` if its end was seen and not only the connection's."""

    raw: bytes
    media_type: str
    framed: bool

    @contextlib.contextmanager
    def perhaps_cut(self) -> Iterator[None]:
        """Mark what fails within as worth another attempt if some of it may be missing."""
        try:
            yield
        except DrayError as error:
            error.transient = error.transient or not self.framed
            raise


class ReferrersPage(Record):
    """A page of referrers; ``is_filtered`` if the registry has applied the filter itself."""

    index: Index
    size: int
    following: str | None
    is_filtered: bool


class V2:
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
            problem = failure(response, b"", self._what(tag_or_digest), self.endpoint.name)
            if problem.transient:
                raise problem
            return None
        return _digest(response.header("Docker-Content-Digest"))

    def get_manifest(self, tag_or_digest: str, cancel: CancelToken) -> Served:
        """Fetch a document; what is returned has not been verified."""
        response = self._send("GET", f"manifests/{tag_or_digest}", cancel, accept=_ACCEPT)
        self._check(response, self._what(tag_or_digest))
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            what = self._what(tag_or_digest)
            raise InvalidDocument(f"{what}: the manifest is over {MAX_DOCUMENT >> 20} MiB")
        refuse_page(response, raw, self._what(tag_or_digest), "a manifest")
        return Served(raw, mediatype.essence(response.header("Content-Type")), response.framed)

    def get_blob(
        self,
        digest: Digest,
        size: int | None,
        offset: int,
        cancel: CancelToken,
        stop: int | None = None,
    ) -> Opened:
        """Open a blob of ``size`` bytes (None: not known) at ``offset``, up to ``stop``.

        Without ``stop`` the answer may begin at 0 where the registry ignores the offset.
        Raises `RangeRefused` if it sends another range, or part of another size, or none.
        """
        headers = _range(offset, stop)
        response = self._send("GET", f"blobs/{digest}", cancel, headers=headers)
        what = f"{self._name}: blob {digest}"
        return _opened(response, digest, what, self.endpoint.name, size, offset, stop)

    def tags(self, cancel: CancelToken, target: str = "") -> tuple[list[str], str | None]:
        """Fetch a page of the tag list; return it and the target of the next one, if any.

        A ``target`` is a path on this endpoint with a query, or a query that begins with "?".
        """
        path = f"/v2/{self._path}/tags/list"
        response = self._get_list(path, target, cancel)
        self._check(response, self._name)
        tags = read_tags(response.read(MAX_TAG_PAGE), response, self._name)
        return tags, next_page(response, path, f"{self._name}: the tag list")

    def referrers(
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
        what = f"{self._name}: referrers of {digest}"
        self._check(response, what)
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise InvalidDocument(f"{what}: the list is over {MAX_DOCUMENT >> 20} MiB")
        index = read_referrers(raw, kind, response, what)
        if index is None:
            return None
        is_filtered = "artifacttype" in response.header("OCI-Filters-Applied").lower()
        return ReferrersPage(index, len(raw), next_page(response, path, what), is_filtered)

    def _get_list(
        self, path: str, target: str, cancel: CancelToken, *, accept: str = ""
    ) -> Response:
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
    ) -> Response:
        call = Call(
            method,
            f"/v2/{self._path}/{path}",
            self._path,
            headers=(headers or {}) | ({"Accept": accept} if accept else {}),
        )
        return self._session.send(self.endpoint, call, cancel)

    def _check(self, response: Response, what: str) -> None:
        _check(response, what, self.endpoint.name)

    def _what(self, tag_or_digest: str) -> str:
        return f"{self._name}{'@' if ':' in tag_or_digest else ':'}{tag_or_digest}"


def open_url(
    session: Session,
    url: str,
    digest: Digest,
    size: int | None,
    offset: int,
    cancel: CancelToken,
    stop: int | None = None,
) -> Opened:
    """Open what a foreign layer's address points at; no credentials go there.

    Otherwise as `V2.get_blob`. Raises `Unsupported` for addresses that are not http or https,
    and `RangeRefused`.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Unsupported(f"{url[:200]!r} is not an address that layers can be fetched from")
    host = parts.netloc.rpartition("@")[2]
    endpoint = session.hosts.host(host).replace(host=host, schemes=(parts.scheme,))
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    path = quote(path, safe=VISIBLE, errors="replace")  # as UTF-8, which documents are in
    call = Call("GET", path, "", headers=_range(offset, stop))
    response = session.send_anonymous(endpoint, call, cancel)
    return _opened(response, digest, public_url(url), host, size, offset, stop)


def _range(offset: int, stop: int | None) -> dict[str, str]:
    if stop is not None:
        return {"Range": f"bytes={offset}-{stop - 1}"}
    return {"Range": f"bytes={offset}-"} if offset else {}


def _check(response: Response, what: str, host: str) -> None:
    if response.status not in {_OK, _PARTIAL}:
        raise failure(response, response.read(MAX_ERROR), what, host)


def _opened(
    response: Response,
    digest: Digest,
    what: str,
    host: str,
    size: int | None,
    offset: int,
    stop: int | None,
) -> Opened:
    """Take an answer to a request from ``offset`` on, up to ``stop``, for what it is."""
    ranged = offset > 0 or stop is not None
    if ranged and response.status == _UNSATISFIABLE:
        response.close()  # its body is not read: some say a length that is not true
        raise RangeRefused
    _check(response, what, host)
    if response.status != _PARTIAL and stop is None:
        length = _length(response)
        if length is not None and length == size:  # pages have the blob's size by chance alone
            return Opened(response, 0, length)
        return Opened(PageWatch(response, digest, what), 0, length)
    partial = response.header("Content-Range") if response.status == _PARTIAL else ""
    total = _range_total(partial, offset, stop, size)
    if total is None:
        response.close()
        raise RangeRefused
    return Opened(response, offset, total)


def _range_total(header: str, offset: int, stop: int | None, size: int | None) -> int | None:
    """Return a blob's size by a ``Content-Range`` that is the one asked for; else None.

    Without ``stop`` that is from ``offset`` to the blob's end.
    """
    found = re.fullmatch(_CONTENT_RANGE, header.strip())
    if found is None or int(found.group(1)) != offset:
        return None
    end = int(found.group(2)) + 1
    total = int(found.group(3)) if found.group(3) != "*" else end if stop is None else size
    wanted = total if stop is None else stop
    return total if end == wanted and size in {None, total} else None


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text.strip())
    except InvalidDigest:
        return None


def _length(response: Response) -> int | None:
    length = response.header("Content-Length")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
