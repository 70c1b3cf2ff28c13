"""A registry in memory: the pull side of the OCI distribution spec, with faults on request.

It serves only what was added to it, records every request, and follows the spec except for the
faults that `FakeRegistry.inject` adds.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from wherry.testing._behaviours import BEHAVIOURS, Behaviour
from wherry.testing._challenges import IssuedTokens, basic_refusal, token_refusal
from wherry.testing._grants import Access, Grants
from wherry.testing._http import HttpServer
from wherry.testing._messages import IncomingRequest, Reply, error_reply, json_reply, narrow
from wherry.testing.images import BuiltImage, BuiltIndex, sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from wherry.testing.images import Piece

__all__ = ["FakeRegistry"]

_ROUTE = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)"
)

_INDEX = "application/vnd.oci.image.index.v1+json"


class FakeRegistry(HttpServer):
    """A registry on 127.0.0.1; use it as a context manager.

    Args:
        users: Passwords by user name. Without ``tokens`` they mean basic authentication.
        tokens: Whether clients need a bearer token from ``/token`` of the registry. A user gets
            the access that it asks for; without ``users`` every client does.
        public: The repositories for which anonymous clients get a pull token, or True for all.
        refresh_tokens: User names by refresh token, accepted in a POST to ``/token``.
        expires_in: Lifetime of a token in seconds. None leaves it out of the response; the
            tokens then live for 60 seconds, the default of Distribution's specification.
        redirect_blobs_to: The ``url`` of another registry that has the blobs; clients are
            redirected there. True redirects to ``storage``, a second server.
        redirect_uses: How often the address of a redirect works. After that ``storage`` answers
            403, as object storage does when a signature has expired.
        page_size: The most entries on a page of a list.
        referrers: Whether the registry has the referrers API.
        tls: Files of a certificate chain and its key; None serves plain HTTP.
        client_ca: File of an authority; clients must then show a certificate that it signed.
        behaviour: A registry whose deviations from the spec are taken over: ``harbor`` and
            ``artifactory`` answer 404 to anonymous clients, ``keppel`` 403.

    Attributes:
        blobs: The blobs by digest, as bytes or as the path of a file; may be changed.
        manifests: By repository: the bytes and media type of each manifest by digest.
        tags: By repository: the digest of each tag.
        storage: The second server for blobs, if there is one.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tokens: bool = False,
        public: Collection[str] | Literal[True] = (),
        refresh_tokens: Mapping[str, str] | None = None,
        expires_in: int | None = 300,
        redirect_blobs_to: str | Literal[True] | None = None,
        redirect_uses: int | None = None,
        page_size: int | None = None,
        referrers: bool = False,
        tls: tuple[Path | str, Path | str] | None = None,
        client_ca: Path | str | None = None,
        behaviour: Literal["artifactory", "harbor", "keppel"] | None = None,
    ) -> None:
        super().__init__(tls=tls, client_ca=client_ca)
        self._behaviour = BEHAVIOURS[behaviour] if behaviour else Behaviour()
        self.blobs: dict[str, bytes | Path] = {}
        self.manifests: dict[str, dict[str, tuple[bytes, str]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.page_size = page_size
        self.referrers = referrers
        self.service = "fake-registry"
        self._by_token = tokens
        self._issued = IssuedTokens()
        refresh = dict(refresh_tokens or {})
        self.grants = Grants(self._mint, users, public, refresh, expires_in)
        self._redirect = redirect_blobs_to
        self.storage: FakeRegistry | None = None
        self._redirect_uses = redirect_uses
        self._signatures: dict[str, int] = {}
        if redirect_blobs_to is True:
            self.storage = FakeRegistry(tls=tls, redirect_uses=redirect_uses)
            self.storage.blobs = self.blobs

    def start(self) -> None:
        """Start to serve, including the storage."""
        super().start()
        if self.storage is not None:
            self.storage.start()

    def close(self) -> None:
        """Close the port and every connection; responses in progress end early."""
        super().close()
        if self.storage is not None:
            self.storage.close()

    # Content

    def add_blob(self, data: bytes | Path, *, algorithm: str = "sha256") -> str:
        """Add a blob.

        Args:
            data: The content, or the path of a file with it.
            algorithm: ``sha256`` or ``sha512``.

        Returns:
            The digest of the blob.
        """
        if isinstance(data, Path):
            with data.open("rb") as file:
                value = hashlib.file_digest(file, algorithm).hexdigest()
        else:
            value = hashlib.new(algorithm, data).hexdigest()
        self.blobs[f"{algorithm}:{value}"] = data
        return f"{algorithm}:{value}"

    def add_manifest(
        self,
        name: str,
        raw: bytes,
        media_type: str,
        *tags: str,
        digest: str | None = None,
    ) -> str:
        """Add a manifest or index to a repository.

        Args:
            name: The repository.
            raw: The bytes.
            media_type: The media type.
            tags: Tags for the document.
            digest: The digest to serve the document under, instead of the sha256 of the bytes:
                for signed schema1 and for sha512.

        Returns:
            The digest under which the document is served.
        """
        digest = digest or sha256(raw)
        self.manifests.setdefault(name, {})[digest] = (raw, media_type)
        named = self.tags.setdefault(name, {})
        named.update(dict.fromkeys(tags, digest))
        return digest

    def add_image(self, name: str, image: BuiltImage | BuiltIndex, *tags: str) -> str:
        """Add an image, or an index with its images, to a repository.

        Args:
            name: The repository.
            image: The image or index.
            tags: Tags for its root.

        Returns:
            The digest of the root.
        """
        if isinstance(image, BuiltIndex):
            for child in image.images:
                self.add_image(name, child)
            for nested in image.indexes:
                self.add_image(name, nested)
            return self._add_document(name, image.index, *tags)
        for piece in image.blobs():
            self.blobs[piece.digest] = piece.data
        return self._add_document(name, image.manifest, *tags)

    def _add_document(self, name: str, piece: Piece, *tags: str) -> str:
        return self.add_manifest(name, piece.data, piece.media_type, *tags)

    # Tokens

    @property
    def tokens_issued(self) -> int:
        """The number of tokens that the registry has issued."""
        return self.grants.issued

    def revoke_tokens(self) -> None:
        """Make every token issued so far invalid."""
        self._issued.revoke()

    def _mint(self, _user: str, _service: str, access: Access) -> str:
        return self._issued.issue(access, self.grants.expires_in)

    def _refusal(self, request: IncomingRequest, wanted: Access) -> Reply | None:
        """Return the 401 for a request without the access ``wanted``, or None."""
        header = request.headers.get("authorization")
        if self._by_token:
            realm = f"{self.url}/token"
            return token_refusal(header, wanted, self._issued, realm, self.service)
        return basic_refusal(header, self.grants, self.service)

    # Replies

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply that the OCI distribution spec asks for."""
        if request.path == "/token" and self._by_token:
            return self.grants.answer(request)
        if request.method not in {"GET", "HEAD"}:
            return error_reply(405, "UNSUPPORTED")
        if request.path.startswith("/storage/"):
            return self._stored(request, request.path.removeprefix("/storage/"))
        reply = self._behaviour.shape(request, self._api(request))
        reply.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        return reply

    def _api(self, request: IncomingRequest) -> Reply:
        if request.path in {"/v2/", "/v2"}:
            return self._refusal(request, frozenset()) or json_reply(200, {})
        if request.path == "/v2/_catalog":
            wanted = frozenset({("registry", "catalog", "*")})
            return self._refusal(request, wanted) or self._page(
                request, "repositories", sorted(self.manifests), {}
            )
        found = _ROUTE.fullmatch(request.path)
        if found is None:
            return error_reply(404, "NAME_UNKNOWN")
        name, kind, reference = found["name"], found["kind"], found["reference"]
        refusal = self._refusal(request, frozenset({("repository", name, "pull")}))
        if refusal is not None:
            return refusal
        if kind == "blobs":
            return self._redirected(reference) or self._blob(request, reference)
        if name not in self.manifests:
            return error_reply(404, "NAME_UNKNOWN", detail={"name": name})
        if kind == "manifests":
            return self._manifest(name, reference)
        return (
            self._referrers(request, name, reference)
            if kind == "referrers"
            else self._page(request, "tags", sorted(self.tags.get(name, {})), {"name": name})
        )

    def _referrers(self, request: IncomingRequest, name: str, subject: str) -> Reply:
        """Return an index of the documents whose subject is ``subject``."""
        if not self.referrers:
            return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        found = []
        for digest, (raw, media_type) in self.manifests[name].items():
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

    def _manifest(self, name: str, reference: str) -> Reply:
        digest = self.tags[name].get(reference, reference)
        if digest not in self.manifests[name]:
            detail = {"name": name, "reference": reference}
            return error_reply(404, "MANIFEST_UNKNOWN", detail=detail)
        raw, media_type = self.manifests[name][digest]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return Reply(200, headers | {"ETag": f'"{digest}"'}, raw)

    def _redirected(self, digest: str) -> Reply | None:
        target = self.storage.url if self.storage is not None else self._redirect
        if not isinstance(target, str) or digest not in self.blobs:
            return None
        # As in signed addresses of object storage: the query grants access.
        url = f"{target}/storage/{digest}?X-Signature={secrets.token_hex(8)}"
        return Reply(307, {"Location": url, "Docker-Content-Digest": digest})

    def _stored(self, request: IncomingRequest, digest: str) -> Reply:
        """Return the reply of the storage, where an address works a limited number of times."""
        signature = request.value("X-Signature") or ""
        with self._lock:
            used = self._signatures[signature] = self._signatures.get(signature, 0) + 1
        if self._redirect_uses is not None and used > self._redirect_uses:
            body = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            return Reply(403, {"Content-Type": "application/xml"}, body)
        return self._blob(request, digest)

    def _blob(self, request: IncomingRequest, digest: str) -> Reply:
        body = self.blobs.get(digest)
        if body is None:
            return error_reply(404, "BLOB_UNKNOWN", detail={"digest": digest})
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
        }
        return narrow(Reply(200, headers, body), request)

    def _page(
        self, request: IncomingRequest, key: str, names: list[str], more: Mapping[str, str]
    ) -> Reply:
        """Return the page of a list that ``n`` and ``last`` ask for."""
        last, limit = request.value("last"), request.value("n")
        if limit is not None and not limit.isdigit():
            return error_reply(400, "PAGINATION_NUMBER_INVALID")
        rest = [name for name in names if last is None or name > last]
        sizes = [int(limit)] if limit is not None else []
        sizes += [self.page_size] if self.page_size is not None else []
        page = rest[: min(sizes)] if sizes else rest
        headers = {}
        if page and len(page) < len(rest):
            query = f"n={min(sizes)}&last={quote(page[-1])}"
            headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        return json_reply(200, {**more, key: page}, headers)
