"""Parsing one page of a tag list or of a list of referrers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument, RegistryError, WherryError
from wherry.model import mediatype
from wherry.model.manifest import Index, parse
from wherry.model.strict_json import check_values
from wherry.registry.link_header import next_target
from wherry.registry.pager import MAX_LISTED
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from wherry.errors import Places
    from wherry.registry.http.response import HttpResponse

MAX_TAG = 128  # characters (OCI distribution spec 1.1, Pulling manifests)
_JSON = {mediatype.OCI_INDEX, "application/json"}


def read_tags(raw: bytes, response: HttpResponse, name: str) -> list[str]:
    """Return the tags on a page; ``null``, Go's empty list, means none.

    Raises:
        InvalidDocument: The page has too many tags.
        RegistryError: The page is not a tag list.
    """
    return read_names(raw, response, name, "tags", "the tag list")


def read_names(raw: bytes, response: HttpResponse, name: str, key: str, what: str) -> list[str]:
    """Return the names under ``key`` on a page of ``what``; null means none.

    Raises:
        InvalidDocument: The page has too many names.
        RegistryError: The page is not such a list.
    """
    refuse_page(response, raw, (name,), f"a {what.removeprefix('the ')}")
    try:
        check_values(raw, what, MAX_LISTED)
    except InvalidDocument as error:
        raise error.within(name) from None
    try:
        content = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        content = None
    names = content.get(key, ()) if isinstance(content, dict) else ()
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        problem = _unreadable(what, response, transient=not response.is_framed)
        raise problem.within(name)
    return names


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object from its members; raise `ValueError` for a repeated key."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def read_referrers(
    raw: bytes, media_type: str, response: HttpResponse, where: Places
) -> Index | None:
    """Return the index on a page; None if a generic media type holds another document.

    Raises:
        InvalidDocument: The page is served as an index and is not one.
        Unsupported: The index cannot be parsed by this version.
    """
    try:
        document = parse(raw, media_type)
    except WherryError as error:
        is_truncated = not response.is_framed and raw.lstrip().startswith(b"{")
        if media_type in _JSON:
            refuse_page(response, raw, where, "a list of referrers")
        if media_type == mediatype.OCI_INDEX or is_truncated:
            error.transient = error.transient or not response.is_framed
            raise
        return None
    if isinstance(document, Index):
        return document
    if media_type == mediatype.OCI_INDEX:
        raise InvalidDocument("the list is not an index").within(*where)
    return None


def next_page(response: HttpResponse, path: str, where: Places) -> str | None:
    """Return the target of the page that follows in the list at ``path``."""
    try:
        return next_target(response.headers("Link"), response.request.url, path)
    except ValueError:
        error = _unreadable("the Link header to its next page", response)
        raise error.within(*where) from None


def _unreadable(what: str, response: HttpResponse, *, transient: bool = False) -> RegistryError:
    return RegistryError(
        f"{what} cannot be read",
        status=response.status,
        method="GET",
        url=response.url,
        transient=transient,
    )
