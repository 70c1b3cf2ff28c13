"""Fetching bearer tokens and caching them; loaded on first use."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.errors import NetworkError, Unauthorized, WherryError
from wherry.registry.auth.challenge import (
    MAX_TOKEN,
    Token,
    make_token_request,
    parse_token,
    refuses_grant,
)
from wherry.registry.http.connect_errors import PrivateHost
from wherry.registry.http.private_address import is_private
from wherry.registry.http.redirect import (
    MAX_REDIRECTS,
    REDIRECT_STATUSES,
    is_http_url,
    leaves_tls,
    origin,
    redirect_target,
)
from wherry.registry.http.request import HttpRequest, public_url
from wherry.registry.status_errors import error_for_response, unexpected_status_error
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.challenge import Challenge, ChallengeContext, TokenRequest
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.http.response import HttpResponse
    from wherry.registry.requester import Requester

_OK, _BAD_REQUEST = 200, 400
_ABOUT_CREDENTIALS = {401, 403, 429}
_TOKEN_SERVER = "its token server"  # noqa: S105 - no secret
_NOT_SENT = "no credentials were sent there"


class UnsafeRealm(Exception):
    """The realm is not a URL, or must not get credentials; see ``error``."""

    def __init__(self, error: Unauthorized) -> None:
        super().__init__(str(error))
        self.error = error


class TokenSource:
    """Fetches and caches tokens. Thread-safe."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._tokens: dict[tuple[str, str, str], tuple[Token, float]] = {}

    def token(
        self,
        context: ChallengeContext,
        challenge: Challenge,
        credentials: Credentials | None,
        refused: str | None,
        cancel: CancelToken,
    ) -> Token:
        """Return a token whose header is not ``refused``, from the cache if there is one.

        Several threads that need the same token fetch it once. If the registry refused a token,
        the next one also has the scope that the challenge names.

        Raises:
            Unauthorized: The token server refused the credentials.
            UnsafeRealm: Credentials must not be sent to the token server.
            WherryError: The token server failed.
        """
        scopes = context.scope.split()
        if refused is not None:
            scopes += [one for one in challenge.get("scope").split() if one not in scopes]
        key = (context.endpoint.host, context.scope)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=0.05):
            cancel.check()  # another thread is fetching the token, which may take long
        cached = (*key, challenge.get("realm"))
        try:
            token, expires = self._tokens.get(cached, (None, 0.0))
            if token is not None and token.header != refused and time.monotonic() < expires:
                return token
            token = self._fetch(context, challenge, scopes, credentials, cancel)
            self._tokens[cached] = (token, time.monotonic() + token.life)
            return token
        finally:
            lock.release()

    def _fetch(
        self,
        context: ChallengeContext,
        challenge: Challenge,
        scopes: list[str],
        credentials: Credentials | None,
        cancel: CancelToken,
    ) -> Token:
        """Fetch a token in one attempt; retries belong to the call that needs it."""
        name = context.endpoint.name
        if not is_http_url(challenge.get("realm")):
            raise _unsafe_realm(
                context,
                "is not an http or https address; it was not asked",
                "the registry has to name one like https://HOST/token in WWW-Authenticate",
            )
        request = make_token_request(challenge, scopes, credentials)
        response, credentials_error = self._request(context, request, cancel)
        raw = response.read_secret(MAX_TOKEN)
        where = (name, _TOKEN_SERVER)
        if response.status in _ABOUT_CREDENTIALS:
            raise error_for_response(response, raw, where, name, scope=" ".join(scopes))
        if response.status == _BAD_REQUEST and refuses_grant(raw):
            refusal = unexpected_status_error(response, raw, where)
            error = Unauthorized(refusal.message, host=name, scope=" ".join(scopes))
            raise error.within(*where)
        if not _OK <= response.status < _OK + 100:
            raise unexpected_status_error(response, raw, where)
        refuse_page(response, raw, where, "a token")
        try:
            token = parse_token(raw, name)
            return Token(token.value, token.life, credentials_error)
        except WherryError as error:
            error.transient = error.transient or not response.is_framed
            raise

    def _request(
        self, context: ChallengeContext, request: TokenRequest, cancel: CancelToken
    ) -> tuple[HttpResponse, Unauthorized | None]:
        """Send a token request and follow redirects.

        Returns:
            The response, and the reason if credentials were dropped at a redirect.
        """
        name = context.endpoint.name
        credentials_error: Unauthorized | None = None
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(context, request, cancel)
            if response.status not in REDIRECT_STATUSES or not response.header("Location"):
                return response, credentials_error
            response.drain()
            target = redirect_target(request.url, response.header("Location"))
            if target is None:
                break
            if context.endpoint.tls.verify and leaves_tls(request.url, target):
                raise _unsafe_realm(
                    context,
                    f"redirects from https to plain http ({public_url(target)}); it was not asked",
                    "to ask it nevertheless: --insecure",
                )
            following = request.redirect(response.status, target)
            problem = _unsafe_realm(
                context,
                f"redirects by {response.status} to {public_url(target)}; {_NOT_SENT}",
                "the registry has to name that address in WWW-Authenticate itself",
            )
            if following.body is not None and origin(target) != origin(request.url):
                raise problem
            if request.is_secret and not following.is_secret:
                credentials_error = problem.error
            request = following
        raise NetworkError(
            "its token server redirects in a loop or to an unusable address",
            host=name,
            transient=False,
        ).within(name)

    def _send(
        self, context: ChallengeContext, request: TokenRequest, cancel: CancelToken
    ) -> HttpResponse:
        """Send one token request; raise `UnsafeRealm` if credentials must not go there."""
        is_secret = request.is_secret and context.endpoint.tls.verify
        if is_secret and leaves_tls(context.address, request.url):
            said = f"leaves TLS ({public_url(request.url)}); {_NOT_SENT}"
            raise _unsafe_realm(context, said, "to send them nevertheless: --insecure")
        public_only = is_secret and not _trusts_private(context)
        if public_only and is_private(urlsplit(request.url).hostname or ""):
            raise _private_realm(context, request.url)
        http_request = HttpRequest(
            "GET" if request.body is None else "POST",
            request.url,
            request.headers,
            request.body,
            self._requester.tls(context.endpoint, request.url),
            public_only,
            context.endpoint.proxy,
        )
        try:
            return self._requester.transport.send(http_request, cancel)
        except PrivateHost:
            raise _private_realm(context, request.url) from None
        except NetworkError as error:
            raise error.within(context.endpoint.name, _TOKEN_SERVER) from error.__cause__


def _trusts_private(context: ChallengeContext) -> bool:
    """Return whether credentials may be sent to a private address.

    A company's registry and its token server often both have private addresses and public
    names. If a proxy connected to the registry, only the registry's name is known.
    """
    peer = context.peer or urlsplit(context.address).hostname or ""
    return context.endpoint.settings.private_realm or is_private(peer)


def _private_realm(context: ChallengeContext, url: str) -> UnsafeRealm:
    return _unsafe_realm(
        context,
        f"is in a private network, and the registry is not ({public_url(url)}); {_NOT_SENT}",
        "to send them nevertheless: private-realm = true in hosts.toml, "
        f'in the table ["{context.endpoint.name}"]; or --insecure',
    )


def _unsafe_realm(context: ChallengeContext, problem: str, hint: str) -> UnsafeRealm:
    name = context.endpoint.name
    said = f"{_TOKEN_SERVER} {problem}"
    error = Unauthorized(said, host=name, scope=context.scope, hint=hint)
    return UnsafeRealm(error.within(name))
