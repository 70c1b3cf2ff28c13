"""Authentication as registries ask for it: challenges, tokens and rules, without any I/O."""

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
from wherry.registry.http.redirect import KEEP_METHOD, origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.errors import Unauthorized
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.hosts import Endpoint

CLIENT_ID = "wherry"
MAX_TOKEN = 64 * 1024  # bytes of a token server's answer
DEFAULT_LIFE = 60.0  # seconds, where a token server does not say (distribution, token spec)
LEAST_LIFE = 60.0  # seconds; less is taken as this (as above)
SLACK = 5.0  # seconds before its end that a token counts as expired

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SEPARATOR = re.compile(r"[\s,]*")
_EQUALS = re.compile(r"\s*=\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header; names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a parameter or an empty string."""
        return self.parameters.get(name, "")


class ChallengeContext(Record):
    """What an answer has to fit: an endpoint at ``address``, a repository and scope there.

    ``peer`` is the address that was connected to, "" if a proxy did; ``challenges`` are the
    ``WWW-Authenticate`` headers; ``repository`` and ``scope`` are "" where it is about the host
    alone.
    """

    endpoint: Endpoint
    address: str
    peer: str
    repository: str
    scope: str
    challenges: Sequence[str]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How to ask a token server: GET, or POST where there is a ``body``."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def is_secret(self) -> bool:
        """Whether it carries credentials: a password, or an identity token."""
        return self.body is not None or "Authorization" in self.headers

    def redirected(self, status: int, there: str) -> TokenRequest:
        """Return the request that follows a redirect, as clients in Go send it.

        A POST becomes a GET without its body, except after 307 and 308. Credentials in a
        header stay within one scheme, host and port; `is_secret` tells whether a body has any.
        """
        headers = dict(self.headers)
        if origin(there) != origin(self.url):
            headers.pop("Authorization", None)
        if self.body is None or status in KEEP_METHOD:
            return TokenRequest(there, headers, self.body)
        headers.pop("Content-Type", None)
        return TokenRequest(there, headers)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and for how many seconds from now it may be used.

    ``withheld`` is why it was issued to a stranger although there are credentials.
    """

    value: str = field(repr=False)
    life: float = DEFAULT_LIFE
    withheld: Unauthorized | None = None

    @property
    def header(self) -> Secret:
        """The value of an ``Authorization`` header (RFC 6750)."""
        return Secret(f"Bearer {self.value}")


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read all challenges of all ``WWW-Authenticate`` headers (RFC 9110, 11.6.1).

    Several challenges may stand in one header, and commas separate both challenges and their
    parameters. What cannot be read ends its header; it is no error.
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
    # Some registries leave the quotes out, of addresses too: up to the next comma or space.
    bare = re.compile(r'[^\s,"]*').match(header, equals.end())
    return (name.group().lower(), bare.group(), bare.end()) if bare else None


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def select_challenges(
    challenges: Sequence[Challenge], credentials: Credentials | None
) -> list[Challenge]:
    """Return the challenges that can be answered, in order: tokens first, then a password."""
    found = [one for one in challenges if one.scheme == "bearer" and one.get("realm")]
    if credentials is not None and credentials.username:
        found += [one for one in challenges if one.scheme == "basic"][:1]
    return found


def describe_challenges(headers: Iterable[str]) -> str:
    """Say what challenges ask for: ``Bearer from https://auth.docker.io/token``; "" for none."""
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
    """Make the request for a token (distribution spec, token and oauth2 authentication)."""
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
    """Encode form fields; bytes of credentials that are not UTF-8 stay as they are."""
    from wherry.registry.auth.credentials import utf8

    return urlencode([(name, utf8(value)) for name, value in fields])


def parse_token(raw: bytes, host: str) -> Token:
    """Read a token server's answer; raises `NetworkError` if it is none."""
    token = _token_of(raw)
    if token is None:
        raise NetworkError("its token server's answer is no token", host=host).within(host)
    return token


def _token_of(raw: bytes) -> Token | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if len(raw) > MAX_TOKEN or not isinstance(found, dict):
        return None
    value = found.get("token") or found.get("access_token")
    # It goes into a header: anything but visible ASCII would break out of it.
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        return None
    life = found.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or not 0 < life < 2**31:
        life = DEFAULT_LIFE
    return Token(value, max(float(life), LEAST_LIFE) - SLACK)


def refuses_grant(raw: bytes) -> bool:
    """Return whether a 400 means that an identity token is refused (RFC 6749, 5.2)."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    refusals = {"invalid_grant", "invalid_client", "unauthorized_client"}
    return isinstance(found, dict) and found.get("error") in refusals


def is_anonymous(token: str) -> bool:
    """Return whether a token says that it was issued to a stranger: a JWT with an empty ``sub``.

    Some token servers issue such a one for a wrong password (distribution, "Token Authentication
    Implementation": ``sub`` is empty if the client was not authenticated).
    """
    parts = token.split(".")
    if len(parts) != len(("header", "claims", "signature")):
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (ValueError, RecursionError):
        return False
    return isinstance(claims, dict) and claims.get("sub") == ""
