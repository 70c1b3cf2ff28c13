"""Tokens of one client: fetched when asked for, once for each host and scope, kept until old.

Loaded with the first registry that wants to know who is asking.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from dray.errors import DrayError, Unauthorized
from dray.registry import auth
from dray.registry.answers import failure
from dray.registry.transport import Request
from dray.registry.web_page import refuse_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from dray.content.cancel import CancelToken
    from dray.registry.asked import Asked
    from dray.registry.certificates import Tls
    from dray.registry.credentials import Credentials
    from dray.registry.hosts import Endpoint
    from dray.registry.transport import Transport

_BAD_REQUEST = 400


class Tokens:
    """Answers challenges. Thread-safe."""

    def __init__(self, transport: Transport, tls: Callable[[Endpoint, str], Tls]) -> None:
        self._transport = transport
        self._tls = tls
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._tokens: dict[tuple[str, str], tuple[auth.Token, float]] = {}

    def header(
        self,
        asked: Asked,
        credentials: Credentials | None,
        refused: str | None,
        cancel: CancelToken,
    ) -> str | None:
        """Return an ``Authorization`` other than ``refused``, or None if there is none to try.

        However many threads ask at once, a token is fetched once. Raises `Unauthorized` where
        the token server refuses or must not be asked.
        """
        parsed = auth.parse_challenges(asked.challenges)
        challenge = auth.choose(parsed, credentials)
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return credentials.basic if credentials is not None else None
        scope = asked.scope
        scopes = [scope] if scope else []
        if refused is not None and (more := _insufficient(parsed)) not in {"", scope}:
            scopes.append(more)
        key = (asked.endpoint.host, scope)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=0.05):
            cancel.check()  # somebody else is fetching the token, and may be at it for long
        try:
            token, expires = self._tokens.get(key, (None, 0.0))
            if token is not None and token.header != refused and time.monotonic() < expires:
                return token.header
            token = self._fetch(asked, challenge, scopes, credentials, cancel)
            self._tokens[key] = (token, time.monotonic() + token.life)
            return token.header
        finally:
            lock.release()

    def _fetch(
        self,
        asked: Asked,
        challenge: auth.Challenge,
        scopes: list[str],
        credentials: Credentials | None,
        cancel: CancelToken,
    ) -> auth.Token:
        endpoint = asked.endpoint
        problem = auth.realm_problem(asked.address, challenge.get("realm"))
        if problem is not None:
            raise Unauthorized(
                f"{endpoint.name}: sends to a token server that {problem}; it was not asked",
                host=endpoint.name,
                scope=" ".join(scopes),
            )
        wanted = auth.token_request(challenge, scopes, credentials)
        request = Request(
            "GET" if wanted.body is None else "POST",
            wanted.url,
            wanted.headers,
            wanted.body,
            self._tls(endpoint, wanted.url),
        )

        # Once: whoever wants the token tries again for what it is wanted for, and tells of it.
        response = self._transport.send(request, cancel)
        raw = response.read(auth.MAX_TOKEN)
        if response.status >= _BAD_REQUEST:
            what = f"{endpoint.name}: its token server"
            raise failure(response, raw, what, endpoint.name, scope=" ".join(scopes))
        refuse_page(response, raw, f"{endpoint.name}: its token server", "a token")
        try:
            return auth.parse_token(raw, endpoint.name)
        except DrayError as error:
            error.transient = error.transient or not response.framed
            raise


def _insufficient(challenges: list[auth.Challenge]) -> str:
    """Return the scope that a token was too weak for (RFC 6750, 3.1)."""
    for challenge in challenges:
        if challenge.get("error") == "insufficient_scope":
            return challenge.get("scope")
    return ""
