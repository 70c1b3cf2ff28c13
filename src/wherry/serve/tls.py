"""The certificate of the server and its key."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import WherryError

if TYPE_CHECKING:
    from pathlib import Path

# Start a server with the files and stop it.
_TRIAL = """
import asyncio, pathlib, resource, sys
from granian.constants import Interfaces
from granian.server.embed import Server
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
async def main():
    files = map(pathlib.Path, sys.argv[1:])
    options = dict(zip(("ssl_cert", "ssl_key"), files))
    server = Server(None, port=0, interface=Interfaces.ASGINL, log_enabled=False, **options)
    asyncio.get_running_loop().call_later(0.02, server.stop)
    await server.serve()
asyncio.run(main())
"""
_TRIAL_SECONDS = 20
_SAID = re.compile(r"`Err` value: (.{1,200})")
_HINT = (
    "it takes X.509 certificates of version 3, with RSA of 2,048 to 4,096 bits, "
    "P-256, P-384 or Ed25519"
)


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
            raise self._refused(error.reason or "") from None
        self._try()

    def _refuse_password(self) -> str:
        hint = f"decrypt it: openssl pkey -in {self.key} -out NEW"
        raise WherryError(f"{self.key}: the key has a password", hint=hint)

    def _refused(self, reason: str) -> WherryError:
        """Return the error for what OpenSSL says."""
        if reason == "KEY_VALUES_MISMATCH":
            return WherryError(f"{self.key}: the key does not belong to {self.certificate}")
        if reason.endswith(("TOO_SMALL", "TOO_WEAK")):
            return self._unsuited(reason.lower().replace("_", " "))
        return WherryError(f"{self.key}: the file has no PEM key")

    def _try(self) -> None:
        """Use the files in another process: Granian aborts if it does not like them."""
        command = [sys.executable, "-c", _TRIAL, str(self.certificate), str(self.key)]
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, with a fixed program
                command, capture_output=True, timeout=_TRIAL_SECONDS, check=False, text=True
            )
        except (OSError, subprocess.TimeoutExpired):
            return  # the trial says nothing of the files
        if done.returncode < 0:
            said = _SAID.search(done.stderr)
            raise self._unsuited(said[1] if said else "no reason")

    def _unsuited(self, reason: str) -> WherryError:
        message = f"{self.certificate}: the server cannot use this certificate and its key"
        return WherryError(f"{message} ({reason})", hint=_HINT)
