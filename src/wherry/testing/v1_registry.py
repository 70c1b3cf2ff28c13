"""A version 1 registry in memory, with faults on request.

It follows Docker's "The Docker Hub and the Registry v1" and docker-registry 0.9, and records
every request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from wherry.testing._http import HttpServer
from wherry.testing._messages import IncomingRequest, Reply, narrow
from wherry.testing._v1_access import (
    Permit,
    SessionCookies,
    V1Tokens,
    basic_challenge,
    token_challenge,
)
from wherry.testing._v1_content import StoredV1Image, V1Content, full_name
from wherry.testing._v1_writes import V1Writes, refuse, v1_reply

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from wherry.testing.registry import FakeRegistry

__all__ = ["FakeV1Registry"]

_PING = re.compile(r"(?:/v1)?/_ping")
_LIST = re.compile(r"/v1/repositories/(?P<name>[^/]+(?:/[^/]+)??)(?P<last>/images|/?)")
_TAGS = re.compile(r"/v1/repositories/(?P<name>[^/]+(?:/[^/]+)??)/tags(?:/(?P<tag>[^/]+))?")
_IMAGE = re.compile(r"/v1/images/(?P<id>[^/]+)/(?P<kind>ancestry|json|layer|checksum)")
_READS = ("GET", "HEAD")


class FakeV1Registry(V1Content, HttpServer):
    """A version 1 registry on 127.0.0.1; use it as a context manager.

    Without ``tokens`` it is standalone, and ``users`` mean basic authentication for every
    request. With ``tokens`` it is an index with its registry: lists of images want basic
    authentication and give tokens, and all other requests need a token.

    Args:
        users: Passwords by user name.
        tokens: Whether the server is an index that gives tokens.
        public: The repositories that an index lets anonymous clients read, or True for all.
        sessions: Whether a token works for one request only and the reply starts a session
            with a cookie. A standalone registry starts the session after a layer, and refuses
            checksums without it, as docker-registry did until 0.6.
        endpoints: The addresses in ``X-Docker-Endpoints``, ``host:port``; by default the
            server's own. May be changed.
        index: The index for which this server is an endpoint: both have the same content and
            tokens. This server then has no lists of images.
        ranges: Whether layers are served with ``Accept-Ranges: bytes`` and by ``Range``.
        redirect_layers_to: The ``url`` of another registry, to which requests for layers are
            redirected. It serves them without authentication.
        v2: A registry of the version 2 protocol that answers for ``/v2/`` at this address too.
            Start it as well if it has tokens or a storage.
        version: The value of ``X-Docker-Registry-Version``.
        tls: Files of a certificate chain and its key; None serves plain HTTP.
        client_ca: File of an authority; clients must then show a certificate that it signed.

    Attributes:
        images: The images by id; may be changed.
        lists: By repository: the checksum of each image id, or an empty string.
        tags: By repository: the image id of each tag.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tokens: bool = False,
        public: Collection[str] | Literal[True] = (),
        sessions: bool = False,
        endpoints: Sequence[str] | None = None,
        index: FakeV1Registry | None = None,
        ranges: bool = True,
        redirect_layers_to: str | None = None,
        v2: FakeRegistry | None = None,
        version: str = "0.9.1",
        tls: tuple[Path | str, Path | str] | None = None,
        client_ca: Path | str | None = None,
    ) -> None:
        V1Content.__init__(self)
        HttpServer.__init__(self, tls=tls, client_ca=client_ca)
        self._tokens = V1Tokens(users, public, single_use=sessions)
        self._by_token = tokens or index is not None
        self._cookies = SessionCookies() if sessions else None
        self._is_index = index is None
        self.endpoints = list(endpoints) if endpoints is not None else [self.host]
        self.ranges = ranges
        self._redirect = redirect_layers_to
        self._v2 = v2
        self.version = version
        if index is not None:
            self.images, self.lists, self.tags = index.images, index.lists, index.tags
            self._tokens = index._tokens  # noqa: SLF001 - of the same class
        self._writes = V1Writes(self)

    @property
    def tokens_issued(self) -> int:
        """The number of tokens that the index has issued."""
        return self._tokens.issued

    def revoke_tokens(self) -> None:
        """Make every token issued so far invalid; sessions go on."""
        self._tokens.revoke()

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply that the protocol asks for."""
        if self._v2 is not None and request.path.startswith("/v2/"):
            return self._v2.answer(request)
        reply = self._route(request)
        reply.headers.setdefault("X-Docker-Registry-Version", self.version)
        reply.headers.setdefault("X-Docker-Registry-Config", "common")
        return reply

    def _route(self, request: IncomingRequest) -> Reply:
        if _PING.fullmatch(request.path):
            reply = v1_reply()
            reply.set("X-Docker-Registry-Standalone", str(not self._by_token))
            return reply
        if request.path.startswith("/storage/"):
            image = self.images.get(request.path.removeprefix("/storage/"))
            return self._layer(request, image) if image is not None else _not_found()
        if self._is_index and request.path.rstrip("/") == "/v1/users":
            is_known = self._tokens.has_basic(request)
            return v1_reply("OK") if is_known else basic_challenge()
        found = _TAGS.fullmatch(request.path) or _IMAGE.fullmatch(request.path)
        if found is not None:
            return self._admitted(request, found)
        found = _LIST.fullmatch(request.path) if self._is_index else None
        if found is not None:
            return self._list(request, full_name(found["name"]), found["last"])
        return _not_found()

    # The index

    def _list(self, request: IncomingRequest, name: str, last: str) -> Reply:
        """Return the reply to a request for a list of images, or to one that sends it."""
        is_read = request.method in _READS
        access = "read" if is_read else "write"
        has_token = False
        if last == "/images" and request.method == "PUT" and self._by_token:
            # The end of a push; engines send either.
            permit = self._tokens.redeem(request.headers.get("authorization"))
            has_token = permit == Permit(name, "write")
        if not has_token and not self._tokens.has_basic(request, name, access):
            return basic_challenge()
        if is_read and last == "/images":
            reply = self._images(name)
        elif request.method == "PUT":
            reply = self._writes.put_list(request, name, is_last=last == "/images")
        else:
            return refuse("Method not allowed", 405)
        if reply.status == 200:
            self._add_grant(request, reply, name, access)
        return reply

    def _images(self, name: str) -> Reply:
        if name not in self.lists:
            return refuse("images not found", 404)
        listed = self.lists[name].items()
        return v1_reply(
            [{"id": each} | ({"checksum": value} if value else {}) for each, value in listed]
        )

    def _add_grant(self, request: IncomingRequest, reply: Reply, name: str, access: str) -> None:
        """Add the endpoints, and a token if the client asked for one."""
        reply.set("X-Docker-Endpoints", ", ".join(self.endpoints))
        if request.headers.get("x-docker-token") == "true":
            token = self._tokens.issue(name, access)
            reply.set("X-Docker-Token", token)
            reply.set("WWW-Authenticate", f"Token {token}")

    # The registry

    def _admitted(self, request: IncomingRequest, route: re.Match[str]) -> Reply:
        """Return the reply to a request for tags or images, or the refusal of the request."""
        parts = route.groupdict()
        name = full_name(parts["name"]) if "name" in parts else None
        permit, cookie = None, ""
        if self._by_token:
            permit, cookie = self._permit(request)
            if permit is None or not _suffices(permit, name, request.method):
                return token_challenge()
        elif not self._tokens.has_basic(request):
            return basic_challenge()
        if name is not None:
            reply = self._tag(request, name, parts["tag"])
        else:
            reply = self._image(request, parts["id"], parts["kind"], permit and permit.name)
        if cookie:
            reply.set("Set-Cookie", cookie)
        return reply

    def _permit(self, request: IncomingRequest) -> tuple[Permit | None, str]:
        """Return what a request may do, and the cookie of a session that starts with it."""
        if self._cookies is not None and self._cookies.is_open(request):
            return self._cookies.permit(request), ""
        permit = self._tokens.redeem(request.headers.get("authorization"))
        if permit is None or self._cookies is None:
            return permit, ""
        return permit, self._cookies.start(permit)

    def _tag(self, request: IncomingRequest, name: str, tag: str | None) -> Reply:
        if request.method == "PUT" and tag is not None:
            return self._writes.put_tag(request, name, tag)
        if request.method not in _READS:
            return refuse("Method not allowed", 405)
        tags = self.tags.get(name)
        if tags is None:
            return refuse("Repository not found", 404)
        if tag is None:
            return v1_reply(tags)
        return v1_reply(tags[tag]) if tag in tags else refuse("Tag not found", 404)

    def _image(self, request: IncomingRequest, image_id: str, kind: str, name: str | None) -> Reply:
        """Return the reply to a request for an image; ``name`` is the repository of its token."""
        if request.method == "PUT":
            return self._put_image(request, image_id, kind, name)
        if request.method not in _READS or kind == "checksum":
            return refuse("Method not allowed", 405)
        image = self.images.get(image_id)
        if image is None or (name is not None and image_id not in self.lists.get(name, {})):
            return refuse("Image not found", 404)
        if not image.is_complete:
            return refuse("Image is being uploaded, retry later")
        if kind == "ancestry":
            return v1_reply(self.ancestry(image_id))
        if kind == "layer":
            if self._redirect is not None:
                return Reply(302, {"Location": f"{self._redirect}/storage/{image_id}"})
            return self._layer(request, image)
        headers = {"Content-Type": "application/json", "X-Docker-Size": str(image.size)}
        return Reply(200, headers, image.json)

    def _put_image(
        self, request: IncomingRequest, image_id: str, kind: str, name: str | None
    ) -> Reply:
        has_session = self._cookies is not None and self._cookies.is_open(request)
        if kind == "json":
            return self._writes.put_json(request, image_id, name)
        if kind == "layer":
            reply = self._writes.put_layer(request, image_id)
            if self._cookies is not None and not has_session and not self._by_token:
                reply.set("Set-Cookie", self._cookies.start(None))
            return reply
        if kind != "checksum":
            return refuse("Method not allowed", 405)
        if self._cookies is not None and not has_session:
            return refuse("Checksum not found in Cookie")
        return self._writes.put_checksum(request, image_id)

    def _layer(self, request: IncomingRequest, image: StoredV1Image) -> Reply:
        reply = Reply(200, {"Content-Type": "application/octet-stream"}, image.layer or b"")
        if not self.ranges:
            return reply
        reply.set("Accept-Ranges", "bytes")
        return narrow(reply, request)


def _suffices(permit: Permit, name: str | None, method: str) -> bool:
    """Tell whether a token or session allows a request; tokens to write can also read."""
    return name in {None, permit.name} and (method in _READS or permit.access == "write")


def _not_found() -> Reply:
    return Reply(404, {"Content-Type": "text/html"}, b"<h1>Not Found</h1>\n")
