"""The ASGI application: it finds the handler of a request, and turns errors into answers."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from wherry.errors import NotFound, StoreError, StoreFull
from wherry.model.reference import is_domain
from wherry.serve import blobs, catalog, manifests, referrers, tags, uploads
from wherry.serve import route as routes
from wherry.serve.answers import ApiError
from wherry.serve.pages.site import page_routes
from wherry.serve.proxy import via
from wherry.serve.request_body import drain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from wherry.serve.context import Context
    from wherry.serve.route import Route

    Handler = Callable[[Request, Route, Context], Awaitable[Response]]

_HEADERS = {
    "Docker-Distribution-API-Version": "registry/2.0",
    # Other registries choose the type of what is passed on: a browser must run no script in it.
    "Content-Security-Policy": "sandbox",
    "X-Content-Type-Options": "nosniff",
}
_READS = ("GET", "HEAD")


def handlers() -> Mapping[str, Mapping[str, Handler]]:
    """Return the handlers: by kind of the path, then by method."""
    return {
        "base": dict.fromkeys(_READS, _base),
        **blobs.HANDLERS,
        **catalog.HANDLERS,
        **manifests.HANDLERS,
        **referrers.HANDLERS,
        **tags.HANDLERS,
        **uploads.HANDLERS,
    }


async def _base(request: Request, route: Route, context: Context) -> Response:
    del request, route, context
    return JSONResponse({})


def create_app(context: Context) -> ASGIApp:
    """Return the application that serves a store."""
    table = handlers()

    async def answer(request: Request) -> Response:
        try:
            response = await _dispatch(request, table, context)
        except ApiError as error:
            response = error.response()
        except StoreError as error:
            response = _store_failure(error).response()
        except NotFound:  # it was removed while the request was answered
            response = ApiError("MANIFEST_UNKNOWN", "it was just removed").response()
        except ClientDisconnect:
            response = ApiError("SIZE_INVALID", "the body ended too early").response()
        response.headers.update(_HEADERS)
        await drain(request)
        return response

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    pages = page_routes(context) if context.has_pages else []
    paths = ("/v2", "/v2/{rest:path}")  # a redirection to /v2/ would leave https behind a proxy
    api = [StarletteRoute(path, answer, methods=methods) for path in paths]
    return Starlette(routes=[*api, *pages])


def _store_failure(error: StoreError) -> ApiError:
    """Log an error of the store with its path, which the client does not learn."""
    logging.getLogger("wherry").warning("%s", error)
    return ApiError("DENIED", error.message, status=507 if isinstance(error, StoreFull) else 503)


async def _dispatch(
    request: Request, table: Mapping[str, Mapping[str, Handler]], context: Context
) -> Response:
    route = routes.parse(request.path_params.get("rest", ""))
    if route is None:
        return Response("there is no such endpoint\n", 404, media_type="text/plain")
    by_method = table.get(route.kind, {})
    handler = by_method.get(request.method)
    if handler is None:
        allowed = {"Allow": ", ".join(sorted(by_method))}
        raise ApiError("UNSUPPORTED", f"{request.method} is not possible here", headers=allowed)
    via.note(request)
    namespace = request.query_params.get("ns", "")
    if not namespace:
        return await handler(request, route, context)
    if not is_domain(namespace):
        raise ApiError("NAME_INVALID", "the namespace (ns) is not the name of a registry")
    response = await handler(request, route, dataclasses.replace(context, namespace=namespace))
    response.headers["OCI-Namespace"] = namespace
    return response
