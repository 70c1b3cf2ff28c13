"""The referrers of a manifest (OCI distribution spec, "Listing Referrers")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wherry.errors import IntegrityError, InvalidDocument, NotFound
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.referrer import referrer_of
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.serve.paging import Page
from wherry.store import repository_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from starlette.requests import Request

    from wherry.model.digest import Digest
    from wherry.serve.context import Context
    from wherry.serve.repository_names import Repository
    from wherry.serve.route import Route
    from wherry.store.repository_documents import StoredDocument

    _Fitting: TypeAlias = tuple[list[bytes], str]

_START = f'{{"schemaVersion":2,"mediaType":"{mediatype.OCI_INDEX}","manifests":['.encode()


async def get(request: Request, route: Route, context: Context) -> Response:
    """Answer a GET of the referrers of a manifest, which need not exist.

    The first repository of the store that has referrers answers, or else the registry that the
    server fetches from.
    """
    page, subject = Page.of(request), route.digest
    wanted = request.query_params.get("artifactType", "")
    local, remote = context.sources(route.repository)
    found = await run_in_threadpool(_stored, context, local, subject, page, wanted)
    if found is None and context.upstreams is not None and remote:
        fetched = await context.upstreams.referrers(remote[0], subject, wanted)
        found = _fitting(sorted(fetched, key=lambda entry: entry.digest), page)
    entries, last = found or ([], "")
    headers = {"oci-filters-applied": "artifactType"} if wanted else {}
    if last:
        filtered = {"artifactType": wanted} if wanted else {}
        headers |= page.next_link(request.url.path, last, **filtered)
    body = b"%b%b]}" % (_START, b",".join(entries))
    return Response(body, headers=headers, media_type=mediatype.OCI_INDEX)


def _stored(
    context: Context, places: Sequence[Repository], subject: Digest, page: Page, wanted: str
) -> _Fitting | None:
    """Return a page of stored referrers, or None if there are none at all."""
    names = [place.name for place in places]
    found = context.store.ask(
        lambda rows: repository_documents.first_referrers(rows, names, subject), None
    )
    if not found:
        return None
    described = (_describe(context, each) for each in found if each.digest > page.last)
    return _fitting(
        (each for each in described if each and (not wanted or each.artifact_type == wanted)),
        page,
    )


def _describe(context: Context, found: StoredDocument) -> Descriptor | None:
    """Return the entry of a referrer; None if it was just removed, or is damaged."""
    try:
        raw = context.store.read(found.own)
        described = referrer_of(Descriptor(found.media_type, found.digest), raw)
    except (NotFound, IntegrityError, InvalidDocument):
        return None
    return None if described is None else described[1]


def _fitting(entries: Iterable[Descriptor], page: Page) -> _Fitting:
    """Return the entries of a page as JSON, and the last one's digest if a page follows.

    An index has at most 4 MiB.
    """
    found: list[bytes] = []
    left, last = MAX_DOCUMENT - len(_START) - len("]}"), ""
    for entry in entries:
        if entry.digest <= page.last:
            continue
        text = json.dumps(_fields(entry), ensure_ascii=False, separators=(",", ":")).encode()
        left -= len(text) + 1
        if len(found) == page.size or (left < 0 and found):
            return found, last
        found.append(text)
        last = entry.digest
    return found, ""


def _fields(entry: Descriptor) -> dict[str, Any]:
    fields = {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size}
    others = {"artifactType": entry.artifact_type, "annotations": dict(entry.annotations)}
    return fields | {key: value for key, value in others.items() if value}


HANDLERS = {"referrers": {"GET": get, "HEAD": get}}
