"""The registries that a server fetches from, as the command line names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from wherry.model.reference import Reference, is_domain, is_path

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORM = "write HOST or HOST=URL, such as docker.io or ghcr.io=https://mirror.example.org"


class UpstreamAddress(NamedTuple):
    """Where a registry's content comes from instead of the registry itself.

    Attributes:
        scheme: ``http`` or ``https``.
        host: ``host[:port]``.
        prefix: A path that precedes that of each repository; may be empty.
    """

    scheme: str
    host: str
    prefix: str = ""


def parse(text: str) -> tuple[str, UpstreamAddress | None]:
    """Parse ``HOST`` or ``HOST=URL``.

    Returns:
        The domain of the registry's names, and another address for it if there is one.

    Raises:
        ValueError: The text has another form.
    """
    domain, equals, url = text.partition("=")
    if not is_domain(domain) or not (set(".:") & set(domain) or domain == "localhost"):
        raise ValueError(f"{domain!r} is not the name of a registry: {_FORM}")
    domain = Reference.complete(domain, "any/name").domain
    return domain, _parse_url(url) if equals else None


def parse_all(texts: Sequence[str]) -> dict[str, UpstreamAddress | None]:
    """Parse several as `parse` does; raises `ValueError` if two are for one registry."""
    found: dict[str, UpstreamAddress | None] = {}
    for domain, address in map(parse, texts):
        if domain in found:
            raise ValueError(f"{domain} is named twice")
        found[domain] = address
    return found


def _parse_url(url: str) -> UpstreamAddress:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    prefix = parts.path.strip("/").removeprefix("v2").strip("/")
    is_plain = parts.scheme in {"http", "https"} and not (parts.query or parts.fragment)
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in a URL: `wherry login` stores them")
    if not (is_plain and is_domain(parts.netloc) and (not prefix or is_path(prefix))):
        raise ValueError(f"{url!r} is not the URL of a registry: {_FORM}")
    return UpstreamAddress(parts.scheme, parts.netloc, prefix)
