"""Parsing ``Link`` headers, which lead to the next page of a list (RFC 8288)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

from wherry.registry.http.request import VISIBLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from urllib.parse import SplitResult

_TARGET = re.compile(r"[\s,]*<([^<>]*)>\s*")
_END = re.compile(r"[\s,]*$")
_NAME = re.compile(r";\s*([^\s;,=\"<>]*)\s*")
_QUOTED = re.compile(r'=\s*"((?:[^"\\]|\\.)*)"\s*')
_BARE = re.compile(r"=\s*([^;,\"<>]*)")


def next_target(headers: Iterable[str], url: str, path: str) -> str | None:
    """Return the target of the page after the one at ``url``; None if there is none.

    The page is requested from the same endpoint, whatever host the link names, because reverse
    proxies change URLs. If the link names the same list, ``path`` is kept for the same reason.

    Args:
        headers: Every ``Link`` header of the page.
        url: The URL of the page.
        path: The path of the list at the endpoint.

    Returns:
        A path with the link's query.

    Raises:
        ValueError: A header cannot be parsed, and no other header has a link to a next page.
    """
    problem: ValueError | None = None
    for header in headers:
        try:
            for target, parameters in _links(header):
                if _is_next(parameters, url):
                    return _at_endpoint(urlsplit(urljoin(url, target)), url, path)
        except ValueError as error:
            problem = error
    if problem is not None:
        raise problem
    return None


def _links(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the target and parameters of each link; the first of equal names counts."""
    at = 0
    while not _END.match(header, at):
        target = _TARGET.match(header, at)
        if target is None:
            raise ValueError("a link without a target in angle brackets")
        parameters: dict[str, str] = {}
        at = target.end()
        while name := _NAME.match(header, at):
            quoted = _QUOTED.match(header, name.end())
            value = quoted or _BARE.match(header, name.end())
            text = value[1].strip() if value else ""
            parameters.setdefault(
                name[1].lower(), re.sub(r"\\(.)", r"\1", text) if quoted else text
            )
            at = (value or name).end()
        if at < len(header) and header[at] != ",":
            raise ValueError("a link whose parameters cannot be read")
        yield target[1].strip(), parameters


def _is_next(parameters: dict[str, str], url: str) -> bool:
    """Return whether a link leads from this page to the next (RFC 8288, 3.2 and 3.3)."""
    context = urldefrag(urljoin(url, parameters.get("anchor", "")))[0]
    # Some servers write single quotes, which the syntax treats as part of the value.
    relations = parameters.get("rel", "").strip("'").lower().split()
    return "next" in relations and context == urldefrag(url)[0]


def _at_endpoint(target: SplitResult, url: str, path: str) -> str:
    ending = "/" + "/".join(path.rsplit("/", 2)[-2:])  # "/tags/list", "/referrers/DIGEST"
    is_same_list = target.path == urlsplit(url).path or unquote(target.path).endswith(ending)
    query = f"?{target.query}" if target.query else ""
    sent = (path if is_same_list else target.path) + query
    return quote(sent.encode("latin-1", "replace"), safe=VISIBLE)
