"""TLS contexts: whose certificates are trusted, and which are shown. Loaded for https alone."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.small_file import check_regular
from wherry.errors import WherryError

if TYPE_CHECKING:
    from wherry.registry.certs_d import CaBundle, TlsSettings

_MAX_AUTHORITIES = 64 * 2**20  # bytes of a file of certificates


def make_context(tls: TlsSettings, trust: CaBundle | None) -> ssl.SSLContext:
    """Make what all connections with the same settings share: loading authorities takes long.

    Raises `WherryError`, which names the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    context.hostname_checks_common_name = False  # names are alternative names (RFC 9110, 4.3.4)
    # Any certificate in the files is trusted, as by the tools in Go whose files they are.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.verify:
        _load_trust(context, trust)
        for path in tls.authorities:
            _load_authorities(context, path, str(path))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for certificate, key in tls.pairs:
        for path in (certificate, key):
            _check(path, str(path))
        try:
            # A key under a passphrase: the library would ask for it on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise WherryError(
                f"{certificate}: cannot be used with its key ({_problem(error)})",
                hint="both are PEM files, the key without a passphrase",
            ) from None
    return context


def _load_trust(context: ssl.SSLContext, trust: CaBundle | None) -> None:
    """Load the usual authorities; OpenSSL itself reads the variables whose names begin with SSL."""
    if trust is None:
        context.load_default_certs()
        return
    what = f"{trust.variable}: {trust.path}"
    if trust.variable == "SSL_CERT_DIR":  # which may be several, with colons between
        directories = [Path(each) for each in str(trust.path).split(":")]
        if not any(map(Path.is_dir, directories)):
            raise WherryError(f"{what}: no such directory")
        for directory in filter(Path.is_dir, directories):
            _check_hashed(directory)
        context.load_default_certs()
        return
    if not trust.path.exists():
        raise WherryError(f"{what}: no such file")
    if trust.variable != "SSL_CERT_FILE":
        _load_authorities(context, trust.path, what)
        return
    if not trust.path.is_dir():
        _check(trust.path, what)
    context.load_default_certs()
    if not context.cert_store_stats()["x509"]:  # OpenSSL does not complain of its variable
        _load_authorities(context, trust.path, what, file=True)


def _load_authorities(
    context: ssl.SSLContext, path: Path, what: str, *, file: bool = False
) -> None:
    """Load a file or directory; what is to be a ``file`` must be one."""
    if not path.is_dir():
        _check(path, what)
    try:
        if path.is_dir() and not file:
            _check_hashed(path)
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:
        raise WherryError(
            f"{what}: no authorities can be read from it ({_problem(error)})",
            hint="it should hold certificates in PEM",
        ) from None


def _check(path: Path, what: str) -> None:
    """Refuse what OpenSSL, which opens files by their paths, would wait for or read for ever."""
    try:
        check_regular(path, _MAX_AUTHORITIES)
    except OSError as error:
        raise WherryError(
            f"{what}: {error.strerror}", hint="it should hold certificates in PEM"
        ) from None


def _check_hashed(directory: Path) -> None:
    """Refuse such files in a directory, where OpenSSL looks for them by the hash of a name."""
    for path in directory.iterdir():
        if re.fullmatch(r"[0-9a-f]{8}\.r?[0-9]+", path.name) and path.exists():
            _check(path, str(path))


def _problem(error: Exception) -> str:
    """Say in a few words what OpenSSL or the system has against a file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not valid PEM").replace("_", " ").lower()
    return (getattr(error, "strerror", None) or str(error)).lower()
