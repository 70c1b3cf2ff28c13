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
    """Return the tags of a page and the one after it; None if no repository is known."""
    names, is_known = [], False
    for place in context.repositories(route.repository):
        if context.upstreams is None or not context.upstreams.has(place.domain):
            names.append(place.name)
            continue
        found = await run_in_threadpool(tags_after, context, names, page.last, page.size + 1)
        if found:
            return found
        is_known |= found is not None
        names = []
        fetched = await context.upstreams.tags(request, place)
        if fetched is not None:
            return sorted(tag for tag in fetched if tag > page.last)
    found = await run_in_threadpool(tags_after, context, names, page.last, page.size + 1)
    return [] if found is None and is_known else found


def tags_after(
    context: Context, repositories: Sequence[str], last: str, most: int
) -> list[str] | None:
    """Return tags after ``last`` of the first repository that has tags.

    Returns:
        None if no repository is known.
    """
    return context.store.ask(
        lambda rows: repository_documents.first_tags(rows, repositories, after=last, most=most),
        None,
    )


HANDLERS = {"tags": {"GET": get, "HEAD": get}}
