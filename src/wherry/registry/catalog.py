"""Listing the repositories of a registry (Distribution, "Listing Repositories")."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from wherry.content.retry import run
from wherry.errors import InvalidReference, NotFound, Unsupported
from wherry.model.reference import Reference
from wherry.registry.blob_response import check_status
from wherry.registry.list_page import next_page, read_names
from wherry.registry.pager import Page, Pager
from wherry.registry.requester import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.errors import WherryError
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.session import Session

MAX_PAGE = 16 * 2**20  # bytes of one page
MAX_NAMES = 64 * 2**20  # characters of all names
_PATH = "/v2/_catalog"
_SCOPE = "registry:catalog:*"
_WHAT = "the catalog"
_PAGE_STEP = 50  # registries' default page sizes are multiples of this
_SHOWN = 80  # characters of an invalid name that a warning shows
_NO_CATALOG = {404, 405, 501}


def list_repositories(
    session: Session,
    endpoint: Endpoint,
    cancel: CancelToken,
    *,
    warn: Callable[[str], None],
    on_retry: Callable[[float, WherryError], None],
) -> Iterator[str]:
    """Yield the repositories of a registry, page by page.

    Names that no repository can have are left out with a warning.

    Raises:
        NotFound: The registry has no catalog.
        Unauthorized: The registry wants other credentials.
        Denied: The credentials do not suffice.
    """
    invalid, example = 0, ""
    warnings = session.server_warnings(cancel, warn)

    def send(call: Call) -> HttpResponse:
        response = session.send(endpoint, call, cancel)
        warnings.note(response, endpoint)
        return response

    def fetch(target: str) -> tuple[list[str], str | None]:
        return run(session.policy, cancel, lambda: _get_page(send, endpoint, target), on_retry)

    for page in _pages(fetch, endpoint):
        for name in page:
            if _is_repository(endpoint.name, name):
                yield name
            else:
                invalid, example = invalid + 1, example if invalid else name
    if invalid:
        warn(
            f"{endpoint.name}: {invalid:,} of the repositories listed have invalid names and "
            f"are left out (such as {example[:_SHOWN]!a})"
        )


def _pages(
    fetch_names: Callable[[str], tuple[list[str], str | None]], endpoint: Endpoint
) -> Iterator[dict[str, None]]:
    """Yield the pages of the catalog.

    If a page without ``Link`` may have been cut short, the next request asks for the names
    after its last one.
    """
    size = 0

    def fetch(target: str) -> Page[str, None]:
        nonlocal size
        found, following = fetch_names(target)
        size += sum(map(len, found))
        if size > MAX_NAMES:
            raise Unsupported(f"{_WHAT} has over {MAX_NAMES:,} characters").within(endpoint.name)
        return Page(dict.fromkeys(found), following)

    pager = Pager(fetch, (endpoint.name,), _WHAT)
    yield from pager.read("")
    while not pager.is_complete and pager.last and len(pager.last) % _PAGE_STEP == 0:
        last = next(reversed(pager.last))
        yield from pager.read(f"?last={quote(last, safe='')}", is_guess=True)


def _get_page(
    send: Callable[[Call], HttpResponse], endpoint: Endpoint, target: str
) -> tuple[list[str], str | None]:
    """Fetch a page in one attempt; return it and the target of the next page, if any."""
    path = target if target.startswith("/") else _PATH + target
    response = send(Call("GET", path, "", more_scopes=(_SCOPE,)))
    if response.status in _NO_CATALOG:
        response.drain()
        message = f"the registry does not list its repositories ({response.status})"
        raise NotFound(message).within(endpoint.name)
    check_status(response, (endpoint.name, _WHAT), endpoint.name)
    raw = response.read(MAX_PAGE)
    names = read_names(raw, response, endpoint.name, "repositories", _WHAT)
    return names, next_page(response, _PATH, (endpoint.name, _WHAT))


def _is_repository(host: str, name: str) -> bool:
    try:
        found = Reference.parse(f"{host}/{name}")
    except InvalidReference:
        return False
    return found.is_name_only
