"""TLS contexts: authorities and client certificates; loaded for https only."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.content.small_file import check_regular
from wherry.errors import WherryError

if TYPE_CHECKING:
    from wherry.errors import Places
    from wherry.registry.certs_d import CaBundle, TlsSettings

_MAX_AUTHORITIES = 64 * 2**20  # bytes of a file of certificates


def make_context(tls: TlsSettings, bundle: CaBundle | None) -> ssl.SSLContext:
    """Make a TLS context. Connections share it, since loading takes long.

    Raises:
        WherryError: A file cannot be used; the message names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    context.hostname_checks_common_name = False  # RFC 9110, 4.3.4
    # Trust intermediate certificates in the files as well, as crypto/x509 in Go does.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.verify:
        _load_default_authorities(context, bundle)
        for path in tls.authorities:
            _load_authorities(context, path, (str(path),))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for certificate, key in tls.pairs:
        for path in (certificate, key):
            _check(path, path)
        try:
            # Without a password, OpenSSL would ask for a passphrase on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise WherryError(
                f"cannot be used with its key ({_problem(error)})",
                hint="both are PEM files, the key without a passphrase",
            ).within(certificate) from None
    return context


def _load_default_authorities(context: ssl.SSLContext, bundle: CaBundle | None) -> None:
    """Load the default authorities, or those of the variable."""
    if bundle is None:
        context.load_default_certs()
        return
    where = (bundle.variable, str(bundle.path))
    if bundle.variable == "SSL_CERT_DIR":  # a list separated by colons
        directories = [Path(each) for each in str(bundle.path).split(":")]
        if not any(map(Path.is_dir, directories)):
            raise WherryError("no such directory").within(*where)
        for directory in filter(Path.is_dir, directories):
            _check_hashed(directory)
        context.load_default_certs()
        return
    if not bundle.path.exists():
        raise WherryError("no such file").within(*where)
    if bundle.variable != "SSL_CERT_FILE":
        _load_authorities(context, bundle.path, where)
        return
    if not bundle.path.is_dir():
        _check(bundle.path, *where)
    context.load_default_certs()
    if not context.cert_store_stats()["x509"]:  # OpenSSL ignores a bad file silently
        _load_authorities(context, bundle.path, where, file=True)


def _load_authorities(
    context: ssl.SSLContext, path: Path, where: Places, *, file: bool = False
) -> None:
    """Load authorities from a file or directory; with ``file`` it must be a file."""
    if not path.is_dir():
        _check(path, *where)
    try:
        if path.is_dir() and not file:
            _check_hashed(path)
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:
        raise WherryError(
            f"no authorities can be read from it ({_problem(error)})",
            hint="it should hold certificates in PEM",
        ).within(*where) from None


def _check(path: Path, *where: object) -> None:
    """Raise `WherryError` for a FIFO, device or huge file: OpenSSL would block."""
    try:
        check_regular(path, _MAX_AUTHORITIES)
    except OSError as error:
        hint = "it should hold certificates in PEM"
        raise WherryError(str(error.strerror), hint=hint).within(*where) from None


def _check_hashed(directory: Path) -> None:
    """Check the files of a directory that OpenSSL finds by the hash of a subject name."""
    for path in directory.iterdir():
        if re.fullmatch(r"[0-9a-f]{8}\.r?[0-9]+", path.name) and path.exists():
            _check(path, path)


def _problem(error: Exception) -> str:
    """Return a short reason from OpenSSL or the operating system."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not valid PEM").replace("_", " ").lower()
    return (getattr(error, "strerror", None) or str(error)).lower()
