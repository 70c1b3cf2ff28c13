"""A registry in memory: the read side of the OCI distribution spec, with faults on request.

It serves what was put into it and nothing else, records every request, and does wrong only what
`FakeRegistry.inject` was told to.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from wherry.testing._behaviours import BEHAVIOURS, Behaviour
from wherry.testing._grants import Access, Grants, basic_credentials
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

    `users` alone means basic authentication; `tokens` means bearer tokens from the registry's own
    ``/token``, for users by password or by one of `refresh_tokens` (token to user), for anybody to
    pull from the `public` repositories (True: all), and for anybody everything without `users`.
    `expires_in` is in seconds; None leaves it out of the answer, and tokens live for 60.
    `redirect_blobs_to` sends clients to another registry's `url` for blobs (which must have them),
    or, with True, to `storage`, a second server with the same blobs.  `redirect_uses` is how often
    an address that was given out works there: later it answers 403, as object storage does when a
    signature has expired.  `page_size` bounds the pages of lists.  `tls` names a certificate chain
    and a key; `client_ca` asks clients for one too.  `behaviour` names a registry whose ways are
    taken on: ``harbor`` and ``artifactory`` answer 404 to strangers, ``keppel`` 403.

    `blobs` may be changed at will: digest to bytes, or to a path for what is too big for memory.
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
        self._valid: dict[str, tuple[Access, float]] = {}
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
        """Serve, and the storage too."""
        super().start()
        if self.storage is not None:
            self.storage.start()

    def close(self) -> None:
        """Close the port and every connection; answers under way end where they are."""
        super().close()
        if self.storage is not None:
            self.storage.close()

    # What the registry holds.

    def add_blob(self, data: bytes | Path, *, algorithm: str = "sha256") -> str:
        """Add a blob and return its digest; a path is served from the file."""
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
        """Add a document to a repository, tag it, and return the digest it is served under.

        `digest` replaces the sha256 of the bytes, for signed schema1 and for sha512.
        """
        digest = digest or sha256(raw)
        self.manifests.setdefault(name, {})[digest] = (raw, media_type)
        named = self.tags.setdefault(name, {})
        named.update(dict.fromkeys(tags, digest))
        return digest

    def add_image(self, name: str, image: BuiltImage | BuiltIndex, *tags: str) -> str:
        """Add an image, or an index with all that it lists, and return the root's digest."""
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

    # Tokens.

    @property
    def tokens_issued(self) -> int:
        """How many tokens the registry has issued."""
        return self.grants.issued

    def revoke_tokens(self) -> None:
        """Take back every token issued so far."""
        self._valid.clear()

    def _mint(self, _user: str, _service: str, access: Access) -> str:
        token = secrets.token_urlsafe(24)
        life = 60 if self.grants.expires_in is None else self.grants.expires_in
        self._valid[token] = (access, time.monotonic() + life)
        return token

    def _refusal(self, request: IncomingRequest, wanted: Access) -> Reply | None:
        """Return the 401 for a request that may not have `wanted`; None for one that may."""
        header = request.headers.get("authorization")
        if self._by_token:
            return self._token_refusal(header, wanted)
        if self.grants.users is None or self.grants.known(basic_credentials(header)):
            return None
        challenge = {"WWW-Authenticate": f'Basic realm="{self.service}"'}
        return error_reply(401, "UNAUTHORIZED", "authentication required", headers=challenge)

    def _token_refusal(self, header: str | None, wanted: Access) -> Reply | None:
        scheme, _, token = (header or "").partition(" ")
        problem = ""
        if scheme.lower() == "bearer":
            access, until = self._valid.get(token, (frozenset[tuple[str, str, str]](), 0.0))
            if time.monotonic() >= until:
                problem = "invalid_token"
            elif wanted <= access:
                return None
            else:
                problem = "insufficient_scope"
        scopes = " ".join(sorted(":".join(entry) for entry in wanted))
        challenge = f'Bearer realm="{self.url}/token",service="{self.service}"'
        challenge += f',scope="{scopes}"' if scopes else ""
        challenge += f',error="{problem}"' if problem else ""
        headers = {"WWW-Authenticate": challenge}
        return error_reply(401, "UNAUTHORIZED", "authentication required", headers=headers)

    # Answers.

    def answer(self, request: IncomingRequest) -> Reply:
        """Answer one request as the distribution spec says."""
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
        """Answer with an index of the documents that name `subject` as theirs."""
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
        # As object storage does it: the right to read is in the query.
        url = f"{target}/storage/{digest}?X-Signature={secrets.token_hex(8)}"
        return Reply(307, {"Location": url, "Docker-Content-Digest": digest})

    def _stored(self, request: IncomingRequest, digest: str) -> Reply:
        """Answer for the storage, where an address is good for so many requests."""
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
        """Answer with the part of a list that `n` and `last` ask for."""
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
