"""The state that all requests of a client share: connections, tokens, caches."""

from __future__ import annotations

import collections
import threading
import weakref
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.content.retry import RetryPolicy
from wherry.errors import Cancelled, Unauthorized, WherryError
from wherry.model.secret import SecretUrl
from wherry.registry.auth.access_denied import denial_hint
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.cache import LruCache
from wherry.registry.host_pauses import HostPauses
from wherry.registry.hosts import Hosts
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.redirect import origin
from wherry.registry.http.response import Exchange, HttpResponse
from wherry.registry.http.transport import Transport
from wherry.registry.requester import Call, HostState, Requester
from wherry.registry.server_warnings import ServerWarnings, ShownWarnings

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.registry.auth.authenticator import Authenticator
    from wherry.registry.certs_d import CaBundle, TlsSettings
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.deadlines import Timeouts

# Limits of the caches, in bytes as served. Parsed documents take a few times that.
CACHED_DOCUMENTS = 8 * 2**20
CACHED_CONFIGS = 8 * 2**20
CACHED_NAMES = 2**20
_UNAUTHORIZED = 401
_REFUSALS = {_UNAUTHORIZED, 403, 404}  # some registries hide private repositories behind 403 or 404


class Session:
    """Sends calls with the right scheme and credentials. Thread-safe.

    It caches verified content: parsed ``documents``, ``configs`` as bytes, and in ``names`` the
    digest that each tag had when it was last resolved. ``jobs`` is the number of requests that
    operations may send at a time.
    """

    def __init__(
        self,
        *,
        connections: int,
        jobs: int = 6,
        credentials: CredentialStore | None = None,
        hosts: Hosts | None = None,
        proxies: ProxySettings | None = None,
        ca_bundle: CaBundle | None = None,
        timeouts: Timeouts | None = None,
        policy: RetryPolicy | None = None,
        limit_rate: float | None = None,
        on_response: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.jobs = jobs
        self.policy = policy or RetryPolicy()
        self.credentials = credentials or CredentialStore()
        self.hosts = hosts or Hosts()
        self.proxies = proxies or ProxySettings()
        self.ca_bundle = ca_bundle
        transport = Transport(
            connections=connections,
            timeouts=timeouts,
            limit_rate=limit_rate,
            proxies=self.proxies,
            ca_bundle=ca_bundle,
            on_response=on_response,
        )
        self._requester = Requester(transport, self.hosts)
        self._lock = threading.Lock()
        self._hosts: dict[str, HostState] = collections.defaultdict(HostState)
        self._authenticator: Authenticator | None = None
        self._shown: MutableMapping[CancelToken, ShownWarnings] = weakref.WeakKeyDictionary()
        self.documents: LruCache[Digest, Document] = LruCache(CACHED_DOCUMENTS, overhead=2048)
        self.configs: LruCache[Digest, bytes] = LruCache(CACHED_CONFIGS, overhead=256)
        self.upload_pauses = HostPauses()
        self.names: LruCache[str, Digest] = LruCache(CACHED_NAMES, overhead=256)

    def server_warnings(self, cancel: CancelToken, warn: Callable[[str], None]) -> ServerWarnings:
        """Return what shows the warnings of registries, each once for a call of a client.

        ``cancel`` is the token of the call, and ``warn`` is told the warnings.
        """
        with self._lock:
            return ServerWarnings(self._shown.setdefault(cancel, ShownWarnings()), warn)

    def close(self) -> None:
        """Close idle connections; tokens and documents stay in memory."""
        self._requester.transport.close()

    def forget(self) -> None:
        """Forget credentials and tokens, as after a login or logout."""
        self.credentials.forget()
        with self._lock:
            self._authenticator = None

    def send(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a call, authorized if the registry asks for it, and follow redirects.

        Everything is one attempt, requests for tokens included. Apart from redirects, responses
        of every status are returned:

        - 401 only for a HEAD, if the same request by GET is not refused.
        - 403 and 404 only after the call was sent with credentials, if there are any.

        Raises:
            Unauthorized: The registry refused the credentials, or wants some.
            NetworkError: There is no valid response.
            Cancelled: ``cancel`` was cancelled.
        """
        state = self._host(endpoint)
        try:
            return self._send(endpoint, state, call, cancel)
        except Unauthorized as error:
            error.hint = error.hint or denial_hint(self.credentials, endpoint, call.repository)
            self.credentials.forget()  # a helper may have others by the next call
            raise

    def _send(
        self, endpoint: Endpoint, state: HostState, call: Call, cancel: CancelToken
    ) -> HttpResponse:
        first = None
        if not state.challenges:
            first = self._requester.send(endpoint, state, call, cancel)
            if self._is_final(endpoint, call, first, cancel):
                return first
        from wherry.registry.auth.flow import AuthorizedCall

        authenticator = self._get_authenticator()
        flow = AuthorizedCall(self._requester, authenticator, endpoint, state, call, cancel)
        return flow.send(first)

    def _is_final(
        self, endpoint: Endpoint, call: Call, first: HttpResponse, cancel: CancelToken
    ) -> bool:
        """Return whether no authorization can improve the response to an unauthorized call.

        A push starts with responses of 404. This loads none of the modules for authorization.
        """
        if call.preemptive or first.status not in _REFUSALS:
            return not call.preemptive
        if first.status == _UNAUTHORIZED or first.headers("WWW-Authenticate"):
            return False
        try:
            found = self.credentials.find(
                endpoint.name, call.repository, own=endpoint.own, cancel=cancel
            )
        except Cancelled:
            first.close()
            raise
        except WherryError:
            return False  # the registry may not need what cannot be read
        return found is None

    def describe_challenges(self, endpoint: Endpoint) -> str:
        """Return what the endpoint has challenged calls for; "" if it sent no challenge."""
        from wherry.registry.auth.challenge import describe_challenges

        return describe_challenges(self._host(endpoint).challenges)

    def is_open(self, endpoint: Endpoint) -> bool:
        """Return whether ``/v2/`` of the endpoint is known to need no credentials."""
        return self._host(endpoint).is_open

    def send_as_is(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a call with the authorization that it has, and follow redirects."""
        return self._requester.send(endpoint, self._host(endpoint), call, cancel)

    def tls(self, endpoint: Endpoint, url: str) -> TlsSettings:
        """Return the TLS settings for a URL that an endpoint has named."""
        return self._requester.tls(endpoint, url)

    def send_anonymous(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a call without credentials and follow redirects."""
        # With its own state: the URL of a foreign layer must not change how a registry is asked.
        return self._requester.send(endpoint, HostState(), call, cancel)

    def send_to(
        self, endpoint: Endpoint, url: str, call: Call, cancel: CancelToken, *, public_only: bool
    ) -> HttpResponse:
        """Send a call to a URL that the endpoint has named, as the address of an upload.

        Only a URL of the endpoint's own scheme, host and port gets credentials. With
        ``public_only`` another host must have a public address.
        """
        scheme = self._host(endpoint).scheme or endpoint.schemes[0]
        if origin(url) != origin(f"{scheme}://{endpoint.host}"):
            return self._requester.send_elsewhere(
                endpoint, url, call, cancel, public_only=public_only
            )
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return self.send(endpoint, call.replace(path=SecretUrl(target)), cancel)

    def _host(self, endpoint: Endpoint) -> HostState:
        with self._lock:
            return self._hosts[endpoint.host]

    def _get_authenticator(self) -> Authenticator:
        from wherry.registry.auth.authenticator import Authenticator

        with self._lock:
            if self._authenticator is None:
                self._authenticator = Authenticator(self.credentials, self._requester)
            return self._authenticator
