"""The distribution protocol, version 2: one method is one endpoint (OCI distribution spec)."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from dray.content.ports import Opened, RangeRefused
from dray.errors import DrayError, InvalidDigest, InvalidDocument, RegistryError, Unsupported
from dray.model import mediatype
from dray.model._fields import MAX_DOCUMENT
from dray.model.digest import Digest
from dray.model.record import Record
from dray.registry.answers import MAX_ERROR, failure
from dray.registry.requester import Call
from dray.registry.transport import VISIBLE, public_url
from dray.registry.web_page import PageWatch, refuse_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dray.content.cancel import CancelToken
    from dray.registry.hosts import Endpoint
    from dray.registry.session import Session
    from dray.registry.transport import Response

MAX_TAG_PAGE = 16 * 2**20  # bytes of one page of a tag list
MAX_TAG = 128  # characters (OCI distribution spec, "Pulling manifests")
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_NO_API = {404, 405}
_REFERRERS = {mediatype.OCI_INDEX, "application/json"}
_LONE = "[\ud800-\udfff]"  # halves of characters, which JSON can hold and no text
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

    def tags(self, cancel: CancelToken, query: str = "") -> tuple[list[str], str | None]:
        """Fetch a page of the tag list; return it and the query for the next one, if any."""
        response = self._send("GET", f"tags/list{'?' if query else ''}{query}", cancel)
        self._check(response, self._name)
        raw = response.read(MAX_TAG_PAGE)
        tags = _read_tags(raw, response, self._name)
        return tags, _next_page(response)

    def referrers(
        self, digest: Digest, cancel: CancelToken, query: str = ""
    ) -> tuple[Served, str | None] | None:
        """Fetch a page of what refers to a document, and the query for the next one, if any.

        Returns None where the registry has no such API (OCI distribution spec, "Listing
        Referrers"); some answer with a page for people then.
        """
        path = f"referrers/{digest}{'?' if query else ''}{query}"
        response = self._send("GET", path, cancel, accept=mediatype.OCI_INDEX)
        kind = mediatype.essence(response.header("Content-Type"))
        if response.status in _NO_API or (response.status == _OK and kind not in _REFERRERS):
            response.drain()
            return None
        what = f"{self._name}: referrers of {digest}"
        self._check(response, what)
        raw = response.read(MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise InvalidDocument(f"{what}: the list is over {MAX_DOCUMENT >> 20} MiB")
        refuse_page(response, raw, what, "a list of referrers")
        return Served(raw, mediatype.OCI_INDEX, response.framed), _next_page(response)

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


def _read_tags(raw: bytes, response: Response, name: str) -> list[str]:
    import json

    refuse_page(response, raw, name, "a tag list")
    try:
        tags = json.loads(raw).get("tags") or []
    except (ValueError, AttributeError, RecursionError):
        tags = None
    if not isinstance(tags, list) or not all(
        isinstance(tag, str) and len(tag) <= MAX_TAG for tag in tags
    ):
        raise RegistryError(
            f"{name}: the tag list cannot be read",
            status=response.status,
            method="GET",
            url=response.url,
            transient=not response.framed,
        )
    lone = re.compile(_LONE)
    return [lone.sub("\N{REPLACEMENT CHARACTER}", tag) for tag in tags]


def _next_page(response: Response) -> str | None:
    """Return the query of a ``Link`` to the next page (RFC 8288), whatever cursor is in it."""
    link = re.match(r"\s*<([^>]*)>\s*;.*\brel=\"?next\"?", response.header("Link"))
    if link is None:
        return None
    try:
        return urlsplit(urljoin(response.request.url, link.group(1))).query or None
    except ValueError:
        return None
