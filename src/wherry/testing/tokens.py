"""A token server for a real registry (CNCF Distribution, ``auth: token``)."""

from __future__ import annotations

import base64
import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wherry.testing._grants import Access, Grants, parse_scopes
from wherry.testing._http import HttpServer
from wherry.testing._messages import IncomingRequest, Reply, error_reply
from wherry.testing.certs import self_signed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["TokenServer"]


class TokenServer(HttpServer):
    """A token server on 127.0.0.1 that issues JWTs; use it as a context manager.

    A registry is configured with ``realm``, ``service``, ``issuer`` and ``certificate_file``.

    Args:
        users: Passwords by user name. A user gets the access that it asks for.
        public: The repositories that anonymous clients may pull, or True for all.
        refresh_tokens: User names by refresh token, accepted in a POST.
        expires_in: Lifetime of a token in seconds.
        service: The name of the registry in the tokens.
        issuer: The issuer in the tokens.
        tls: Files of a certificate and its key.

    Attributes:
        certificate_file: The certificate of the key that signs the tokens.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        public: Collection[str] | Literal[True] = (),
        refresh_tokens: Mapping[str, str] | None = None,
        expires_in: int = 300,
        service: str = "test-registry",
        issuer: str = "test-issuer",
        tls: tuple[Path | str, Path | str] | None = None,
    ) -> None:
        super().__init__(tls=tls)
        refresh = dict(refresh_tokens or {})
        self.grants = Grants(self._mint, users or {}, public, refresh, expires_in)
        self.service = service
        self.issuer = issuer
        self._expires_in = expires_in
        self._directory = tempfile.TemporaryDirectory(prefix="token-server-")
        self.certificate_file = Path(self._directory.name) / "issuer.crt"
        self._make_key()

    @property
    def realm(self) -> str:
        """The address of the token endpoint."""
        return f"{self.url}/token"

    @property
    def issued(self) -> int:
        """The number of tokens that were issued over HTTP."""
        return self.grants.issued

    def close(self) -> None:
        """Close the port and remove the certificate."""
        super().close()
        self._directory.cleanup()

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply to a request to the token endpoint."""
        if request.path != "/token":
            return error_reply(404, "NOT_FOUND")
        return self.grants.answer(request)

    def token_for(self, *scopes: str, user: str = "", expires_in: int | None = None) -> str:
        """Return a token without a request.

        Args:
            scopes: The access of the token, as ``repository:app:pull,push``.
            user: The user that the token names.
            expires_in: Lifetime in seconds; by default that of the server.
        """
        return self._signed(user, self.service, parse_scopes(scopes), expires_in)

    def _make_key(self) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        certificate, self._key = self_signed("wherry test token issuer")
        self.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        self._x5c = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()

    def _mint(self, user: str, service: str, access: Access) -> str:
        return self._signed(user, service, access, None)

    def _signed(self, user: str, service: str, access: Access, expires_in: int | None) -> str:
        """Return a JWT as in Distribution's "Token Authentication Implementation"."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [self._x5c]}
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": service,
            "exp": now + (self._expires_in if expires_in is None else expires_in),
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [
                {"type": kind, "name": name, "actions": [action]}
                for kind, name, action in sorted(access)
            ],
        }
        message = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return (message + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
