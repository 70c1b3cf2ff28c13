"""Redirects: where they lead, and what may follow them (RFC 9110, 15.4)."""

from __future__ import annotations

from http.client import InvalidURL
from urllib.parse import urljoin, urlsplit

from wherry.model.secret import SecretUrl
from wherry.registry.http.resolver import ascii_name

MAX_REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
KEEP_METHOD = frozenset({307, 308})
_PORTS = {"http": 80, "https": 443}


def redirect_target(url: str, location: str) -> SecretUrl | None:
    """Return where a redirect leads; None if that is not an http or https URL."""
    try:
        target = urljoin(url, location)
        is_usable = is_http_url(target)
    except ValueError:
        return None
    return SecretUrl(target) if is_usable else None


def is_http_url(url: str) -> bool:
    """Return whether a request can be sent to a URL: http or https, with a valid host."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            return False
        ascii_name(parts.hostname)
    except (ValueError, InvalidURL):
        return False
    return True


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port, which bound where credentials go (RFC 6454, 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def leaves_tls(url: str, target: str) -> bool:
    """Return whether a request to ``url`` uses TLS and one to ``target`` would not."""
    return urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http"
