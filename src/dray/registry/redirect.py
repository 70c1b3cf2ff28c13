"""Redirects: where they lead, and what may travel there (RFC 9110, 15.4)."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

MAX_REDIRECTS = 5
STATUSES = frozenset({301, 302, 303, 307, 308})
KEEP_METHOD = frozenset({307, 308})
_PORTS = {"http": 80, "https": 443}


def target(here: str, location: str) -> str | None:
    """Return where a redirect leads, None where that is no http or https address."""
    try:
        there = urljoin(here, location)
        parts = urlsplit(there)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return there if usable else None


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port: credentials stay within these (RFC 6454, 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
