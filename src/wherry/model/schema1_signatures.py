"""Signatures of schema1 manifests, in the format of libtrust: JWS (RFC 7515)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry.errors import IntegrityError, Unsupported
from wherry.model._fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_KID_BYTES = 30  # of the key's hash in its id
_KID_GROUP = 4  # characters between colons
_CURVES = {"P-256": ("SECP256R1", 32), "P-384": ("SECP384R1", 48), "P-521": ("SECP521R1", 66)}
_HASHES = {"256": "SHA256", "384": "SHA384", "512": "SHA512"}
_MIN_RSA_BITS, _MAX_RSA_BITS = 1024, 16384


@dataclass(frozen=True, slots=True)
class Signature:
    """A JWS signature of the payload, with its public key.

    ``protected`` is the protected header in base64url, as in the document.
    """

    algorithm: str
    key: dict[str, Any] = field(repr=False)
    chain: tuple[str, ...] = field(repr=False)
    value: bytes = field(repr=False)
    protected: str = field(repr=False)


def parse_signature(item: Fields) -> Signature:
    """Return a signature from its JSON object; raises `InvalidDocument`."""
    header = item.required_object("header")
    key = header.object("jwk")
    return Signature(
        algorithm=header.text("alg"),
        key={} if key is None else key.value,
        chain=header.texts("x5c"),
        value=decode_base64(item, "signature"),
        protected=item.text("protected"),
    )


def decode_base64(fields: Fields, key: str) -> bytes:
    """Decode base64url without padding (RFC 7515, 2)."""
    text = fields.text(key)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        fields.fail(key, "is not base64url")


def verify_signatures(signatures: Iterable[Signature], payload: bytes) -> list[str]:
    """Verify the signatures of a payload and return the ids of their keys.

    A valid signature shows that the owner of the key signed the payload. The caller decides
    whether to trust the key.

    Raises:
        IntegrityError: A signature does not match, or has no usable key.
        Unsupported: The algorithm is not ES or RS with 256, 384 or 512 bits.
    """
    return [_verify(signature, payload) for signature in signatures]


def _verify(signature: Signature, payload: bytes) -> str:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    key = _public_key(signature)
    family, bits = signature.algorithm[:2], signature.algorithm[2:]
    if family not in {"ES", "RS"} or bits not in _HASHES:
        raise Unsupported(f"signatures by {signature.algorithm[:20]!r} are not supported")
    if (family == "ES") != isinstance(key, EllipticCurvePublicKey):
        raise _bad_signature(f"{signature.algorithm} does not go with its key")
    encoded = base64.urlsafe_b64encode(payload).rstrip(b"=")
    signed = signature.protected.encode() + b"." + encoded  # RFC 7515, 5.1
    try:
        _check(key, signature.value, signed, bits)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):  # the key and the hash do not fit
        raise _bad_signature("does not match") from None
    return key_id(key)


def _check(
    key: EllipticCurvePublicKey | RSAPublicKey, value: bytes, signed: bytes, bits: str
) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    algorithm = getattr(hashes, _HASHES[bits])()
    if isinstance(key, ec.EllipticCurvePublicKey):
        half = (key.curve.key_size + 7) // 8
        if len(value) != 2 * half:
            raise InvalidSignature
        numbers = (int.from_bytes(part, "big") for part in (value[:half], value[half:]))
        key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(algorithm))
    else:
        key.verify(value, signed, padding.PKCS1v15(), algorithm)


def _public_key(signature: Signature) -> EllipticCurvePublicKey | RSAPublicKey:
    """Return the public key of a signature, from its JWK or its certificate."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    fields = Fields(signature.key, "signatures[].header.jwk")
    try:
        if signature.key.get("kty") == "EC":
            curve, size = _CURVES[fields.text("crv")]
            x, y = decode_base64(fields, "x"), decode_base64(fields, "y")
            if len(x) > size or len(y) > size:
                raise ValueError("the coordinates are too long")  # noqa: TRY301
            point = (int.from_bytes(x, "big"), int.from_bytes(y, "big"))
            return ec.EllipticCurvePublicNumbers(*point, getattr(ec, curve)()).public_key()
        if signature.key.get("kty") == "RSA":
            n, e = (int.from_bytes(decode_base64(fields, part), "big") for part in ("n", "e"))
            _check_rsa_size(n, e)
            return rsa.RSAPublicNumbers(e, n).public_key()
        if signature.chain:
            return _certified_key(signature.chain[0])
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise _bad_signature(f"has no usable key ({error})") from None
    raise _bad_signature("brings no key along")


def _certified_key(encoded: str) -> EllipticCurvePublicKey | RSAPublicKey:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(encoded, validate=True))
    except x509.InvalidVersion as error:  # not a ValueError
        raise ValueError(str(error)) from None
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        _check_rsa_size(numbers.n, numbers.e)
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the certificate's key is of another kind")  # noqa: TRY004
    return key


def _check_rsa_size(n: int, e: int) -> None:
    """Raise `ValueError` for a key size that takes too long to verify with."""
    if not _MIN_RSA_BITS <= n.bit_length() <= _MAX_RSA_BITS or e.bit_length() > 64:  # noqa: PLR2004
        raise ValueError("the key's size is out of range")


def key_id(key: EllipticCurvePublicKey | RSAPublicKey) -> str:
    """Return the key id of libtrust: base32 of a hash of the key, in groups of four."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_KID_BYTES]).decode("ascii")
    return ":".join(text[at : at + _KID_GROUP] for at in range(0, len(text), _KID_GROUP))


def sign(payload: bytes) -> bytes:
    """Add a signature to an indented manifest, by a new key that is not kept.

    Docker signs in this way too: the signature shows only that the manifest is complete.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    length = payload.rindex(b"\n}")
    tail = payload[length:]
    protected = _encoded(json.dumps({"formatLength": length, "formatTail": _encoded(tail)}))
    signature = {
        "header": {"jwk": _jwk(key.public_key()), "alg": "ES256"},
        "signature": _es256(key, f"{protected}.{_encoded(payload)}"),
        "protected": protected,
    }
    text = json.dumps([signature], indent=3).replace("\n", "\n   ")
    return payload[:length] + f',\n   "signatures": {text}'.encode() + tail


def _es256(key: EllipticCurvePrivateKey, signed: str) -> str:
    """Return a signature as RFC 7518, 3.4 writes it: two numbers of 32 bytes."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    numbers = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return _encoded(b"".join(number.to_bytes(32, "big") for number in numbers))


def _jwk(key: EllipticCurvePublicKey) -> dict[str, str]:
    point = key.public_numbers()
    x, y = (_encoded(number.to_bytes(32, "big")) for number in (point.x, point.y))
    return {"crv": "P-256", "kid": key_id(key), "kty": "EC", "x": x, "y": y}


def _encoded(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bad_signature(message: str) -> IntegrityError:
    return IntegrityError(
        f"the manifest's signature {message}",
        expected="a signature over the payload by the key it brings along",
        actual=message,
        hint="engines do not check these signatures; --no-verify-signatures does not either",
    )
