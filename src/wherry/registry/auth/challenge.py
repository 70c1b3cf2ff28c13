"""Challenges, token requests and tokens, as protocol logic without I/O."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from wherry.errors import NetworkError
from wherry.model.record import Record
from wherry.model.secret import Secret, SecretBytes
from wherry.registry.auth.credentials import utf8
from wherry.registry.http.redirect import KEEP_METHOD, origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.errors import Unauthorized
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.hosts import Endpoint

CLIENT_ID = "wherry"
MAX_TOKEN = 64 * 1024  # bytes of a token server's response
# Seconds that a token is valid if the token server does not say, and at least (distribution,
# Token Authentication Specification).
DEFAULT_LIFE = 60.0
MIN_LIFE = 60.0
SLACK = 5.0  # seconds before its expiry that a token is no longer used

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SEPARATOR = re.compile(r"[\s,]*")
_EQUALS = re.compile(r"\s*=\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge of a ``WWW-Authenticate`` header; its names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a parameter, or an empty string if it is missing."""
        return self.parameters.get(name, "")


class ChallengeContext(Record):
    """The endpoint, repository and scope that challenges are about.

    ``address`` is the endpoint's scheme and host. ``peer`` is its IP address, "" behind a proxy.
    ``challenges`` are the ``WWW-Authenticate`` headers. ``repository`` and ``scope`` are "" for
    a call about the registry itself.
    """

    endpoint: Endpoint
    address: str
    peer: str
    repository: str
    scope: str
    challenges: Sequence[str]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to a token server: POST if there is a ``body``, or else GET."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def is_secret(self) -> bool:
        """Whether the request has credentials: a password or an identity token."""
        return self.body is not None or "Authorization" in self.headers

    def redirect(self, status: int, target: str) -> TokenRequest:
        """Return the request that follows a redirect, as net/http in Go makes it.

        A POST becomes a GET without a body, except after 307 and 308. An ``Authorization``
        header is dropped if scheme, host or port change.
        """
        headers = dict(self.headers)
        if origin(target) != origin(self.url):
            headers.pop("Authorization", None)
        if self.body is None or status in KEEP_METHOD:
            return TokenRequest(target, headers, self.body)
        headers.pop("Content-Type", None)
        return TokenRequest(target, headers)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and the seconds from now that it is valid.

    ``credentials_error`` is why an anonymous token was fetched although there are credentials.
    """

    value: str = field(repr=False)
    life: float = DEFAULT_LIFE
    credentials_error: Unauthorized | None = None

    @property
    def header(self) -> Secret:
        """The value of an ``Authorization`` header (RFC 6750)."""
        return Secret(f"Bearer {self.value}")


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Parse all challenges of all ``WWW-Authenticate`` headers (RFC 9110, 11.6.1).

    A header may hold several challenges; commas separate challenges as well as parameters. A
    syntax error ends the header silently.
    """
    return [challenge for header in headers for challenge in _parse_header(header)]


def _parse_header(header: str) -> Iterable[Challenge]:
    at = _skip(_SEPARATOR, header, 0)
    while match := _TOKEN.match(header, at):
        scheme, at = match.group().lower(), match.end()
        parameters: dict[str, str] = {}
        if (blob := _TOKEN68.match(header, at)) is not None:
            at = blob.end()
        at = _skip(_SEPARATOR, header, at)
        while (found := _parameter(header, at)) is not None:
            name, value, at = found
            parameters.setdefault(name, value)
            at = _skip(_SEPARATOR, header, at)
        yield Challenge(scheme, parameters)


def _parameter(header: str, at: int) -> tuple[str, str, int] | None:
    name = _TOKEN.match(header, at)
    equals = _EQUALS.match(header, name.end()) if name else None
    if name is None or equals is None:
        return None
    if quoted := _QUOTED.match(header, equals.end()):
        value = re.sub(r"\\(.)", r"\1", quoted.group(1))
        return name.group().lower(), value, quoted.end()
    # Some registries omit the quotes, even around URLs: read to the next comma or space.
    bare = re.compile(r'[^\s,"]*').match(header, equals.end())
    return (name.group().lower(), bare.group(), bare.end()) if bare else None


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def select_challenges(
    challenges: Sequence[Challenge], credentials: Credentials | None
) -> list[Challenge]:
    """Return the challenges that can be answered: tokens first, then a password."""
    found = [one for one in challenges if one.scheme == "bearer" and one.get("realm")]
    if credentials is not None and credentials.username:
        found += [one for one in challenges if one.scheme == "basic"][:1]
    return found


def describe_challenges(headers: Iterable[str]) -> str:
    """Describe challenges, as in ``Bearer from https://auth.docker.io/token``."""
    found = []
    for challenge in parse_challenges(headers):
        realm = challenge.get("realm").partition("?")[0] if challenge.scheme == "bearer" else ""
        start, found_user, rest = realm.partition("@")
        realm = f"{start.partition('://')[0]}://{rest}" if found_user else realm
        found.append(challenge.scheme.capitalize() + (f" from {realm}" if realm else ""))
    return ", ".join(found)


def make_token_request(
    challenge: Challenge, scopes: Sequence[str], credentials: Credentials | None
) -> TokenRequest:
    """Make a token request (distribution, Token and OAuth2 Authentication)."""
    realm, service = challenge.get("realm"), challenge.get("service")
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "refresh_token": credentials.identity_token,
            "scope": " ".join(scopes),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = SecretBytes(_form(form.items()).encode("ascii"))
        return TokenRequest(realm, headers, body)
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    authorization = {}
    if credentials is not None and credentials.username:
        query.append(("account", credentials.username))
        authorization["Authorization"] = credentials.basic
    separator = "&" if "?" in realm else "?"
    return TokenRequest(realm + separator + _form(query), authorization)


def _form(fields: Iterable[tuple[str, str]]) -> str:
    """Encode form fields; bytes of credentials that are not UTF-8 are kept."""
    return urlencode([(name, utf8(value)) for name, value in fields])


def parse_token(raw: bytes, host: str) -> Token:
    """Parse a token server's response.

    Raises:
        NetworkError: It holds no token.
    """
    token = _token_of(raw)
    if token is None:
        raise NetworkError("its token server's response holds no token", host=host).within(host)
    return token


def _token_of(raw: bytes) -> Token | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if len(raw) > MAX_TOKEN or not isinstance(found, dict):
        return None
    value = found.get("token") or found.get("access_token")
    # In a header, characters other than visible ASCII could start another header.
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        return None
    life = found.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or not 0 < life < 2**31:
        life = DEFAULT_LIFE
    return Token(value, max(float(life), MIN_LIFE) - SLACK)


def refuses_grant(raw: bytes) -> bool:
    """Return whether a 400 says that an identity token is refused (RFC 6749, 5.2)."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    refusals = {"invalid_grant", "invalid_client", "unauthorized_client"}
    return isinstance(found, dict) and found.get("error") in refusals


def is_anonymous(token: str) -> bool:
    """Return whether a token is a JWT with an empty ``sub``, for no user.

    Some token servers issue one for a wrong password (distribution, Token Authentication
    Implementation: ``sub`` is empty if the client was not authenticated).
    """
    parts = token.split(".")
    if len(parts) != len(("header", "claims", "signature")):
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (ValueError, RecursionError):
        return False
    return isinstance(claims, dict) and claims.get("sub") == ""
