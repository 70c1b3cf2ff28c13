"""Blobs of the store for clients: found, and deleted from a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wherry.serve.answers import ApiError
from wherry.serve.blob_response import stored_blob

if TYPE_CHECKING:
    from starlette.requests import Request

    from wherry.model.digest import Digest
    from wherry.serve.context import Context
    from wherry.serve.route import Route


async def get(request: Request, route: Route, context: Context) -> Response:
    """Answer GET and HEAD of a blob."""
    digest = route.digest
    upstreams = context.upstreams
    for repository in context.repositories(route.repository):
        if upstreams is not None and upstreams.has(repository.domain):
            response = await upstreams.blob(request, repository, digest)
            if response is not None:
                return response
            continue
        size = await run_in_threadpool(
            context.store.repositories.find_blob, repository.name, digest
        )
        if size is not None:
            return stored_blob(request, context.store, digest, size)
    raise blob_unknown(digest)


async def delete(request: Request, route: Route, context: Context) -> Response:
    """Answer DELETE of a blob."""
    del request
    digest = route.digest
    repository = context.own(route.repository)
    if not await run_in_threadpool(context.store.repositories.remove, repository.name, digest):
        raise blob_unknown(digest)
    return Response(None, 202)


def blob_unknown(digest: Digest) -> ApiError:
    """Return the error for a blob that a repository does not have."""
    return ApiError(
        "BLOB_UNKNOWN", "this repository does not have the blob", detail={"digest": str(digest)}
    )


HANDLERS = {"blob": {"GET": get, "HEAD": get, "DELETE": delete}}
