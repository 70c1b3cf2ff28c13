"""Uploads of blobs (OCI distribution spec 1.1, "Pushing blobs")."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from wherry.content.pipeline import Limits
from wherry.content.protocols import Busy
from wherry.errors import IntegrityError, NotFound, StoreFull, WherryError
from wherry.model.digest import HEX_LENGTHS, Digest
from wherry.model.reference import is_path
from wherry.serve import request_body
from wherry.serve.answers import ApiError
from wherry.serve.route import parse_digest

if TYPE_CHECKING:
    from starlette.requests import Request

    from wherry.serve.context import Context
    from wherry.serve.repository_names import Repository
    from wherry.serve.route import Route
    from wherry.store.incoming import IncomingBlob

_MIN_CHUNK = 64 * 1024  # advised to clients; smaller chunks are taken too
_BUSY_SECONDS = 1.0  # a client that lost its connection may be back before that is noticed
_BUSY_POLL_SECONDS = 0.02
_CONTENT_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})")


async def start(request: Request, route: Route, context: Context) -> Response:
    """Answer POST: mount a blob, take a whole blob, or start an upload."""
    repository = context.own(route.repository)
    query = request.query_params
    algorithm = _algorithm(query.get("digest-algorithm"))
    digest = parse_digest(query["digest"]) if "digest" in query else None
    if "mount" in query:
        mounted = parse_digest(query["mount"])
        if await _mount(context, repository, mounted, query.get("from")):
            return _created(route, mounted)
    upload = await run_in_threadpool(context.store.incoming.start, repository.name)
    session = _Session(context, repository, route.repository, upload)
    if digest is None or (
        request_body.length(request) == 0 and digest != Digest.of(b"", digest.algorithm)
    ):
        return session.accepted(0, algorithm)
    try:
        return await _complete(request, route, session, digest)
    except (ApiError, WherryError):
        await run_in_threadpool(session.discard)  # the client does not know the upload
        raise


def _algorithm(name: str | None) -> str | None:
    if name is None or name in HEX_LENGTHS:
        return name
    raise ApiError("DIGEST_INVALID", "the digest algorithm is not supported")


async def _mount(
    context: Context, repository: Repository, digest: Digest, source: str | None
) -> bool:
    """Mount a blob from a repository, or from any if the client names none."""
    sources = None
    if source is not None:
        if not is_path(source):
            return False
        sources = [each.name for each in context.repositories(source)]
    return await run_in_threadpool(
        context.store.repositories.mount, repository.name, digest, sources
    )


async def append(request: Request, route: Route, context: Context) -> Response:
    """Answer PATCH: take a chunk, or a stream."""
    session = _session(route, context)
    algorithm = _algorithm(request.query_params.get("digest-algorithm"))
    with await session.open(algorithm or "sha256") as upload:
        await session.receive(request, upload)
        return session.accepted(upload.size, algorithm)


async def complete(request: Request, route: Route, context: Context) -> Response:
    """Answer PUT: take the last chunk, if there is one, and store the blob."""
    session = _session(route, context)
    digest = request.query_params.get("digest")
    if digest is None:
        raise ApiError("DIGEST_INVALID", "the query has no digest")
    return await _complete(request, route, session, parse_digest(digest))


async def _complete(request: Request, route: Route, session: _Session, digest: Digest) -> Response:
    with await session.open(digest.algorithm) as upload:
        await session.receive(request, upload)
        try:
            await run_in_threadpool(upload.finish, digest)
        except IntegrityError as error:
            detail = {"digest": str(digest), "actual": error.actual}
            raise ApiError("DIGEST_INVALID", str(error), detail=detail) from None
        except NotFound:
            raise _unknown() from None
    return _created(route, digest)


async def status(request: Request, route: Route, context: Context) -> Response:
    """Answer GET: tell how much has arrived."""
    del request
    session = _session(route, context)
    try:
        size = await run_in_threadpool(
            context.store.incoming.size, session.repository.name, session.upload
        )
    except NotFound:
        raise _unknown() from None
    return Response(None, 204, session.headers(size))


async def cancel(request: Request, route: Route, context: Context) -> Response:
    """Answer DELETE: remove an upload."""
    del request
    session = _session(route, context)
    try:
        await run_in_threadpool(
            context.store.incoming.cancel, session.repository.name, session.upload
        )
    except NotFound:
        raise _unknown() from None
    return Response(None, 204)


def _session(route: Route, context: Context) -> _Session:
    repository = context.own(route.repository)
    return _Session(context, repository, route.repository, route.last)


class _Session:
    """An upload as its client sees it."""

    def __init__(self, context: Context, repository: Repository, path: str, upload: str) -> None:
        self.repository = repository
        self.upload = upload
        self._incoming = context.store.incoming
        self._limit = (context.store.limits or Limits()).blob
        self._location = f"/v2/{path}/blobs/uploads/{upload}"

    def headers(self, size: int, algorithm: str | None = None) -> dict[str, str]:
        """Return the headers that tell where to continue, and from which byte."""
        query = "" if algorithm is None else f"?digest-algorithm={algorithm}"
        return {
            "Location": self._location + query,
            "Range": f"0-{max(0, size - 1)}",
            "Docker-Upload-UUID": self.upload,
        }

    def accepted(self, size: int, algorithm: str | None) -> Response:
        """Return the answer to a client that is to go on."""
        headers = self.headers(size, algorithm)
        headers["OCI-Chunk-Min-Length"] = str(_MIN_CHUNK)
        return Response(None, 202, headers)

    def discard(self) -> None:
        """Remove the upload if it is still there."""
        with contextlib.suppress(NotFound):
            self._incoming.cancel(self.repository.name, self.upload)

    async def open(self, algorithm: str) -> IncomingBlob:
        """Open and lock the upload; raises `ApiError`."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return await run_in_threadpool(
                    self._incoming.open, self.repository.name, self.upload, algorithm
                )
            except NotFound:
                raise _unknown() from None
            except Busy as error:
                if time.monotonic() > deadline:
                    raise ApiError(
                        "BLOB_UPLOAD_INVALID",
                        "another request is writing to this upload",
                        status=409,
                        headers=self.headers(error.size),
                    ) from None
            await asyncio.sleep(_BUSY_POLL_SECONDS)

    async def receive(self, request: Request, upload: IncomingBlob) -> None:
        """Append the body of a request.

        What arrived before the connection broke is kept, for a client that asks how much there
        is. After a client's mistake, or on a full disk, the upload is as it was before.

        Raises:
            ApiError: The chunk does not begin at the end of the upload, has another length than
                its headers say, or is too large.
        """
        before = upload.size
        expected = self._expected(request, before)
        if expected is not None and before + expected > self._limit:
            raise self._too_large(upload)
        try:
            async for pieces in request_body.buffers(request):
                if upload.size + sum(map(len, pieces)) > self._limit:
                    raise self._too_large(upload)
                await run_in_threadpool(upload.append, pieces)
        except StoreFull:
            await run_in_threadpool(upload.truncate, before)  # others need the space
            raise
        except ClientDisconnect:
            raise ApiError("SIZE_INVALID", "the body ended too early") from None
        if expected is not None and upload.size - before != expected:
            await run_in_threadpool(upload.truncate, before)
            raise ApiError("SIZE_INVALID", f"the body does not have {expected:,} bytes")

    def _expected(self, request: Request, size: int) -> int | None:
        """Return the length of the body by its headers, None if they do not tell."""
        length = request_body.length(request)
        content_range = request.headers.get("Content-Range")
        if content_range is None:
            return length
        found = _CONTENT_RANGE.fullmatch(content_range)
        if found is None:
            raise ApiError("BLOB_UPLOAD_INVALID", "Content-Range is not FIRST-LAST")
        first, last = map(int, found.groups())
        if first != size:
            raise ApiError(
                "BLOB_UPLOAD_INVALID",
                f"the next chunk begins at byte {size}",
                status=416,
                headers=self.headers(size),
            )
        if last < first or length not in {None, last - first + 1}:
            raise ApiError("SIZE_INVALID", "Content-Range differs from Content-Length")
        return last - first + 1

    def _too_large(self, upload: IncomingBlob) -> ApiError:
        upload.discard()
        message = f"a blob has at most {self._limit:,} bytes here"
        return ApiError("SIZE_INVALID", message, status=413)


def _created(route: Route, digest: Digest) -> Response:
    headers = {
        "Location": f"/v2/{route.repository}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return Response(None, 201, headers)


def _unknown() -> ApiError:
    return ApiError("BLOB_UPLOAD_UNKNOWN", "there is no such upload, or it has expired")


HANDLERS = {
    "uploads": {"POST": start},
    "upload": {"PATCH": append, "PUT": complete, "GET": status, "DELETE": cancel},
}
