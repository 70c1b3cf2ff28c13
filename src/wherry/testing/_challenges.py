"""The challenges of a registry: which requests it refuses, and the tokens it accepts."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from wherry.testing._grants import Access, basic_credentials
from wherry.testing._messages import Reply, error_reply

if TYPE_CHECKING:
    from wherry.testing._grants import Grants

_DEFAULT_LIFETIME = 60  # seconds; of Distribution's "Token Authentication Specification"


class IssuedTokens:
    """The opaque tokens that a registry has issued, with their accesses and lifetimes."""

    def __init__(self) -> None:
        self._valid: dict[str, tuple[Access, float]] = {}

    def issue(self, access: Access, lifetime: float | None) -> str:
        """Return a new token that is valid for ``lifetime`` seconds."""
        token = secrets.token_urlsafe(24)
        lifetime = _DEFAULT_LIFETIME if lifetime is None else lifetime
        self._valid[token] = (access, time.monotonic() + lifetime)
        return token

    def revoke(self) -> None:
        """Make every token invalid."""
        self._valid.clear()

    def error_of(self, token: str, wanted: Access) -> str:
        """Return the error code (RFC 6750, section 3.1) of a token, or an empty string."""
        access, until = self._valid.get(token, (frozenset[tuple[str, str, str]](), 0.0))
        if time.monotonic() >= until:
            return "invalid_token"
        return "" if wanted <= access else "insufficient_scope"


def basic_refusal(header: str | None, grants: Grants, realm: str) -> Reply | None:
    """Return the 401 with a basic challenge; None if the credentials suffice."""
    if grants.users is None or grants.known(basic_credentials(header)):
        return None
    return _refusal(f'Basic realm="{realm}"')


def token_refusal(
    header: str | None, wanted: Access, tokens: IssuedTokens, realm: str, service: str
) -> Reply | None:
    """Return the 401 with a bearer challenge; None if the token suffices."""
    scheme, _, token = (header or "").partition(" ")
    error = ""
    if scheme.lower() == "bearer":
        error = tokens.error_of(token, wanted)
        if not error:
            return None
    scopes = " ".join(sorted(":".join(entry) for entry in wanted))
    challenge = f'Bearer realm="{realm}",service="{service}"'
    challenge += f',scope="{scopes}"' if scopes else ""
    challenge += f',error="{error}"' if error else ""
    return _refusal(challenge)


def _refusal(challenge: str) -> Reply:
    headers = {"WWW-Authenticate": challenge}
    return error_reply(401, "UNAUTHORIZED", "authentication required", headers=headers)
