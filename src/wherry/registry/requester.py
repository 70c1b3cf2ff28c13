"""One call to one endpoint: by the scheme that works, and behind redirects."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.errors import NetworkError
from wherry.model.record import Record
from wherry.registry.certs_d import TlsSettings
from wherry.registry.http.connect_errors import TlsUnavailable
from wherry.registry.http.redirect import MAX_REDIRECTS, REDIRECT_STATUSES, origin, redirect_target
from wherry.registry.http.request import HttpRequest, public_url
from wherry.registry.status_errors import MAX_ERROR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.registry.hosts import Endpoint, Hosts
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.http.transport import Transport

_BAD_REQUEST = 400


class Call(Record):
    """A request to a registry, before its address and credentials are settled.

    ``path`` begins with ``/v2/``; ``repository`` and ``actions`` make up the token's scope.
    ``unasked``: credentials are sent even if the registry does not ask for any. ``verified``: a
    digest verifies what is served, whichever way it came.
    """

    method: str
    path: str
    repository: str
    actions: str = "pull"
    headers: Mapping[str, str] = MappingProxyType({})
    unasked: bool = False
    verified: bool = False

    @property
    def scope(self) -> str:
        """What a token has to be good for (distribution spec, token scopes); "" for nothing."""
        if not self.repository:
            return ""
        return f"repository:{self.repository}:{self.actions}"


class HostState:
    """What is known of a host: the scheme that works, and how it asks for credentials.

    ``peer`` is the address that the ``challenges`` came from. ``is_open``: ``/v2/`` has been
    asked for a challenge, and has none.
    """

    def __init__(self) -> None:
        self.scheme: str | None = None
        self.challenges: Sequence[str] = ()
        self.peer = ""
        self.is_open = False


class Requester:
    """Sends calls with the authorization that they are given. Thread-safe."""

    def __init__(self, transport: Transport, hosts: Hosts) -> None:
        self.transport = transport
        self._hosts = hosts

    def ask(
        self,
        endpoint: Endpoint,
        state: HostState,
        call: Call,
        authorization: str | None,
        cancel: CancelToken,
    ) -> HttpResponse:
        """Send a call and follow redirects; see `is_from_endpoint`."""
        response = self._send(endpoint, state, call, authorization, cancel)
        return self._follow(endpoint, call, response, cancel)

    def _send(
        self,
        endpoint: Endpoint,
        state: HostState,
        call: Call,
        authorization: str | None,
        cancel: CancelToken,
    ) -> HttpResponse:
        """Send by the scheme that is known to work, or try the endpoint's in order."""
        known = state.scheme if state.scheme in endpoint.schemes else None
        schemes = (known,) if known else endpoint.schemes
        dropped: NetworkError | None = None
        for place, scheme in enumerate(schemes):
            request = HttpRequest(
                call.method,
                f"{scheme}://{endpoint.host}{call.path}",
                _with(call.headers, authorization),
                tls=endpoint.tls,
                proxy=endpoint.proxy,
            )
            last = place == len(schemes) - 1
            try:
                response = self.transport.send(request, cancel)
            except NetworkError as error:
                from wherry.registry.http.error_messages import spoke_tls, was_dropped

                if dropped is not None and not spoke_tls(error):
                    raise dropped from None  # it does not speak TLS either
                if not last and scheme == "http" and was_dropped(error):
                    dropped = error
                elif last or not isinstance(error, TlsUnavailable):
                    raise
                continue
            if not last and self._wants_tls(endpoint, response, cancel):
                continue
            state.scheme = scheme
            return response
        raise AssertionError("an endpoint has at least one scheme")

    def _wants_tls(self, endpoint: Endpoint, response: HttpResponse, cancel: CancelToken) -> bool:
        """Return whether a plain request was answered by "speak TLS".

        nginx, Tomcat and servers in Go answer 400 with such words, others redirect to the same
        host.
        The answer to a HEAD has no words: then the registry is asked once more for some.
        """
        if not response.request.url.startswith("http:"):
            return False
        if response.status in REDIRECT_STATUSES:
            there = urlsplit(
                redirect_target(response.request.url, response.header("Location")) or ""
            )
            return there.scheme == "https" and there.netloc == endpoint.host
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

    def _follow(
        self, endpoint: Endpoint, call: Call, response: HttpResponse, cancel: CancelToken
    ) -> HttpResponse:
        """Follow redirects; credentials stay behind where scheme, host or port change."""
        authorization = response.request.headers.get("Authorization")
        is_protected = endpoint.tls.verify and origin(response.request.url)[0] == "https"
        for _ in range(MAX_REDIRECTS):
            if response.status not in REDIRECT_STATUSES or not response.header("Location"):
                return response
            here = response.request.url
            response.drain()
            there = redirect_target(here, response.header("Location"))
            if there is None:
                break
            if is_protected and not call.verified and origin(there)[0] == "http":
                raise _leaves_tls(endpoint, there)
            authorization = authorization if origin(there) == origin(here) else None
            headers = _with(call.headers, authorization)
            tls = self.tls(endpoint, there)
            request = HttpRequest(call.method, there, headers, tls=tls, proxy=endpoint.proxy)
            response = self.transport.send(request, cancel)
        else:
            response.close()
        raise NetworkError(
            "it redirects in a circle or to no usable address",
            host=endpoint.name,
            transient=False,
        ).within(endpoint.name)

    def tls(self, endpoint: Endpoint, url: str) -> TlsSettings:
        """Return how to meet an address that ``endpoint`` sends us to.

        What vouches for the endpoint may vouch for it too; certificates of ours that the
        endpoint may ask for are for nobody else.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        if host == endpoint.host:
            return endpoint.tls
        found = self._hosts.certificates(host)
        authorities = endpoint.tls.authorities + found.authorities
        return TlsSettings(endpoint.tls.verify, authorities, found.pairs)


def is_from_endpoint(response: HttpResponse, endpoint: Endpoint, state: HostState) -> bool:
    """Return whether a response is the endpoint's own, and not of a host it redirects to."""
    return origin(response.request.url) == origin(f"{state.scheme}://{endpoint.host}")


def _leaves_tls(endpoint: Endpoint, there: str) -> NetworkError:
    return NetworkError(
        f"redirects from https to plain http ({public_url(there)}), where no "
        "digest verifies the answer",
        host=endpoint.name,
        transient=False,
        hint="to follow it all the same: --insecure",
    ).within(endpoint.name)


def _with(headers: Mapping[str, str], authorization: str | None) -> dict[str, str]:
    return dict(headers) | ({"Authorization": authorization} if authorization else {})


def _is_json(response: HttpResponse) -> bool:
    return response.header("Content-Type").startswith("application/json")
