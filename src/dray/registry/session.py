"""What all requests of one client share: connections, tokens, schemes, parsed documents."""

from __future__ import annotations

import collections
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from dray.content.retry import RetryPolicy
from dray.errors import NetworkError, Unauthorized
from dray.model.record import Record
from dray.registry.answers import MAX_ERROR, failure
from dray.registry.asked import Asked, advice
from dray.registry.certificates import Tls
from dray.registry.credentials import CredentialStore
from dray.registry.hosts import Hosts
from dray.registry.kept import Kept
from dray.registry.proxies import Proxies
from dray.registry.transport import Exchange, NoTls, Request, Response, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dray.content.cancel import CancelToken
    from dray.model.digest import Digest
    from dray.model.manifest import Document
    from dray.registry.certificates import Trust
    from dray.registry.connections import Timeouts
    from dray.registry.hosts import Endpoint
    from dray.registry.identity import Identity

MAX_REDIRECTS = 5
# Bytes as served of what is kept, bounded for each kind. Parsed documents take a few times that.
KEPT_DOCUMENTS = 8 * 2**20
KEPT_CONFIGS = 8 * 2**20
KEPT_NAMES = 2**20
_REDIRECTS = {301, 302, 303, 307, 308}
_UNAUTHORIZED = 401
_BAD_REQUEST = 400


class Call(Record):
    """A request to a registry, before its address and credentials are settled.

    ``path`` begins with ``/v2/``; ``repository`` and ``actions`` make up the token's scope.
    """

    method: str
    path: str
    repository: str
    actions: str = "pull"
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def scope(self) -> str:
        """What a token has to be good for (distribution spec, token scopes); "" for nothing."""
        if not self.repository:
            return ""
        return f"repository:{self.repository}:{self.actions}"


class _HostState:
    """What is known of a host: the scheme that works and how it wants to be asked."""

    def __init__(self) -> None:
        self.scheme: str | None = None
        self.challenges: Sequence[str] = ()


class Session:
    """Sends calls with the right scheme and credentials. Thread-safe.

    What was fetched and verified is kept: ``documents`` parsed, ``configs`` as bytes, and under
    ``names`` what tags stood for when they were last asked for.
    """

    def __init__(
        self,
        *,
        connections: int,
        credentials: CredentialStore | None = None,
        hosts: Hosts | None = None,
        proxies: Proxies | None = None,
        trust: Trust | None = None,
        timeouts: Timeouts | None = None,
        policy: RetryPolicy | None = None,
        limit_rate: float | None = None,
        on_answer: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.policy = policy or RetryPolicy()
        self.credentials = credentials or CredentialStore()
        self.hosts = hosts or Hosts()
        self.proxies = proxies or Proxies()
        self.trust = trust
        self._transport = Transport(
            connections=connections,
            timeouts=timeouts,
            limit_rate=limit_rate,
            proxies=self.proxies,
            trust=trust,
            on_answer=on_answer,
        )
        self._lock = threading.Lock()
        self._hosts: dict[str, _HostState] = collections.defaultdict(_HostState)
        self._identity: Identity | None = None
        self.documents: Kept[Digest, Document] = Kept(KEPT_DOCUMENTS, each=2048)
        self.configs: Kept[Digest, bytes] = Kept(KEPT_CONFIGS, each=256)
        self.names: Kept[str, Digest] = Kept(KEPT_NAMES, each=256)

    def close(self) -> None:
        """Close idle connections; tokens and documents are kept."""
        self._transport.close()

    def forget(self) -> None:
        """Forget who we are, credentials and tokens: somebody has logged in or out."""
        self.credentials.forget()
        with self._lock:
            self._identity = None

    # Calls

    def send(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> Response:
        """Send a call and return the answer, of whatever status but 401 and redirects.

        401 is returned for a HEAD where the same by GET is not refused.

        Raises `Unauthorized`, `NetworkError` and `Cancelled`. Makes no second attempt at
        what failed; asking for a token and following a redirect are part of the first.
        """
        state = self._host(endpoint)
        try:
            return self._send(endpoint, state, call, cancel)
        except Unauthorized as error:
            error.hint = error.hint or advice(self.credentials, endpoint, call.repository)
            self.credentials.forget()  # by the next call there may be others
            raise

    def _send(
        self, endpoint: Endpoint, state: _HostState, call: Call, cancel: CancelToken
    ) -> Response:
        authorization = None
        if state.challenges:  # the host has asked for one before
            authorization = self._authorization(endpoint, state, call, None, cancel)
        for _ in range(3):  # without a token, with one, with one for the scope asked for
            sent = self._send_schemes(endpoint, state, call, authorization, cancel)
            response = self._follow(endpoint, call, sent, cancel)
            # Whoever a redirect leads to has no right to ask for what is the endpoint's.
            here = _origin(response.request.url) == _origin(sent.request.url)
            if response.status != _UNAUTHORIZED or not here:
                return response
            body = response.read(MAX_ERROR)
            state.challenges = response.headers("WWW-Authenticate")
            fresh = self._authorization(endpoint, state, call, authorization, cancel)
            if fresh is None or fresh == authorization:
                break
            authorization = fresh
        if call.method == "HEAD":  # whose answers have no words
            asked = call.replace(method="GET")
            again = self._send_schemes(endpoint, state, asked, authorization, cancel)
            body = again.read(MAX_ERROR)
            if again.status != _UNAUTHORIZED:
                return response  # it is HEAD that is refused
        what = f"{endpoint.name}/{call.repository}" if call.repository else endpoint.name
        raise failure(response, body, what, endpoint.name, scope=call.scope)

    def asks_for(self, endpoint: Endpoint) -> str:
        """Say how an endpoint, once asked, wanted to know who is asking; "" if it did not."""
        from dray.registry.auth import describe

        return describe(self._host(endpoint).challenges)

    def send_anonymous(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> Response:
        """Send a request that is nobody's in particular, and follow redirects."""
        # With a state of its own: an address in a manifest must not teach how to ask a registry.
        response = self._send_schemes(endpoint, _HostState(), call, None, cancel)
        return self._follow(endpoint, call, response, cancel)

    def _host(self, endpoint: Endpoint) -> _HostState:
        with self._lock:
            return self._hosts[endpoint.host]

    def _send_schemes(
        self,
        endpoint: Endpoint,
        state: _HostState,
        call: Call,
        authorization: str | None,
        cancel: CancelToken,
    ) -> Response:
        """Send by the scheme that is known to work, or try the endpoint's in order."""
        known = state.scheme if state.scheme in endpoint.schemes else None
        schemes = (known,) if known else endpoint.schemes
        for place, scheme in enumerate(schemes):
            request = Request(
                call.method,
                f"{scheme}://{endpoint.host}{call.path}",
                _with(call.headers, authorization),
                tls=endpoint.tls,
            )
            last = place == len(schemes) - 1
            try:
                response = self._transport.send(request, cancel)
            except NoTls:
                if last:
                    raise
                continue
            if not last and self._wants_tls(endpoint, response, cancel):
                continue
            state.scheme = scheme
            return response
        raise AssertionError("an endpoint has at least one scheme")

    def _wants_tls(self, endpoint: Endpoint, response: Response, cancel: CancelToken) -> bool:
        """Tell whether a plain request was answered by "speak TLS", as Go and nginx word it.

        The answer to a HEAD has no words: then the registry is asked once more for some.
        """
        plain = response.request.url.startswith("http:")
        if not plain or response.status != _BAD_REQUEST or _is_json(response):
            return False
        if response.request.method == "HEAD":
            response.drain()
            probe = Request("GET", f"http://{endpoint.host}/v2/")
            response = self._transport.send(probe, cancel)
            if response.status != _BAD_REQUEST or _is_json(response):
                response.close()
                return False
        return b"HTTPS" in response.read(MAX_ERROR)

    def _follow(
        self, endpoint: Endpoint, call: Call, response: Response, cancel: CancelToken
    ) -> Response:
        """Follow redirects; credentials stay behind where scheme, host or port change."""
        authorization = response.request.headers.get("Authorization")
        for _ in range(MAX_REDIRECTS):
            if response.status not in _REDIRECTS or not response.header("Location"):
                return response
            here = response.request.url
            response.drain()
            there = _target(here, response.header("Location"))
            if there is None:
                break
            authorization = authorization if _origin(there) == _origin(here) else None
            headers = _with(call.headers, authorization)
            request = Request(call.method, there, headers, tls=self._tls(endpoint, there))
            response = self._transport.send(request, cancel)
        else:
            response.close()
        raise NetworkError(
            f"{endpoint.name}: it redirects in a circle or to no usable address",
            host=endpoint.name,
            transient=False,
        )

    def _authorization(
        self,
        endpoint: Endpoint,
        state: _HostState,
        call: Call,
        refused: str | None,
        cancel: CancelToken,
    ) -> str | None:
        """Return a header to send, other than ``refused``; None if there is none to try."""
        from dray.registry.identity import Identity

        with self._lock:
            if self._identity is None:
                self._identity = Identity(self.credentials, self._transport, self._tls)
        asked = Asked(
            endpoint,
            f"{state.scheme or endpoint.schemes[0]}://{endpoint.host}",
            call.repository,
            call.scope,
            state.challenges,
        )
        return self._identity.header(asked, refused, cancel)

    def _tls(self, endpoint: Endpoint, url: str) -> Tls:
        """Return how to meet an address that ``endpoint`` sends us to.

        What vouches for the endpoint may vouch for it too; certificates of ours that the
        endpoint may ask for are for nobody else.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        if host == endpoint.host:
            return endpoint.tls
        found = self.hosts.certificates(host)
        authorities = endpoint.tls.authorities + found.authorities
        return Tls(endpoint.tls.verify, authorities, found.pairs)


def _with(headers: Mapping[str, str], authorization: str | None) -> dict[str, str]:
    return dict(headers) | ({"Authorization": authorization} if authorization else {})


def _is_json(response: Response) -> bool:
    return response.header("Content-Type").startswith("application/json")


def _target(here: str, location: str) -> str | None:
    """Return where a redirect leads, None where that is no http or https address."""
    try:
        there = urljoin(here, location)
        parts = urlsplit(there)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return there if usable else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
