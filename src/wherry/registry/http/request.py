"""A request to send, and its URL in forms that are valid or safe to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from wherry.model.record import Record
from wherry.registry.certs_d import TlsSettings

if TYPE_CHECKING:
    from wherry.registry.http.proxies import ProxyAddress
    from wherry.registry.http.request_body import StreamBody

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))  # characters that need no quoting in a target


class HttpRequest(Record):
    """A request, and the TLS settings for an https URL.

    With ``public_only`` the request is not sent to a peer with a private address. Behind a
    proxy this is not checked, because the proxy looks up the name and connects. ``proxy``
    overrides the environment. ``stream`` is a body that is not in memory.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    tls: TlsSettings = TlsSettings()
    public_only: bool = False
    proxy: ProxyAddress | None = None
    stream: StreamBody | None = None

    def __repr__(self) -> str:
        return f"<HttpRequest {self.method} {public_url(self.url)}>"


def public_url(url: str) -> str:
    """Return a URL without user, password and query, which may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def quoted_target(target: str) -> str:
    """Quote what a request target must not contain; keep signed URLs unchanged.

    Header fields are decoded as Latin-1, so encoding restores the bytes that a server sent.
    """
    if target.isascii() and target.isprintable() and " " not in target:
        return target
    try:
        sent = target.encode("latin-1")
    except UnicodeEncodeError:
        sent = target.encode(errors="surrogateescape")
    return quote(sent, safe=VISIBLE)
