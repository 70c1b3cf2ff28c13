"""The tags of a repository (OCI distribution spec, "Listing Tags")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from wherry.serve.answers import ApiError
from wherry.serve.paging import Page
from wherry.store import repository_documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from wherry.serve.context import Context
    from wherry.serve.route import Route


async def get(request: Request, route: Route, context: Context) -> Response:
    """Answer a GET of a list of tags."""
    page = Page.of(request)
    found = await _tags(request, route, context, page)
    if found is None:
        message = "the registry has no such repository"
        raise ApiError("NAME_UNKNOWN", message, detail={"name": route.repository})
    shown = found[: page.size]
    headers = {}
    if shown and len(found) > len(shown):
        headers = page.next_link(request.url.path, shown[-1])
    return JSONResponse({"name": route.repository, "tags": shown}, headers=headers)


async def _tags(request: Request, route: Route, context: Context, page: Page) -> list[str] | None:
    """Return the tags of a page and the one after it; None if no repository is known.

    The first repository of the store that has tags answers, or else the registry that the
    server fetches from.
    """
    local, remote = context.sources(route.repository)
    names = [place.name for place in local]
    found = await run_in_threadpool(_stored, context, names, page)
    if found is not None:
        return found
    if context.upstreams is not None and remote:
        fetched = await context.upstreams.tags(request, remote[0])
        if fetched is not None:
            return sorted(tag for tag in fetched if tag > page.last)
    return [] if await run_in_threadpool(_are_known, context, names) else None


def _stored(context: Context, names: Sequence[str], page: Page) -> list[str] | None:
    """Return tags of the store, or None if no repository has any."""
    most = page.size + 1
    return context.store.ask(
        lambda rows: repository_documents.first_tags(rows, names, after=page.last, most=most), None
    )


def _are_known(context: Context, names: Sequence[str]) -> bool:
    unknown: list[bool] = []
    known = context.store.ask(
        lambda rows: [repository_documents.is_known(rows, name) for name in names], unknown
    )
    return any(known)


HANDLERS = {"tags": {"GET": get, "HEAD": get}}
