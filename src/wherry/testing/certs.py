"""Certificates for tests, signed by an authority of their own."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["make_certificate", "make_client_certificate", "self_signed"]

_AUTHORITY = "ca"


def make_certificate(
    directory: Path, hosts: Sequence[str] = ("127.0.0.1", "localhost"), *, expired: bool = False
) -> tuple[Path, Path, Path]:
    """Make a server certificate and its authority.

    Args:
        directory: Where the files are written. A second call uses the authority that the first
            one made there.
        hosts: Host names and IP addresses that the certificate is valid for.
        expired: Whether the certificate expired an hour ago.

    Returns:
        The files of the authority, the certificate and the key.
    """
    return _signed(directory, "server", hosts, expired=expired)


def make_client_certificate(directory: Path, name: str = "client") -> tuple[Path, Path, Path]:
    """Make a client certificate, signed by the authority of `make_certificate`.

    Args:
        directory: Where the files are written.
        name: The common name, and the name of the files.

    Returns:
        The files of the authority, the certificate and the key.
    """
    return _signed(directory, name, ())


def self_signed(name: str) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """Return a new authority: a self-signed certificate for ``name``, and its key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return _certificate(name, key, None, ()), key


def _signed(
    directory: Path, name: str, hosts: Sequence[str], *, expired: bool = False
) -> tuple[Path, Path, Path]:
    from cryptography.hazmat.primitives.asymmetric import ec

    directory.mkdir(parents=True, exist_ok=True)
    issuer = _authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    made = _certificate(name, key, issuer, hosts, expired=expired)
    certificate, key_file = _write(directory, name, made, key)
    return directory / f"{_AUTHORITY}.crt", certificate, key_file


def _authority(directory: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key((directory / f"{_AUTHORITY}.key").read_bytes(), None)
        raw = (directory / f"{_AUTHORITY}.crt").read_bytes()
    except FileNotFoundError:
        made = self_signed("wherry test authority")
        _write(directory, _AUTHORITY, *made)
        return made
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{directory} holds the key of another authority")
    return x509.load_pem_x509_certificate(raw), key


def _write(
    directory: Path, name: str, certificate: x509.Certificate, key: EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    files = directory / f"{name}.crt", directory / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].touch(mode=0o600)
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, EllipticCurvePrivateKey] | None,
    hosts: Sequence[str],
    *,
    expired: bool = False,
) -> x509.Certificate:
    """Make a certificate that ``issuer`` signs; without one it is a self-signed authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer[1] if issuer is not None else key
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    end = begin if expired else begin + dt.timedelta(days=30)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_key_usage(authority=issuer is None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    if issuer is not None:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    # Python 3.13 verifies strictly (RFC 5280, section 4.2.1.3): an authority must assert
    # keyCertSign.
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
