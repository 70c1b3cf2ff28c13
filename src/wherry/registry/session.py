"""What all requests of one client share: connections, tokens, schemes, parsed documents."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING

from wherry.content.retry import RetryPolicy
from wherry.errors import Unauthorized
from wherry.registry.auth.access_denied import denial_hint
from wherry.registry.auth.credentials import CredentialStore
from wherry.registry.cache import LruCache
from wherry.registry.hosts import Hosts
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.response import Exchange, HttpResponse
from wherry.registry.http.transport import Transport
from wherry.registry.requester import Call, HostState, Requester

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.registry.auth.authenticator import Authenticator
    from wherry.registry.certs_d import CaBundle
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.deadlines import Timeouts

# Bytes as served of what is kept, bounded for each kind. Parsed documents take a few times that.
KEPT_DOCUMENTS = 8 * 2**20
KEPT_CONFIGS = 8 * 2**20
KEPT_NAMES = 2**20
_REFUSED = {401, 403, 404}  # or hidden from strangers


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
        proxies: ProxySettings | None = None,
        ca_bundle: CaBundle | None = None,
        timeouts: Timeouts | None = None,
        policy: RetryPolicy | None = None,
        limit_rate: float | None = None,
        on_response: Callable[[Exchange], None] | None = None,
    ) -> None:
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
        self._identity: Authenticator | None = None
        self.documents: LruCache[Digest, Document] = LruCache(KEPT_DOCUMENTS, each=2048)
        self.configs: LruCache[Digest, bytes] = LruCache(KEPT_CONFIGS, each=256)
        self.names: LruCache[str, Digest] = LruCache(KEPT_NAMES, each=256)

    def close(self) -> None:
        """Close idle connections; tokens and documents are kept."""
        self._requester.transport.close()

    def forget(self) -> None:
        """Forget who we are, credentials and tokens: somebody has logged in or out."""
        self.credentials.forget()
        with self._lock:
            self._identity = None

    # Calls

    def send(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a call and return the answer, of whatever status but 401 and redirects.

        401 is returned for a HEAD where the same by GET is not refused. 403 and 404 are
        returned after the call was sent with credentials, if there are any.

        Raises `Unauthorized`, `NetworkError` and `Cancelled`. Makes no second attempt at
        what failed; asking for a token and following a redirect are part of the first.
        """
        state = self._host(endpoint)
        try:
            return self._send(endpoint, state, call, cancel)
        except Unauthorized as error:
            error.hint = error.hint or denial_hint(self.credentials, endpoint, call.repository)
            self.credentials.forget()  # by the next call there may be others
            raise

    def _send(
        self, endpoint: Endpoint, state: HostState, call: Call, cancel: CancelToken
    ) -> HttpResponse:
        first = None
        if not state.challenges:
            first = self._requester.ask(endpoint, state, call, None, cancel)
            if first.status not in _REFUSED and not call.unasked:
                return first
        from wherry.registry.auth.flow import AuthorizedCall

        identity = self._known_identity()
        asking = AuthorizedCall(self._requester, identity, endpoint, state, call, cancel)
        return asking.send(first)

    def asks_for(self, endpoint: Endpoint) -> str:
        """Say how an endpoint, once asked, wanted to know who is asking; "" if it did not."""
        from wherry.registry.auth.challenge import describe_challenges

        return describe_challenges(self._host(endpoint).challenges)

    def is_open(self, endpoint: Endpoint) -> bool:
        """Return whether ``/v2/`` of an endpoint, once asked, answers without credentials."""
        return self._host(endpoint).is_open

    def send_anonymous(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a request that is nobody's in particular, and follow redirects."""
        # With a state of its own: an address in a manifest must not teach how to ask a registry.
        return self._requester.ask(endpoint, HostState(), call, None, cancel)

    def _host(self, endpoint: Endpoint) -> HostState:
        with self._lock:
            return self._hosts[endpoint.host]

    def _known_identity(self) -> Authenticator:
        from wherry.registry.auth.authenticator import Authenticator

        with self._lock:
            if self._identity is None:
                self._identity = Authenticator(self.credentials, self._requester)
            return self._identity
