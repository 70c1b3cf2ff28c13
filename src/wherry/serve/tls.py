"""The certificate of the server and its key."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import WherryError

if TYPE_CHECKING:
    from pathlib import Path

_MISMATCH = "KEY_VALUES_MISMATCH"


class TlsFiles(NamedTuple):
    """PEM files: a certificate, followed by those of its authorities, and its key."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raise `WherryError` unless a server can use the files."""
        for path in self:
            try:
                path.open("rb").close()
            except OSError as error:
                raise WherryError(f"{path}: {error.strerror}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_verify_locations(self.certificate)
        except (ssl.SSLError, OSError):
            raise WherryError(f"{self.certificate}: the file has no PEM certificate") from None
        try:
            context.load_cert_chain(*self, password=self._refuse_password)
        except ssl.SSLError as error:
            if error.reason == _MISMATCH:
                message = f"{self.key}: the key does not belong to {self.certificate}"
            else:
                message = f"{self.key}: the file has no PEM key"
            raise WherryError(message) from None

    def _refuse_password(self) -> str:
        hint = f"decrypt it: openssl pkey -in {self.key} -out NEW"
        raise WherryError(f"{self.key}: the key has a password", hint=hint)
