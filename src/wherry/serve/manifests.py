"""Manifests: pull, push and delete (OCI distribution spec, "Pulling manifests" and others)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wherry.errors import IntegrityError
from wherry.model.digest import Digest
from wherry.model.reference import is_tag
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.serve.answers import ApiError
from wherry.serve.conditions import Conditions, entity_tag
from wherry.serve.manifest_push import ManifestPush, push, read_push
from wherry.serve.route import checked_tag
from wherry.store import repository_documents

if TYPE_CHECKING:
    from starlette.requests import Request

    from wherry.serve.context import Context
    from wherry.serve.repository_names import Repository
    from wherry.serve.route import Route
    from wherry.store.repository_documents import StoredDocument

MAX_TAGS = 80  # of one push; each has a header in the answer, and many clients read 100 headers


# Pull


async def get(request: Request, route: Route, context: Context) -> Response:
    """Answer a GET or HEAD of a manifest."""
    if ":" not in route.last and not is_tag(route.last):
        raise _unknown(route)  # the official conformance suite asks for 404, not 400
    reference = route.reference
    for place in context.repositories(route.repository):
        if context.upstreams is not None and context.upstreams.has(place.domain):
            fetched = await context.upstreams.manifest(request, place, reference)
            if fetched is not None:
                return fetched
            continue
        found = find(context, place, reference)
        if found is not None:
            return await _answer(request, context, found)
    raise _unknown(route)


def find(context: Context, place: Repository, reference: Digest | str) -> StoredDocument | None:
    """Return the document that a repository has under a digest or a tag."""
    return context.store.ask(
        lambda connection: repository_documents.find(connection, place.name, reference), None
    )


async def _answer(request: Request, context: Context, found: StoredDocument) -> Response:
    conditions = Conditions.of(request)
    conditions.check_match(found.digest)
    headers = {"docker-content-digest": found.digest, "etag": entity_tag(found.digest)}
    if conditions.is_unchanged(found.digest):
        return Response(status_code=304, headers=headers)
    headers["content-type"] = found.media_type
    if request.method == "HEAD" and found.size is not None:
        headers["content-length"] = str(found.size)
        return Response(headers=headers)
    return Response(await read(context, found), headers=headers)


async def read(context: Context, found: StoredDocument) -> bytes:
    """Return the verified bytes of a document."""
    raw = context.documents.get(found.own)
    if raw is None:
        try:
            raw = await run_in_threadpool(context.store.read, found.own)
        except IntegrityError as error:
            raise ApiError("UNKNOWN", error.message) from None
        context.documents.put(found.own, raw)
    return raw


def _unknown(route: Route) -> ApiError:
    message = "the repository has no such manifest"
    return ApiError("MANIFEST_UNKNOWN", message, detail={"reference": route.last})


# Push


async def put(request: Request, route: Route, context: Context) -> Response:
    """Answer a PUT of a manifest."""
    place, reference = context.own(route.repository), route.reference
    listed = [checked_tag(each) for each in request.query_params.getlist("tag")]
    if len(listed) > MAX_TAGS:
        raise ApiError("TAG_INVALID", f"more than {MAX_TAGS} tags in one request", status=414)
    media_type = request.headers.get("content-type", "")

    def act(raw: bytes) -> ManifestPush:
        pushed = read_push(raw, media_type, reference, listed, Conditions.of(request))
        push(context, place, pushed)
        return pushed

    with context.manifests.share() as share:
        raw = await share.read(request.stream(), MAX_DOCUMENT)
        pushed = await run_in_threadpool(act, raw)
    headers = {
        "location": f"/v2/{route.repository}/manifests/{pushed.digest}",
        "docker-content-digest": pushed.digest,
        "etag": entity_tag(pushed.digest),
    }
    if pushed.subject is not None:
        headers["oci-subject"] = pushed.subject
    response = Response(status_code=201, headers=headers)
    for tag in listed:
        response.headers.append("oci-tag", tag)
    return response


# Delete


async def delete(request: Request, route: Route, context: Context) -> Response:
    """Answer a DELETE of a tag, or of a manifest with its tags."""
    place, reference = context.own(route.repository), route.reference
    conditions = Conditions.of(request)
    if not await run_in_threadpool(remove, context, place, reference, conditions):
        raise _unknown(route)
    return Response(status_code=202)


def remove(
    context: Context, place: Repository, reference: Digest | str, conditions: Conditions
) -> bool:
    """Remove a tag, or a document with its tags; tell whether it was there."""
    if find(context, place, reference) is None:
        return False
    with (
        context.store.ingest() as ingest,
        ingest.change_repository(place.reference, context.host) as changes,
    ):
        found = changes.find(reference)
        if found is None:
            return False
        conditions.check_change(found.digest)
        if isinstance(reference, Digest):
            changes.delete(found)
        else:
            changes.delete_tag(reference)
    return True


HANDLERS = {"manifest": {"GET": get, "HEAD": get, "PUT": put, "DELETE": delete}}
