"""The referrers of a manifest (OCI distribution spec, "Listing Referrers")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wherry.errors import IntegrityError, InvalidDocument, NotFound
from wherry.model import mediatype
from wherry.model.manifest import Index, Manifest
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.serve.paging import Page
from wherry.store import repository_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request

    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.serve.context import Context
    from wherry.serve.repository_names import Repository
    from wherry.serve.route import Route
    from wherry.store.repository_documents import StoredDocument

_START = f'{{"schemaVersion":2,"mediaType":"{mediatype.OCI_INDEX}","manifests":['.encode()


async def get(request: Request, route: Route, context: Context) -> Response:
    """Answer a GET of the referrers of a manifest, which need not exist."""
    page, subject = Page.of(request), route.digest
    wanted = request.query_params.get("artifactType", "")
    places = context.repositories(route.repository)
    upstreams = context.upstreams
    remote = [each for each in places if upstreams is not None and upstreams.has(each.domain)]
    local = tuple(each for each in places if each not in remote)
    entries, last = await run_in_threadpool(_entries, context, local, subject, page, wanted)
    if upstreams is not None and remote and not entries:
        fetched = await upstreams.referrers(remote[0], subject, wanted)
        entries = _fitting(map(_fields, fetched))
    headers = {"oci-filters-applied": "artifactType"} if wanted else {}
    if last:
        filtered = {"artifactType": wanted} if wanted else {}
        headers |= page.next_link(request.url.path, last, **filtered)
    body = b"%b%b]}" % (_START, b",".join(entries))
    return Response(body, headers=headers, media_type=mediatype.OCI_INDEX)


def _entries(
    context: Context,
    places: tuple[Repository, ...],
    subject: Digest,
    page: Page,
    wanted: str,
) -> tuple[list[bytes], str]:
    """Return the entries of a page as JSON, and the last one's digest if a page follows.

    The first repository that has referrers answers. An index has at most 4 MiB.
    """
    for place in places:
        if not _stored(context, place, subject, ""):
            continue
        found: list[bytes] = []
        left, last = MAX_DOCUMENT - len(_START) - len("]}"), ""
        for entry in _described(context, _stored(context, place, subject, page.last), wanted):
            text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
            left -= len(text) + 1
            if len(found) == page.size or (left < 0 and found):
                return found, last
            found.append(text)
            last = entry["digest"]
        return found, ""
    return [], ""


def _fields(entry: Descriptor) -> dict[str, Any]:
    """Return a descriptor of another registry as JSON."""
    fields = {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size}
    if entry.artifact_type:
        fields["artifactType"] = entry.artifact_type
    return fields | ({"annotations": dict(entry.annotations)} if entry.annotations else {})


def _fitting(entries: Iterable[dict[str, Any]]) -> list[bytes]:
    """Return entries as JSON, as many as fit into an index."""
    found, left = [], MAX_DOCUMENT - len(_START) - len("]}")
    for entry in entries:
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        left -= len(text) + 1
        if left < 0:
            break
        found.append(text)
    return found


def _stored(
    context: Context, place: Repository, subject: Digest, after: str
) -> list[StoredDocument]:
    return context.store.ask(
        lambda rows: list(repository_documents.referrers(rows, place.name, subject, after=after)),
        [],
    )


def _described(
    context: Context, documents: list[StoredDocument], wanted: str
) -> Iterator[dict[str, Any]]:
    """Yield the descriptors of documents that have the wanted type of artifact, or any."""
    for each in documents:
        entry = describe(context, each)
        if entry is not None and (not wanted or entry.get("artifactType") == wanted):
            yield entry


def describe(context: Context, found: StoredDocument) -> dict[str, Any] | None:
    """Return the descriptor of a referrer; None if it was just removed, or is damaged.

    The type of an artifact is that of its config if the manifest has none.
    """
    try:
        document = context.store.document(found.digest)
    except (NotFound, IntegrityError, InvalidDocument):
        return None
    if not isinstance(document, Manifest | Index):
        return None
    kind = document.artifact_type
    if not kind and isinstance(document, Manifest):
        kind = document.config.media_type
    entry: dict[str, Any] = {
        "mediaType": document.media_type,
        "digest": found.digest,
        "size": len(document.raw),
    }
    if kind:
        entry["artifactType"] = kind
    if document.annotations:
        entry["annotations"] = dict(document.annotations)
    return entry


HANDLERS = {"referrers": {"GET": get, "HEAD": get}}
