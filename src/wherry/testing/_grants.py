"""The token endpoint of a registry, except for the tokens themselves.

Sources: Distribution's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs

from wherry.testing._messages import IncomingRequest, Reply, error_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["Access", "Grants", "basic_credentials", "parse_scopes"]

Access = frozenset[tuple[str, str, str]]  # (type, name, action)


def basic_credentials(header: str | None) -> tuple[str, str] | None:
    """Return user and password of an ``Authorization: Basic`` header, or None.

    Bytes that are not UTF-8 become surrogates (PEP 383).
    """
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = pair.partition(":")
    return (user, password) if colon else None


def parse_scopes(scopes: Iterable[str]) -> Access:
    """Return the accesses that scopes ask for; ignores text other than ``type:name:actions``."""
    wanted = set()
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        name, colon, actions = rest.rpartition(":")
        if colon:
            wanted |= {(kind, name, action) for action in actions.split(",") if action}
    return frozenset(wanted)


@dataclass
class Grants:
    """Answers the requests to a token endpoint.

    A user gets the access that the request asks for. An anonymous client gets ``pull`` on the
    public repositories.

    Attributes:
        mint: Makes a token for a user ("" for an anonymous client), a service and an access.
        users: Passwords by user name; None gives every client what it asks for.
        public: The public repositories, or True for all.
        refresh_tokens: User names by refresh token.
        expires_in: Lifetime of a token in seconds; None leaves it out of the response.
        issued: The number of tokens that were issued.
    """

    mint: Callable[[str, str, Access], str]
    users: Mapping[str, str] | None = None
    public: Collection[str] | Literal[True] = ()
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    expires_in: int | None = 300
    issued: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def allowed(self, user: str, wanted: Access) -> Access:
        """Return the part of ``wanted`` that ``user`` may have."""
        if user or self.users is None:
            return wanted
        return frozenset(
            (kind, name, action)
            for kind, name, action in wanted
            if action == "pull" and (self.public is True or name in self.public)
        )

    def known(self, credentials: tuple[str, str] | None) -> bool:
        """Tell whether user and password are correct."""
        return (
            credentials is not None
            and self.users is not None
            and self.users.get(credentials[0]) == credentials[1]
        )

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply to a GET or an OAuth2 POST."""
        if request.method == "GET":
            return self._by_get(request)
        if request.method == "POST":
            return self._by_post(request)
        return error_reply(405, "UNSUPPORTED")

    def _by_get(self, request: IncomingRequest) -> Reply:
        header = request.headers.get("authorization")
        credentials = basic_credentials(header)
        if header is not None and not self.known(credentials):
            return error_reply(401, "UNAUTHORIZED", "incorrect username or password")
        user = credentials[0] if credentials else ""
        token, access = self._issue(user, request.value("service"), request.values("scope"))
        answer = {"token": token, "access_token": token} | self._times()
        if request.value("offline_token") == "true" and user:
            answer["refresh_token"] = self._refresh_token(user)
        return json_reply(200, answer | {"scope": _scope_text(access)})

    def _by_post(self, request: IncomingRequest) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") == "refresh_token":
            refresh = form.get("refresh_token", "")
            user = self.refresh_tokens.get(refresh)
        elif form.get("grant_type") == "password":
            pair = (form.get("username", ""), form.get("password", ""))
            user = pair[0] if self.known(pair) else None
            offline = form.get("access_type") == "offline"
            refresh = self._refresh_token(user) if user and offline else ""
        else:
            return json_reply(400, {"error": "unsupported_grant_type"})
        if user is None:
            return json_reply(401, {"error": "invalid_grant", "error_description": "not known"})
        token, access = self._issue(user, form.get("service"), [form.get("scope", "")])
        answer = {"access_token": token, "scope": _scope_text(access)} | self._times()
        return json_reply(200, answer | ({"refresh_token": refresh} if refresh else {}))

    def _issue(self, user: str, service: str | None, scopes: list[str]) -> tuple[str, Access]:
        access = self.allowed(user, parse_scopes(scopes))
        with self._lock:
            self.issued += 1
        return self.mint(user, service or "", access), access

    def _times(self) -> dict[str, object]:
        return {} if self.expires_in is None else {"expires_in": self.expires_in}

    def _refresh_token(self, user: str) -> str:
        with self._lock:
            for token, owner in self.refresh_tokens.items():
                if owner == user:
                    return token
            token = secrets.token_urlsafe(16)
            self.refresh_tokens[token] = user
            return token


def _scope_text(access: Access) -> str:
    """Return an access as a sorted scope string."""
    actions: dict[tuple[str, str], list[str]] = {}
    for kind, name, action in sorted(access):
        actions.setdefault((kind, name), []).append(action)
    return " ".join(f"{kind}:{name}:{','.join(given)}" for (kind, name), given in actions.items())
