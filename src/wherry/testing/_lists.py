"""The lists of the fake registry: pages of names, and referrers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from wherry.testing._messages import IncomingRequest, Reply, error_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["page_reply", "referrers_reply"]

_INDEX = "application/vnd.oci.image.index.v1+json"


def page_reply(
    request: IncomingRequest,
    key: str,
    names: list[str],
    more: Mapping[str, str],
    page_size: int | None,
    *,
    has_odd_links: bool,
) -> Reply:
    """Return the page of a list that ``n`` and ``last`` ask for.

    With ``has_odd_links`` the link to the next page has an opaque ``next_page``, as in Quay.
    """
    last, limit = request.value("last"), request.value("n")
    opaque = request.value("next_page") if has_odd_links else None
    if opaque is not None:
        last = base64.urlsafe_b64decode(opaque).decode()
    if limit is not None and not limit.isdigit():
        return error_reply(400, "PAGINATION_NUMBER_INVALID")
    rest = [name for name in names if last is None or name > last]
    sizes = [int(limit)] if limit is not None else []
    sizes += [page_size] if page_size is not None else []
    page = rest[: min(sizes)] if sizes else rest
    headers = {}
    if page and len(page) < len(rest):
        query = f"n={min(sizes)}&last={quote(page[-1])}"
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        if has_odd_links:
            token = base64.urlsafe_b64encode(page[-1].encode()).decode()
            headers["Link"] = f"<{request.path}?next_page={token}&n={min(sizes)}>; rel=next"
    return json_reply(200, {**more, key: page}, headers)


def referrers_reply(
    request: IncomingRequest, manifests: Mapping[str, tuple[bytes, str]], subject: str
) -> Reply:
    """Return an index of the documents whose subject is ``subject``."""
    found = []
    for digest, (raw, media_type) in manifests.items():
        content = json.loads(raw)
        if content.get("subject", {}).get("digest") != subject:
            continue
        kind = content.get("artifactType") or content.get("config", {}).get("mediaType", "")
        entry = {"mediaType": media_type, "digest": digest, "size": len(raw)}
        notes = content.get("annotations", {})
        found.append(entry | {"artifactType": kind, "annotations": notes})
    wanted, headers = request.value("artifactType"), {}
    if wanted is not None:
        found = [entry for entry in found if entry["artifactType"] == wanted]
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}
    return Reply(200, {"Content-Type": _INDEX, **headers}, json.dumps(index).encode())
