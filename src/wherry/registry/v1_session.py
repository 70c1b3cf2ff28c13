"""One operation with a version 1 registry: its index, its tokens, its cookies.

Source: Docker's "The Docker Hub and the Registry v1". An index authenticates users and gives
tokens; the endpoints that it names have the images. A standalone registry is both.
"""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.errors import Cancelled, NetworkError, Unauthorized, WherryError
from wherry.model.secret import Secret
from wherry.registry.auth.access_denied import denial_hint
from wherry.registry.http.connect_errors import PrivateHost
from wherry.registry.http.private_address import is_private
from wherry.registry.http.redirect import origin
from wherry.registry.requester import Call, has_public_peer
from wherry.registry.status_errors import MAX_ERROR, error_for_response
from wherry.registry.v1_answers import Ping, read_endpoints, read_ping
from wherry.registry.v1_cookies import Cookies, TooManyCookies

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.server_warnings import ServerWarnings
    from wherry.registry.session import Session

# The hosts of indexes whose registry of version 2 has another one.
INDEXES = {"docker.io": "index.docker.io"}
MAX_PING = 64 * 1024  # bytes of the answer to _ping that are read
MAX_TOKEN = 16 * 1024  # characters of X-Docker-Token
WANT_TOKEN = {"X-Docker-Token": "true"}
_OK, _MULTIPLE_CHOICES, _UNAUTHORIZED = 200, 300, 401


class V1Session:
    """Sends calls to one registry, its endpoints and its mirrors. Thread-safe.

    Every call is one attempt, with what authorizes it:

    - Calls to the index have the user's credentials for the registry, if there are any. To a
      standalone registry all calls do.
    - Calls to endpoints have the token of the index.
    - Mirrors get their own credentials only, and only if they ask for them.

    Each host gets the cookies that it has set.

    Args:
        session: The session whose connections, credentials and schemes are used.
        registry: The registry and the repository.
        warnings: Shows the warnings of the servers.

    Attributes:
        index: The index, which is asked for lists of images.
        endpoints: Where the images are: the index itself until it names others.
    """

    def __init__(
        self, session: Session, registry: Endpoint, warnings: ServerWarnings | None = None
    ) -> None:
        self._session = session
        self._warnings = warnings
        self._is_hub = registry.name in INDEXES
        self.index = registry
        if self._is_hub:
            self.index = registry.replace(host=INDEXES[registry.name])
        self.endpoints: tuple[Endpoint, ...] = (self.index,)
        self._standalone = not self._is_hub
        self._token: Secret | None = None
        self._list_call: Call | None = None
        self._public_only = False
        self._lock = threading.Lock()
        self._renewal = threading.Lock()
        self._cookies: dict[str, Cookies] = collections.defaultdict(Cookies)
        self._asks_basic: set[str] = set()

    def ping(self, cancel: CancelToken) -> Ping:
        """Ask the registry whether it is standalone.

        An error response that may be permanent counts as an answer without any statement, since
        some registries have no ``_ping``. Docker Hub is known to be an index and is not asked.

        Raises:
            RegistryError: The registry may answer another request.
            RateLimited: The registry asks for a pause.
            NetworkError: There is no valid response.
        """
        if self._is_hub:
            return Ping(standalone=False)
        response = self._send(self.index, Call("GET", "/v1/_ping", ""), None, cancel)
        standalone = response.header("X-Docker-Registry-Standalone")
        version = response.header("X-Docker-Registry-Version")
        body = response.read_secret(MAX_PING)
        if response.status != _OK:
            name = self.index.name
            problem = error_for_response(response, body, (name, "_ping"), name)
            if problem.transient:
                raise problem
        found = read_ping(standalone, version, body if response.status == _OK else b"")
        self._standalone = found.standalone
        return found

    def send_to_index(self, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a call for a list of images to the index, and keep the token that it gives.

        Responses of every status but 401 are returned.

        Raises:
            Unauthorized: The index refuses the credentials, or wants some.
            NetworkError: There is no valid response, or the index names an endpoint that must
                not be used.
        """
        call = call.replace(headers={**call.headers, **WANT_TOKEN})
        response = self._send_with_credentials(self.index, call, cancel)
        if self._is_grant(response):
            try:
                token, endpoints = self._read_token(response), self._read_endpoints(response)
            except BaseException:
                response.close()
                raise
            with self._lock:
                self._token, self.endpoints = token, endpoints
                self._list_call = call
        return response

    def send(self, endpoint: Endpoint, call: Call, cancel: CancelToken) -> HttpResponse:
        """Send a call for tags or images to an endpoint or a mirror.

        Responses of every status but 401 are returned.

        Raises:
            Unauthorized: The server refuses the token or the credentials, or wants some.
            NetworkError: There is no valid response.
        """
        is_index = endpoint.host == self.index.host
        if endpoint not in self.endpoints:
            return self._send_with_credentials(endpoint, call, cancel)
        if (
            is_index
            and (self._standalone or self._token is None)
            and self._credentials(endpoint, cancel)
        ):
            return self._send_with_credentials(endpoint, call, cancel)
        if not is_index:
            call = call.replace(public_only=self._public_only)
        token = self._token
        response = self._send(endpoint, call, token, cancel)
        if response.status == _UNAUTHORIZED and token is not None:
            response = self._send_with_renewed_token(endpoint, call, token, response, cancel)
        if response.status == _UNAUTHORIZED:
            raise self._refusal(endpoint, call, response)
        return response

    # Tokens

    def _is_grant(self, response: HttpResponse) -> bool:
        """Return whether the index itself has answered with a list, not a redirect's target."""
        return _OK <= response.status < _MULTIPLE_CHOICES and _is_from(response, self.index)

    def _read_token(self, response: HttpResponse) -> Secret | None:
        # Some registries repeat the scheme, which engines then send twice.
        token = ",".join(response.headers("X-Docker-Token")).removeprefix("Token ").strip()
        if len(token) > MAX_TOKEN or not (token.isascii() and token.isprintable()):
            raise self._problem(
                f"the registry's token is not text of at most {MAX_TOKEN >> 10} KiB"
            )
        return Secret(f"Token {token}") if token else None

    def _send_with_renewed_token(
        self,
        endpoint: Endpoint,
        call: Call,
        refused: Secret,
        response: HttpResponse,
        cancel: CancelToken,
    ) -> HttpResponse:
        """Send a refused call once more if the index gives another token, one thread at a time.

        A token may be valid for one request, whose answer brings a cookie for all others.
        """
        while not self._renewal.acquire(timeout=0.05):
            if cancel.cancelled:  # while another thread is asking
                response.close()
            cancel.check()
        try:
            token = self._token
            if token == refused:
                token = self._new_token(cancel)
            if token == refused:
                return response
            response.drain()
            answer = self._send(endpoint, call, token, cancel)
        except BaseException:
            response.close()
            raise
        else:
            self._token = token  # after its first answer, so that no other thread uses it before
            return answer
        finally:
            self._renewal.release()

    def _new_token(self, cancel: CancelToken) -> Secret | None:
        """Ask the index for another token; return the same one if it gives none."""
        if self._list_call is None:
            return self._token
        response = self._send_with_credentials(self.index, self._list_call, cancel)
        token = self._read_token(response) if self._is_grant(response) else self._token
        response.drain()
        return token

    def _read_endpoints(self, response: HttpResponse) -> tuple[Endpoint, ...]:
        """Return the endpoints that an answer of the index names; itself if it names none."""
        scheme = origin(response.request.url)[0]
        try:
            hosts = read_endpoints(response.headers("X-Docker-Endpoints"))
        except ValueError as error:
            raise self._problem(f"X-Docker-Endpoints names {error}") from None
        self._public_only = self.index.tls.verify and has_public_peer(response)
        found = [self._endpoint(host, scheme) for host in hosts]
        return tuple(found) or (self.index,)

    def _endpoint(self, host: str, scheme: str) -> Endpoint:
        """Return an endpoint at a host that the index names, asked by the index's scheme."""
        url = f"{scheme}://{host}"
        if origin(url) == origin(f"{scheme}://{self.index.host}"):
            return self.index
        found = self._session.hosts.host(host)
        if self.index.tls.verify and scheme not in found.schemes:
            raise self._problem(
                f"the registry names an endpoint that would be asked in plain http ({url})",
                "to ask it nevertheless: --insecure",
            )
        name = origin(url)[1] or ""
        if self._public_only and is_private(name):
            raise self._private(url)
        return found.replace(
            path=self.index.path,
            schemes=(scheme,),
            tls=self._session.tls(self.index, url),
            own=False,
            proxy=self.index.proxy,
        )

    # Credentials

    def _send_with_credentials(
        self, endpoint: Endpoint, call: Call, cancel: CancelToken
    ) -> HttpResponse:
        """Send a call with basic authentication if there are credentials for the host.

        A host that is not the registry gets them only after it has asked.
        """
        knows = endpoint.host == self.index.host or endpoint.host in self._asks_basic
        found = self._credentials(endpoint, cancel) if knows else None
        response = self._send(endpoint, call, None if found is None else found.basic, cancel)
        if response.status != _UNAUTHORIZED:
            return response
        if found is not None:
            self._session.credentials.forget()  # a helper may have others by now
        other = self._credentials(endpoint, cancel)
        if other is not None and other != found:
            response.drain()
            self._asks_basic.add(endpoint.host)
            response = self._send(endpoint, call, other.basic, cancel)
        if response.status == _UNAUTHORIZED:
            raise self._refusal(endpoint, call, response)
        return response

    def _credentials(self, endpoint: Endpoint, cancel: CancelToken) -> Credentials | None:
        """Return the user and password for a host; None if there are none or no readable ones."""
        try:
            found = self._session.credentials.find(
                endpoint.name, endpoint.path, own=endpoint.own, cancel=cancel
            )
        except Cancelled:
            raise
        except WherryError:
            return None  # the registry may not need what cannot be read
        return None if found is None or found.identity_token else found

    def _refusal(self, endpoint: Endpoint, call: Call, response: HttpResponse) -> WherryError:
        """Return the error for a status of 401."""
        body = response.read_secret(MAX_ERROR)
        where = (f"{self.index.name}/{self.index.path}",)
        error = error_for_response(response, body, where, endpoint.name, scope=call.scope)
        if isinstance(error, Unauthorized):
            asked = self.index if endpoint in self.endpoints else endpoint
            error.hint = denial_hint(self._session.credentials, asked, self.index.path)
        return error

    # Requests

    def _send(
        self, endpoint: Endpoint, call: Call, authorization: Secret | None, cancel: CancelToken
    ) -> HttpResponse:
        with self._lock:
            cookies = self._cookies[endpoint.host]
        call = call.replace(authorization=authorization, cookie=cookies.header)
        try:
            response = self._session.send_as_is(endpoint, call, cancel)
        except PrivateHost:
            raise self._private(f"{endpoint.schemes[0]}://{endpoint.host}") from None
        except NetworkError as error:
            if endpoint in self.endpoints and endpoint != self.index:
                error.add_hint(f"{self.index.name} names it as an endpoint for images")
            raise
        if _is_from(response, endpoint):
            try:
                cookies.update(response.headers("Set-Cookie"))
            except TooManyCookies as error:
                response.close()
                raise self._problem(f"{endpoint.name} sets {error}") from None
        if self._warnings is not None:
            self._warnings.note(response, endpoint)
        return response

    def _problem(self, problem: str, hint: str = "") -> NetworkError:
        error = NetworkError(
            problem, host=self.index.name, transient=False, answered=True, hint=hint
        )
        return error.within(f"{self.index.name}/{self.index.path}")

    def _private(self, url: str) -> NetworkError:
        return self._problem(
            f"the registry names an endpoint in a private network ({url}), and has a public "
            "address; nothing was sent there",
            "to ask it nevertheless: --insecure",
        )


def _is_from(response: HttpResponse, endpoint: Endpoint) -> bool:
    """Return whether an endpoint itself has answered, not a redirect's target."""
    return urlsplit(response.request.url).netloc == endpoint.host
