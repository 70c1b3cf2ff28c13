"""Deviations of known registries from the OCI distribution spec and from Distribution 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wherry.testing._messages import error_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.testing._messages import IncomingRequest, Reply

__all__ = ["BEHAVIOURS", "Behaviour", "RegistryName"]

RegistryName = Literal[
    "acr",
    "artifactory",
    "distribution-2.8",
    "ecr",
    "gar",
    "ghcr",
    "gitlab",
    "harbor",
    "hub",
    "keppel",
    "nexus",
    "quay",
]


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of a registry; the defaults are those of Distribution 3.

    Attributes:
        anonymous_status: The status, without a challenge, for what an anonymous client may not see.
            ``/v2/`` still answers 401. A client is anonymous without credentials, and with a
            token that was issued without any.
        names_digests: Whether manifests have ``Docker-Content-Digest``.
        keeps_broken_uploads: Whether the bytes of an interrupted PATCH are kept.
        checks_offsets: Whether chunks out of order, and old addresses of a session, get 416.
        takes_single_post: Whether ``POST ?digest=`` uploads a whole blob.
        takes_chunks: Whether a PATCH may have ``Content-Range``.
        max_chunk: The most bytes of a chunk with ``Content-Range``; a larger one gets 416.
        range_stays: Whether the status of an upload keeps the ``Range`` of the first chunk.
        throttles_puts: Whether the second of every three PUTs gets 429.
        is_strict_about_types: Whether manifests without ``mediaType``, and parameters of
            ``Content-Type``, are refused.
        takes_sparse: Whether an index may list absent manifests, if the registry allows it.
        delete_status: The status of a DELETE of a manifest or blob; 202 deletes it.
        delete_tag_status: The status of a DELETE of a tag; 202 deletes it.
        has_referrers: Whether there can be a referrers API.
        counts_pulls: Whether replies with manifests have ``RateLimit-*`` headers, which count
            the GETs.
        realm_query: The query in the address of the token server.
        resolves_digest_tags: Whether ``sha256-HEX`` is resolved to the manifest of that digest.
        has_odd_links: Whether ``Link`` has an opaque ``next_page`` and an unquoted ``rel``.
        breaks_ranges: Whether a request for a part of a blob gets the whole blob, with 206.
        wants_metadata_read: Whether tag lists need ``metadata_read``, which only the challenge
            to a request with a token names.
    """

    anonymous_status: int = 401
    names_digests: bool = True
    keeps_broken_uploads: bool = True
    checks_offsets: bool = True
    takes_single_post: bool = True
    takes_chunks: bool = True
    max_chunk: int | None = None
    range_stays: bool = False
    throttles_puts: bool = False
    is_strict_about_types: bool = False
    takes_sparse: bool = True
    delete_status: int = 202
    delete_tag_status: int = 202
    has_referrers: bool = True
    counts_pulls: bool = False
    realm_query: str = ""
    resolves_digest_tags: bool = False
    has_odd_links: bool = False
    breaks_ranges: bool = False
    wants_metadata_read: bool = False

    def shape(self, request: IncomingRequest, reply: Reply) -> Reply:
        """Return the reply of this registry; ``reply`` is the one that the spec asks for."""
        if self._hides(request, reply):
            code = {403: "DENIED", 404: "NAME_UNKNOWN"}[self.anonymous_status]
            return error_reply(self.anonymous_status, code)
        if not self.names_digests:
            reply.drop("Docker-Content-Digest")
        if self.breaks_ranges and reply.status == 206:
            reply.start, reply.stop = 0, None
            reply.set("Content-Range", f"bytes 0-{reply.size - 1}/{reply.size}")
        return reply

    def _hides(self, request: IncomingRequest, reply: Reply) -> bool:
        if self.anonymous_status == 401 or reply.status != 401 or request.path in {"/v2/", "/v2"}:
            return False
        known = "authorization" in request.headers
        return not known or 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]


BEHAVIOURS: Mapping[RegistryName, Behaviour] = {
    "acr": Behaviour(wants_metadata_read=True),
    "artifactory": Behaviour(anonymous_status=404, names_digests=False),
    "distribution-2.8": Behaviour(
        keeps_broken_uploads=False,
        checks_offsets=False,
        takes_single_post=False,
        delete_tag_status=400,
        has_referrers=False,
    ),
    "ecr": Behaviour(
        range_stays=True,
        throttles_puts=True,
        is_strict_about_types=True,
        delete_tag_status=404,
    ),
    "gar": Behaviour(takes_chunks=False),
    "ghcr": Behaviour(max_chunk=4 * 1024 * 1024, delete_tag_status=405, has_referrers=False),
    "gitlab": Behaviour(realm_query="client=fake", resolves_digest_tags=True),
    "harbor": Behaviour(anonymous_status=404),
    "hub": Behaviour(counts_pulls=True, delete_status=405),
    "keppel": Behaviour(anonymous_status=403),
    "nexus": Behaviour(breaks_ranges=True, takes_sparse=False),
    "quay": Behaviour(has_odd_links=True),
}
