"""Sending a call to an endpoint: http or https, and redirects."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.errors import NetworkError
from wherry.model.record import Record
from wherry.registry.certs_d import TlsSettings
from wherry.registry.http.connect_errors import TlsUnavailable
from wherry.registry.http.redirect import (
    KEEP_METHOD,
    MAX_REDIRECTS,
    REDIRECT_STATUSES,
    leaves_tls,
    origin,
    redirect_target,
)
from wherry.registry.http.request import HttpRequest, public_url
from wherry.registry.status_errors import MAX_ERROR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.registry.hosts import Endpoint, Hosts
    from wherry.registry.http.request_body import StreamBody
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.http.transport import Transport

_BAD_REQUEST = 400


class Call(Record):
    """A request to a registry before its URL is settled.

    ``path`` begins with ``/v2/``. ``repository`` and ``actions`` make up the token's scope. With
    ``preemptive`` credentials are sent even without a challenge (RFC 7617, 2.2).
    ``is_verified`` says that a digest verifies the response, whatever host serves it.
    ``authorization`` and ``cookie`` are the values of headers that only the origin gets which
    the call is for. ``more_scopes`` are wanted from the same token. A call with a body,
    ``stream`` or bytes, is redirected with it. With ``public_only`` it is not sent to a peer with
    a private address.
    """

    method: str
    path: str
    repository: str
    actions: str = "pull"
    headers: Mapping[str, str] = MappingProxyType({})
    preemptive: bool = False
    is_verified: bool = False
    authorization: str | None = None
    more_scopes: tuple[str, ...] = ()
    body: bytes | None = None
    stream: StreamBody | None = None
    cookie: str | None = None
    public_only: bool = False

    @property
    def scope(self) -> str:
        """The scopes that a token needs (distribution, Token Scope Documentation), or ""."""
        own = (f"repository:{self.repository}:{self.actions}",) if self.repository else ()
        return " ".join((*own, *self.more_scopes))

    @property
    def is_write(self) -> bool:
        """Whether the call changes something on the server."""
        return self.method not in {"GET", "HEAD"}

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, including ``Authorization`` and ``Cookie``."""
        headers = dict(self.headers)
        if self.authorization:
            headers["Authorization"] = self.authorization
        if self.cookie:
            headers["Cookie"] = self.cookie
        return headers


class HostState:
    """What a session has learned about a host.

    ``scheme`` is the one that works, ``challenges`` are those that the host sent, ``peer`` is
    the address that they came from. ``is_open`` says that ``/v2/`` sends no challenge.
    """

    def __init__(self) -> None:
        self.scheme: str | None = None
        self.challenges: Sequence[str] = ()
        self.peer = ""
        self.is_open = False


class Requester:
    """Sends calls with the authorization that they have. Thread-safe."""

    def __init__(self, transport: Transport, hosts: Hosts) -> None:
        self.transport = transport
        self._hosts = hosts

    def send(
        self, endpoint: Endpoint, state: HostState, call: Call, cancel: CancelToken
    ) -> HttpResponse:
        """Send a call and follow redirects; see `is_from_endpoint`."""
        response = self._send_by_scheme(endpoint, state, call, cancel)
        return self._follow_redirects(endpoint, call, response, cancel)

    def _send_by_scheme(
        self, endpoint: Endpoint, state: HostState, call: Call, cancel: CancelToken
    ) -> HttpResponse:
        """Send by the scheme that is known to work, or try the schemes in order."""
        known = state.scheme if state.scheme in endpoint.schemes else None
        schemes = (known,) if known else endpoint.schemes
        dropped: NetworkError | None = None
        for scheme in schemes:
            request = HttpRequest(
                call.method,
                f"{scheme}://{endpoint.host}{call.path}",
                call.all_headers,
                call.body,
                tls=endpoint.tls,
                public_only=call.public_only,
                proxy=endpoint.proxy,
                stream=call.stream,
            )
            is_last = scheme == schemes[-1]
            try:
                response = self.transport.send(request, cancel)
            except NetworkError as error:
                from wherry.registry.http.error_messages import spoke_tls, was_dropped

                if dropped is not None and not spoke_tls(error):
                    raise dropped from None  # the server does not speak TLS either
                if not is_last and scheme == "http" and was_dropped(error):
                    dropped = error
                elif is_last or not isinstance(error, TlsUnavailable):
                    raise
                continue
            if not is_last and self._wants_tls(endpoint, response, cancel):
                continue
            state.scheme = scheme
            return response
        raise AssertionError("an endpoint has at least one scheme")

    def _wants_tls(self, endpoint: Endpoint, response: HttpResponse, cancel: CancelToken) -> bool:
        """Return whether a server responded to plain http by asking for TLS.

        nginx, Tomcat and servers in Go send a 400 whose text says so. Others redirect to https
        on the same host. A response to HEAD has no text, so a GET of ``/v2/`` follows it.
        """
        if not response.request.url.startswith("http:"):
            return False
        if response.status in REDIRECT_STATUSES:
            location = response.header("Location")
            target = urlsplit(redirect_target(response.request.url, location) or "")
            return target.scheme == "https" and target.netloc == endpoint.host
        if response.status != _BAD_REQUEST or _is_json(response):
            return False
        if response.request.method == "HEAD":
            response.drain()
            probe = HttpRequest("GET", f"http://{endpoint.host}/v2/", proxy=endpoint.proxy)
            response = self.transport.send(probe, cancel)
            if response.status != _BAD_REQUEST or _is_json(response):
                response.close()
                return False
        body = response.read(MAX_ERROR)
        return any(word in body for word in (b"HTTPS", b"TLS", b"SSL"))

    def _follow_redirects(
        self, endpoint: Endpoint, call: Call, response: HttpResponse, cancel: CancelToken
    ) -> HttpResponse:
        """Follow redirects; drop the credentials where scheme, host or port change.

        A call that writes follows only those that keep its method (RFC 9110, 15.4), never
        from https to http, nor from a public address to a private one.
        """
        is_protected = call.is_write or (endpoint.tls.verify and not call.is_verified)
        url = response.request.url
        public_only = call.is_write and has_public_peer(response)
        for _ in range(MAX_REDIRECTS):
            followed = KEEP_METHOD if call.is_write else REDIRECT_STATUSES
            if response.status not in followed or not response.header("Location"):
                return response
            here = response.request.url
            response.drain()
            target = redirect_target(here, response.header("Location"))
            if target is None:
                break
            if is_protected and leaves_tls(url, target):
                raise _leaves_tls_error(endpoint, target)
            if origin(target) != origin(here):
                call = call.replace(authorization=None, cookie=None)
            request = HttpRequest(
                call.method,
                target,
                call.all_headers,
                call.body,
                self.tls(endpoint, target),
                public_only and origin(target) != origin(url),
                endpoint.proxy,
                call.stream,
            )
            response = self.transport.send(request, cancel)
        else:
            response.close()
        raise NetworkError(
            "it redirects in a loop or to an unusable address",
            host=endpoint.name,
            transient=False,
        ).within(endpoint.name)

    def send_elsewhere(
        self, endpoint: Endpoint, url: str, call: Call, cancel: CancelToken, *, public_only: bool
    ) -> HttpResponse:
        """Send a call to a URL of another host, without credentials; follow no redirects."""
        request = HttpRequest(
            call.method,
            url,
            call.headers,
            call.body,
            self.tls(endpoint, url),
            public_only,
            endpoint.proxy,
            call.stream,
        )
        return self.transport.send(request, cancel)

    def tls(self, endpoint: Endpoint, url: str) -> TlsSettings:
        """Return the TLS settings for a URL that ``endpoint`` refers to.

        The endpoint's authorities are trusted for it as well. Client certificates for the
        endpoint are not shown to other hosts.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        if host == endpoint.host:
            return endpoint.tls
        found = self._hosts.certificates(host)
        authorities = endpoint.tls.authorities + found.authorities
        return TlsSettings(endpoint.tls.verify, authorities, found.pairs)


def has_public_peer(response: HttpResponse) -> bool:
    """Return whether a response came from a public address; names count as public."""
    from wherry.registry.http.private_address import is_private

    return not is_private(response.peer or urlsplit(response.request.url).hostname or "")


def is_from_endpoint(response: HttpResponse, endpoint: Endpoint, state: HostState) -> bool:
    """Return whether the endpoint itself responded, not a redirect's target."""
    return origin(response.request.url) == origin(f"{state.scheme}://{endpoint.host}")


def _leaves_tls_error(endpoint: Endpoint, target: str) -> NetworkError:
    return NetworkError(
        f"redirects from https to plain http ({public_url(target)}), where no "
        "digest verifies the answer",
        host=endpoint.name,
        transient=False,
        hint="to follow it nevertheless: --insecure",
    ).within(endpoint.name)


def _is_json(response: HttpResponse) -> bool:
    return response.header("Content-Type").startswith("application/json")
