"""Check the access to a version 1 registry: basic authentication, tokens, session cookies.

Source: Docker's "The Docker Hub and the Registry v1", sections on pull and push.
"""

from __future__ import annotations

import re
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Literal, NamedTuple

from wherry.testing._grants import basic_credentials
from wherry.testing._messages import Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from wherry.testing._messages import IncomingRequest

__all__ = ["Permit", "SessionCookies", "V1Tokens", "basic_challenge", "token_challenge"]

_TOKEN = re.compile(r'(?:Token )+signature=(\w+),repository="([^"]+)",access=(\w+)')


class Permit(NamedTuple):
    """What a token or a session allows.

    Attributes:
        name: The repository with its namespace.
        access: ``read``, or ``write`` to read as well.
    """

    name: str
    access: str


class V1Tokens:
    """The users and tokens of an index; its registries accept the same tokens.

    Args:
        users: Passwords by user name; None gives every client what it asks for.
        public: The repositories that clients without credentials may read, or True for all.
        single_use: Whether a token works for one request; the session cookie is for the others.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None,
        public: Collection[str] | Literal[True],
        *,
        single_use: bool,
    ) -> None:
        self._users = users
        self._public = public
        self._single_use = single_use
        self._valid: dict[str, Permit] = {}
        self.issued = 0

    def issue(self, name: str, access: str) -> str:
        """Return a new token for a repository."""
        signature = secrets.token_hex(16)
        self._valid[signature] = Permit(name, access)
        self.issued += 1
        return f'signature={signature},repository="{name}",access={access}'

    def revoke(self) -> None:
        """Make every token invalid."""
        self._valid.clear()

    def redeem(self, header: str | None) -> Permit | None:
        """Return what the token of an ``Authorization`` header allows, or None."""
        found = _TOKEN.fullmatch(header or "")
        if found is None:
            return None
        permit = self._valid.get(found[1])
        if permit != Permit(found[2], found[3]):
            return None
        if self._single_use:
            del self._valid[found[1]]
        return permit

    def has_basic(self, request: IncomingRequest, name: str = "", access: str = "write") -> bool:
        """Tell whether the credentials of a request suffice; wrong ones never do."""
        header = request.headers.get("authorization")
        if self._users is None:
            return True
        if header is None:
            is_public = self._public is True or name in self._public
            return access == "read" and is_public
        pair = basic_credentials(header)
        return pair is not None and self._users.get(pair[0]) == pair[1]


class SessionCookies:
    """The sessions of one server."""

    def __init__(self) -> None:
        self._open: dict[str, Permit | None] = {}

    def start(self, permit: Permit | None) -> str:
        """Start a session; return the value for ``Set-Cookie``."""
        name = secrets.token_hex(16)
        self._open[name] = permit
        return f"session={name}; Path=/; HttpOnly"

    def is_open(self, request: IncomingRequest) -> bool:
        """Tell whether a request has the cookie of a session."""
        return self._id(request) in self._open

    def permit(self, request: IncomingRequest) -> Permit | None:
        """Return what the session of a request allows, or None."""
        return self._open.get(self._id(request))

    def _id(self, request: IncomingRequest) -> str:
        try:
            cookies = SimpleCookie(request.headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies["session"].value if "session" in cookies else ""


def basic_challenge() -> Reply:
    """Return the 401 of a server that wants user and password."""
    headers = {"WWW-Authenticate": 'Basic realm="fake-registry"'}
    return json_reply(401, {"error": "Requires authorization"}, headers)


def token_challenge() -> Reply:
    """Return the 401 of a server that wants a token of its index."""
    return json_reply(401, {"error": "Requires authorization"}, {"WWW-Authenticate": "Token"})
