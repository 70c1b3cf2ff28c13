"""Listing the tags of a repository (OCI distribution spec 1.1, Listing Tags)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from urllib.parse import quote

from wherry.errors import Unsupported
from wherry.model import quantity
from wherry.model.reference import is_tag
from wherry.registry.failover import ListEndpoint
from wherry.registry.list_page import MAX_TAG
from wherry.registry.pager import Page, Pager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.registry.failover import EndpointGroup

MAX_TAGS = 32 * 2**20  # characters of all tags of a list
_SHOWN = 80  # characters of an invalid tag that a warning shows
_PAGE_STEP = 50  # registries' default page sizes are multiples of this


def list_tags(endpoints: EndpointGroup, name: str, cancel: CancelToken) -> Iterator[str]:
    """Yield all tags of the repository ``name``, page by page."""
    listed = itertools.chain.from_iterable(_tag_pages(endpoints, name, cancel))
    return valid_tags(listed, endpoints.warn)


def valid_tags(listed: Iterable[str], warn: Callable[[str], None]) -> Iterator[str]:
    """Yield the valid tags of those that a registry lists.

    Some registries list digests and empty strings as tags. These are left out with a warning.
    """
    invalid, example = 0, ""
    for tag in listed:
        if is_tag(tag):
            yield tag
        else:
            invalid, example = invalid + 1, example if invalid else tag
    if invalid:
        left_out = quantity.count(invalid, "invalid tag")
        warn(f"{left_out} left out of the list (such as {example[:_SHOWN]!a})")


def _tag_pages(
    endpoints: EndpointGroup, name: str, cancel: CancelToken
) -> Iterator[dict[str, None]]:
    """Yield the pages of the tag list.

    Some registries page without sending ``Link``. If a page may have been cut short, the next
    request asks for the tags after its last one.
    """
    endpoint = ListEndpoint(endpoints)
    size = 0

    def fetch(target: str) -> Page[str, None]:
        nonlocal size
        found, following = endpoint.ask(lambda api: api.get_tags(cancel, target))
        size += sum(map(len, found))
        if size > MAX_TAGS:
            raise Unsupported(f"the tag list has over {MAX_TAGS:,} characters").within(name)
        # One character over the limit is enough to make a tag invalid.
        return Page(dict.fromkeys(tag[: MAX_TAG + 1] for tag in found), following)

    pager = Pager(fetch, (name,), "the tag list")
    yield from pager.read("")
    while (guess := _next_target(pager)) is not None:
        yield from pager.read(guess, is_guess=True)


def _next_target(pager: Pager[str, None]) -> str | None:
    """Return a target after the last page if its size suggests that more pages follow."""
    size = len(pager.last)
    if pager.is_complete or size < _PAGE_STEP or size % _PAGE_STEP:
        return None
    last = next(reversed(pager.last))
    return f"?last={quote(last, safe='')}" if is_tag(last) else None
