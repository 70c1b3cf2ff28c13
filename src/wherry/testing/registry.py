"""A registry in memory: the OCI distribution spec, with faults on request.

It serves what was added to it and what clients push, records every request, and follows
the spec except for the faults that `FakeRegistry.inject` adds.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Literal

from wherry.testing._behaviours import BEHAVIOURS, Behaviour
from wherry.testing._challenges import IssuedTokens, basic_refusal, token_refusal
from wherry.testing._content import RegistryContent
from wherry.testing._grants import Access, Grants
from wherry.testing._http import HttpServer
from wherry.testing._lists import page_reply, referrers_reply
from wherry.testing._manifest_writes import ManifestOptions, ManifestWrites
from wherry.testing._messages import IncomingRequest, Reply, error_reply, json_reply, narrow
from wherry.testing._upload_sessions import FakeUploads, UploadFeatures

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from wherry.testing._behaviours import RegistryName

__all__ = ["FakeRegistry"]

_UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<session>[^/]*)")
_ROUTE = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)"
)


class FakeRegistry(RegistryContent, HttpServer):
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
        like: A registry whose deviations from the spec are taken over (docs/testing.md lists
            them). Without it, uploads are handled as Distribution 3 does.
        takes_tags: Whether PUT of a manifest by its digest takes ``?tag=`` (OCI distribution
            spec 1.2).
        takes_sparse: Whether an index may list manifests that the repository lacks.
        compares_etags: Whether PUT of a manifest compares ``If-Match``; Distribution ignores it.
        mounts_from_any: Whether a mount without ``from`` finds blobs of other repositories.
        chunk_min_length: The ``OCI-Chunk-Min-Length`` of uploads in bytes, or None.
        warning: The text of a ``Warning: 299`` in each reply; may be changed.
        pull_limit: The number of GETs of manifests that ``like="hub"`` allows before 429.

    Attributes:
        blobs: The blobs by digest, as bytes or as the path of a file; may be changed. A blob that
            is added here or by `add_blob` is visible in every repository.
        manifests: By repository: the bytes and media type of each manifest by digest.
        tags: By repository: the digest of each tag.
        storage: The second server for blobs, if there is one.
        uploads: The upload sessions of clients.
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
        like: RegistryName | None = None,
        takes_tags: bool = False,
        takes_sparse: bool = False,
        compares_etags: bool = False,
        mounts_from_any: bool = False,
        chunk_min_length: int | None = None,
        warning: str = "",
        pull_limit: int = 100,
    ) -> None:
        RegistryContent.__init__(self)
        HttpServer.__init__(self, tls=tls, client_ca=client_ca)
        behaviour = self._behaviour = BEHAVIOURS[like] if like else Behaviour()
        self.uploads = FakeUploads(
            self, behaviour, UploadFeatures(chunk_min_length, mounts_from_any)
        )
        options = ManifestOptions(
            takes_tags=takes_tags, takes_sparse=takes_sparse, compares_etags=compares_etags
        )
        self._writes = ManifestWrites(self, behaviour, options)
        self.warning = warning
        self.pull_limit = pull_limit
        self._puts = self._pulls = 0
        self.page_size = page_size
        self.referrers = referrers and behaviour.has_referrers
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
        self.uploads.close()
        if self.storage is not None:
            self.storage.close()

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
            query = self._behaviour.realm_query
            realm = f"{self.url}/token?{query}" if query else f"{self.url}/token"
            return token_refusal(header, wanted, self._issued, realm, self.service)
        return basic_refusal(header, self.grants, self.service)

    # Replies

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply that the OCI distribution spec asks for."""
        if request.path == "/token" and self._by_token:
            return self.grants.answer(request)
        if request.path.startswith("/storage/"):
            if request.method not in {"GET", "HEAD"}:
                return error_reply(405, "UNSUPPORTED")
            return self._stored(request, request.path.removeprefix("/storage/"))
        reply = self._behaviour.shape(request, self._throttled(request) or self._api(request))
        reply.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        if self.warning:
            reply.headers.setdefault("Warning", f'299 - "{self.warning}"')
        return reply

    def _throttled(self, request: IncomingRequest) -> Reply | None:
        """Return the 429 of a registry that limits PUTs or GETs of manifests."""
        behaviour = self._behaviour
        if behaviour.throttles_puts and request.method == "PUT":
            with self._lock:
                self._puts += 1
                if self._puts % 3 == 2:
                    return error_reply(429, "TOOMANYREQUESTS", "Rate exceeded")
        if behaviour.counts_pulls and request.method == "GET" and "/manifests/" in request.path:
            with self._lock:
                self._pulls += 1
                if self._pulls > self.pull_limit:
                    return error_reply(429, "TOOMANYREQUESTS", headers=self._rate_limit())
        return None

    def _rate_limit(self) -> dict[str, str]:
        left = max(0, self.pull_limit - self._pulls)
        names = {"RateLimit-Limit": self.pull_limit, "RateLimit-Remaining": left}
        return {name: f"{value};w=21600" for name, value in names.items()}

    def _api(self, request: IncomingRequest) -> Reply:
        if request.path in {"/v2/", "/v2", "/v2/_catalog"}:
            return self._registry_reply(request)
        upload = _UPLOAD.fullmatch(request.path)
        if upload is not None:
            return self._refusal(request, _access(request, upload["name"])) or (
                self.uploads.answer(request, upload["name"], upload["session"])
            )
        found = _ROUTE.fullmatch(request.path)
        if found is None:
            return error_reply(404, "NAME_UNKNOWN")
        name, kind, reference = found["name"], found["kind"], found["reference"]
        refusal = self._refusal(request, self._wanted(request, name, kind))
        if refusal is not None:
            return refusal
        answer = self._read if request.method in {"GET", "HEAD"} else self._write
        return answer(request, name, kind, reference)

    def _read(self, request: IncomingRequest, name: str, kind: str, reference: str) -> Reply:
        if kind == "blobs":
            return self._redirected(reference) or self._blob(request, reference, name)
        if name not in self.manifests:
            return error_reply(404, "NAME_UNKNOWN", detail={"name": name})
        if kind == "manifests":
            return self._manifest(name, reference)
        if kind == "tags":
            return self._page(request, "tags", sorted(self.tags.get(name, {})), {"name": name})
        if not self.referrers:
            return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        return referrers_reply(request, self.manifests[name], reference)

    def _page(
        self,
        request: IncomingRequest,
        key: str,
        names: list[str],
        more: Mapping[str, str] | None = None,
    ) -> Reply:
        has_odd_links = self._behaviour.has_odd_links
        return page_reply(
            request, key, names, more or {}, self.page_size, has_odd_links=has_odd_links
        )

    def _registry_reply(self, request: IncomingRequest) -> Reply:
        """Return the reply to the version check or to a request for the catalog."""
        if request.method not in {"GET", "HEAD"}:
            return error_reply(405, "UNSUPPORTED")
        if request.path != "/v2/_catalog":
            return self._refusal(request, frozenset()) or json_reply(200, {})
        wanted = frozenset({("registry", "catalog", "*")})
        names = sorted(self.manifests)
        return self._refusal(request, wanted) or self._page(request, "repositories", names)

    def _wanted(self, request: IncomingRequest, name: str, kind: str) -> Access:
        """Return the access that the registry's challenge asks for."""
        if kind == "tags" and self._behaviour.wants_metadata_read:
            has_token = "authorization" in request.headers
            return frozenset({("repository", name, "metadata_read" if has_token else "pull")})
        return _access(request, name)

    def _write(self, request: IncomingRequest, name: str, kind: str, reference: str) -> Reply:
        match request.method, kind:
            case "PUT", "manifests":
                return self._writes.put(request, name, reference, has_referrers=self.referrers)
            case "DELETE", "manifests":
                return self._writes.delete(name, reference)
            case "DELETE", "blobs":
                if self._behaviour.delete_status != 202:
                    return error_reply(self._behaviour.delete_status, "UNSUPPORTED")
                if not self.has_blob(name, reference):
                    return error_reply(404, "BLOB_UNKNOWN")
                self.delete_blob(name, reference)
                return Reply(202)
            case _:
                pass
        return error_reply(405, "UNSUPPORTED")

    def _manifest(self, name: str, reference: str) -> Reply:
        digest = self.tags[name].get(reference, reference)
        if self._behaviour.resolves_digest_tags and reference not in self.tags[name]:
            digest = digest.replace("-", ":", 1)
        if digest not in self.manifests[name]:
            detail = {"name": name, "reference": reference}
            return error_reply(404, "MANIFEST_UNKNOWN", detail=detail)
        raw, media_type = self.manifests[name][digest]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        if self._behaviour.counts_pulls:
            headers |= self._rate_limit()
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

    def _blob(self, request: IncomingRequest, digest: str, name: str | None = None) -> Reply:
        """Return the reply with a blob of a repository, or of the storage without a name."""
        is_visible = name is None or self.has_blob(name, digest)
        body = self.blobs.get(digest) if is_visible else None
        if body is None:
            return error_reply(404, "BLOB_UNKNOWN", detail={"digest": digest})
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
        }
        return narrow(Reply(200, headers, body), request)


def _access(request: IncomingRequest, name: str) -> Access:
    """Return the access that Distribution asks for."""
    actions = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}
    wanted = {
        ("repository", name, action) for action in actions.get(request.method, ("pull", "push"))
    }
    source = request.value("from")
    if source is not None:
        wanted.add(("repository", source, "pull"))
    return frozenset(wanted)
