"""A user's credentials for a registry."""

from __future__ import annotations

import base64
import re

from wherry.model.record import Record
from wherry.model.secret import Secret

_LONE_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class Credentials(Record):
    """A user name and password, or an identity token (OAuth2 refresh token)."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __init__(self, username: str = "", password: str = "", identity_token: str = "") -> None:
        super().__init__(username, Secret(password), Secret(identity_token))

    def __repr__(self) -> str:
        return f"<Credentials of {self.username!r}>"

    @property
    def basic(self) -> Secret:
        """The value of an ``Authorization`` header (RFC 7617)."""
        pair = utf8(f"{self.username}:{self.password}")
        return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


def utf8(text: str) -> bytes:
    """Encode text; restore bytes of the command line that were not UTF-8 (PEP 383)."""
    return replace_surrogates(text).encode(errors="surrogateescape")


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON can hold and no encoding has."""
    return _LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
