"""The catalog: all repositories of the store, by the paths under which they are served."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from wherry.serve.paging import Page
from wherry.serve.repository_names import served_path
from wherry.store import repository_documents

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from wherry.serve.context import Context
    from wherry.serve.route import Route


async def get(request: Request, route: Route, context: Context) -> Response:
    """Answer a GET of the catalog."""
    del route
    page = Page.of(request)
    paths = await run_in_threadpool(served_paths, context)
    after = itertools.dropwhile(lambda path: path <= page.last, paths)
    found = list(itertools.islice(after, page.size + 1))
    shown = found[: page.size]
    headers = {}
    if shown and len(found) > len(shown):
        headers = page.next_link(request.url.path, shown[-1])
    return JSONResponse({"repositories": shown}, headers=headers)


def served_paths(context: Context) -> list[str]:
    """Return the paths of all repositories that have a name, in ASCII order."""
    none: list[str] = []
    names = context.store.ask(lambda rows: list(repository_documents.repositories(rows)), none)
    found = {served_path(context.name, *name.split("/", 1)) for name in names}
    return sorted(path for path in found if path is not None)


HANDLERS = {"catalog": {"GET": get, "HEAD": get}}
