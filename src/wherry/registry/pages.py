"""Pages of a registry's lists: what is on them, and where they lead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument, RegistryError, WherryError
from wherry.model import mediatype
from wherry.model._fields import check_values
from wherry.model.manifest import Index, parse
from wherry.registry.link_header import next_target
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from wherry.registry.http.transport import HttpResponse

MAX_LISTED = 500_000  # tags, or referrers, over all pages
MAX_TAG = 128  # characters (OCI distribution spec, "Pulling manifests")
_JSON = {mediatype.OCI_INDEX, "application/json"}


def read_tags(raw: bytes, response: HttpResponse, name: str) -> list[str]:
    """Return what a page lists as tags; null stands for none of them, as Go writes it.

    Raises `InvalidDocument` for a page of too many.
    """
    refuse_page(response, raw, name, "a tag list")
    check_values(raw, f"{name}: the tag list", MAX_LISTED)
    try:
        content = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        content = None
    tags = content.get("tags", ()) if isinstance(content, dict) else ()
    if tags is None:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise _unreadable(f"{name}: the tag list", response, transient=not response.framed)
    return tags


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; raises `ValueError` for a key that appears twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def read_referrers(raw: bytes, kind: str, response: HttpResponse, what: str) -> Index | None:
    """Return the index of a page served as ``kind``; None if a generic type holds no index.

    Raises `InvalidDocument`, and `Unsupported` as `parse` does.
    """
    try:
        document = parse(raw, kind)
    except WherryError as error:
        is_cut = not response.framed and raw.lstrip().startswith(b"{")
        if kind in _JSON:
            refuse_page(response, raw, what, "a list of referrers")
        if kind == mediatype.OCI_INDEX or is_cut:
            error.transient = error.transient or not response.framed
            raise
        return None
    if isinstance(document, Index):
        return document
    if kind == mediatype.OCI_INDEX:
        raise InvalidDocument(f"{what}: the list is no index")
    return None


def next_page(response: HttpResponse, path: str, what: str) -> str | None:
    """Return the target of the next page of the list at ``path``, whatever cursor is in it."""
    try:
        return next_target(response.headers("Link"), response.request.url, path)
    except ValueError:
        raise _unreadable(f"{what}: the Link header to its next page", response) from None


def _unreadable(what: str, response: HttpResponse, *, transient: bool = False) -> RegistryError:
    return RegistryError(
        f"{what} cannot be read",
        status=response.status,
        method="GET",
        url=response.url,
        transient=transient,
    )
