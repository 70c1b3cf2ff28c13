"""Writes of manifests to the fake registry: PUT and DELETE."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from wherry.testing._messages import IncomingRequest, Reply, error_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing._behaviours import Behaviour
    from wherry.testing._content import RegistryContent

__all__ = ["ManifestOptions", "ManifestWrites"]

_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"(sha256|sha512):[0-9a-f]+")
_MAX_MANIFEST = 4 * 1024 * 1024  # bytes, as in Distribution


class ManifestOptions:
    """What the registry accepts beyond OCI distribution spec 1.1.

    Args:
        takes_tags: Whether ``?tag=`` names tags (OCI distribution spec 1.2).
        takes_sparse: Whether an index may list manifests that the repository lacks.
        compares_etags: Whether ``If-Match`` is compared with the document of the tag.
    """

    def __init__(self, *, takes_tags: bool, takes_sparse: bool, compares_etags: bool) -> None:
        self.takes_tags = takes_tags
        self.takes_sparse = takes_sparse
        self.compares_etags = compares_etags


class ManifestWrites:
    """Stores and deletes the documents at ``/v2/NAME/manifests/REFERENCE``."""

    def __init__(
        self, content: RegistryContent, behaviour: Behaviour, options: ManifestOptions
    ) -> None:
        self._content = content
        self._behaviour = behaviour
        self._options = options

    def put(
        self, request: IncomingRequest, name: str, reference: str, *, has_referrers: bool
    ) -> Reply:
        """Store a document under its digest, and under the tags that the request names."""
        try:
            raw = request.stream.read(_MAX_MANIFEST)
        except ValueError:
            return error_reply(413, "MANIFEST_INVALID", "the manifest is too large")
        try:
            document = json.loads(raw)
        except ValueError:
            return error_reply(400, "MANIFEST_INVALID", "the manifest is not JSON")
        media_type = request.headers.get("content-type", "")
        refusal = self._refusal(name, document, media_type)
        if refusal is not None:
            return refusal
        is_digest = ":" in reference
        digest = _digest_for(request, reference, _hashed_part(document, raw))
        if digest is None:
            return error_reply(400, "DIGEST_INVALID")
        if not is_digest and not _TAG.fullmatch(reference):
            return error_reply(400, "TAG_INVALID")
        if self._options.compares_etags and "if-match" in request.headers:
            known = self._content.tags.get(name, {}).get(reference, reference)
            if request.headers["if-match"] != f'"{known}"':
                return error_reply(412, "MANIFEST_INVALID", "the tag has another document")
        more = request.values("tag") if is_digest and self._options.takes_tags else []
        tags = more if is_digest else [reference]
        self._content.add_manifest(
            name, raw, media_type or document.get("mediaType", ""), *tags, digest=digest
        )
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if more:
            headers["OCI-Tag"] = ", ".join(more)
        subject = document.get("subject")
        if has_referrers and isinstance(subject, dict):
            headers["OCI-Subject"] = str(subject.get("digest"))
        return Reply(201, headers)

    def _refusal(self, name: str, document: Any, media_type: str) -> Reply | None:
        if not isinstance(document, dict):
            return error_reply(400, "MANIFEST_INVALID")
        if self._behaviour.is_strict_about_types:
            if ";" in media_type:
                return error_reply(400, "UNSUPPORTED", "the content type has parameters")
            if "mediaType" not in document and document.get("schemaVersion") == 2:
                return error_reply(400, "MANIFEST_INVALID", "the manifest has no mediaType")
        known = self._content.manifests.get(name, {})
        takes_sparse = self._options.takes_sparse and self._behaviour.takes_sparse
        for digest in () if takes_sparse else _children(document, "manifests"):
            if digest not in known:
                detail = {"digest": digest}
                return error_reply(400, "MANIFEST_UNKNOWN", "manifest unknown", detail=detail)
        for digest in _blobs(document):
            if not self._content.has_blob(name, digest):
                detail = {"digest": digest}
                return error_reply(400, "MANIFEST_BLOB_UNKNOWN", detail=detail)
        return None

    def delete(self, name: str, reference: str) -> Reply:
        """Delete a document and its tags, or one tag."""
        if self._behaviour.delete_status != 202:
            return error_reply(self._behaviour.delete_status, "UNSUPPORTED")
        manifests, tags = self._content.manifests.get(name, {}), self._content.tags.get(name, {})
        if ":" not in reference:
            if self._behaviour.delete_tag_status != 202:
                return error_reply(self._behaviour.delete_tag_status, "UNSUPPORTED")
            if reference not in tags:
                return error_reply(404, "MANIFEST_UNKNOWN")
            del tags[reference]
            return Reply(202)
        if reference not in manifests:
            return error_reply(404, "MANIFEST_UNKNOWN")
        del manifests[reference]
        for tag in [tag for tag, digest in tags.items() if digest == reference]:
            del tags[tag]
        return Reply(202)


def _hashed_part(document: Any, raw: bytes) -> bytes:
    """Return what the digest of a document is of: the payload of signed schema1, or all."""
    if not isinstance(document, dict) or "signatures" not in document:
        return raw
    from wherry.errors import WherryError
    from wherry.model.schema1 import payload_of

    try:
        return payload_of(raw)
    except WherryError:
        return raw


def _digest_for(request: IncomingRequest, reference: str, raw: bytes) -> str | None:
    """Return the digest of a document, or None if it is not the requested one."""
    found = _DIGEST.fullmatch(reference)
    if found is None and ":" in reference:
        return None
    algorithm = found[1] if found else request.value("digest-algorithm") or "sha256"
    if algorithm not in {"sha256", "sha512"}:
        return None
    digest = f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"
    return digest if found is None or digest == reference else None


def _children(document: dict[str, Any], key: str) -> Iterator[str]:
    for entry in document.get(key) or []:
        if isinstance(entry, dict):
            yield str(entry.get("digest"))


def _blobs(document: dict[str, Any]) -> Iterator[str]:
    """Yield the digests of the blobs that a manifest needs, without foreign layers."""
    config = document.get("config")
    if isinstance(config, dict) and "digest" in config:
        yield str(config["digest"])
    for layer in document.get("layers") or []:
        kind = str(layer.get("mediaType", ""))
        is_foreign = ".foreign." in kind or ".nondistributable." in kind
        if not is_foreign and not layer.get("urls"):
            yield str(layer.get("digest"))
