"""Docker's schema1 manifests: signed payloads, and the chain of layers in them.

SPEC: "schema1". The signature format is that of libtrust: a JWS over the payload, which is
the document without its signatures, rebuilt from its first bytes and a tail.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry.errors import IntegrityError, InvalidDigest, InvalidDocument, Unsupported
from wherry.model import mediatype, v1
from wherry.model._fields import Fields, check_values, load_object
from wherry.model.digest import Digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_DEPTH = 8
MAX_SIGNATURES = 16
_KID_BYTES = 30  # of the key's hash that its id shows
_KID_GROUP = 4  # characters between two colons
_CURVES = {"P-256": ("SECP256R1", 32), "P-384": ("SECP384R1", 48), "P-521": ("SECP521R1", 66)}
_HASHES = {"256": "SHA256", "384": "SHA384", "512": "SHA512"}
_MIN_RSA_BITS, _MAX_RSA_BITS = 1024, 16384


@dataclass(frozen=True, slots=True)
class Schema1Layer:
    """One step of the chain: its blob, its version 1 JSON, and whether it made a layer."""

    blob_sum: Digest
    v1_json: bytes = field(repr=False)
    id: str
    parent: str
    throwaway: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """One JWS signature over the payload, with the key that it brings along.

    ``protected`` is the JWS's protected header as the document has it, in base64url.
    """

    algorithm: str
    key: dict[str, Any] = field(repr=False)
    chain: tuple[str, ...] = field(repr=False)
    value: bytes = field(repr=False)
    protected: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Schema1:
    """A schema1 manifest; ``raw`` is as served, ``payload`` is what its digest is of.

    ``layers`` run from the top down, as the document lists them, repeated ids taken out.
    """

    raw: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    media_type: str
    name: str
    tag: str
    architecture: str
    layers: tuple[Schema1Layer, ...]
    signatures: tuple[Signature, ...]

    def __hash__(self) -> int:
        return hash(self.raw)

    @property
    def digest(self) -> Digest:
        """The digest that registries know it by."""
        return Digest.of(self.payload)


def payload_of(raw: bytes) -> bytes:
    """Return the payload of a signed document; any other document is returned as it is.

    The content is not checked. Raises `InvalidDocument` if the signatures do not tell what
    they are over.
    """
    try:
        check_values(raw, "the manifest")
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    if not isinstance(found, dict) or not {"fsLayers", "signatures"} <= found.keys():
        return raw
    return _payload(Fields(found), raw)


def parse_schema1(fields: Fields, raw: bytes, media_type: str) -> Schema1:
    """Read a schema1 manifest and check its chain; signatures are read, not verified.

    Raises `InvalidDocument`, and `Unsupported` for layers named by tarsums.
    """
    payload = _payload(fields, raw)
    if media_type == mediatype.DOCKER_SCHEMA1_SIGNED and payload == raw:
        fields.fail("signatures", f"are missing, expected in {media_type}")
    signed = fields
    if payload != raw:
        # The digest and the signatures are over the payload: what stands outside is hearsay.
        fields = load_object(payload, "the signed payload", max_depth=MAX_DEPTH)
        for key in ("layers", "manifests", "config", "signatures"):
            if key in fields.value:
                fields.fail(key, "does not belong into a schema1 payload")
    if fields.integer("schemaVersion") != 1:
        fields.fail("schemaVersion", "expected 1")
    return Schema1(
        raw=raw,
        payload=payload,
        media_type=media_type,
        name=fields.text("name"),
        tag=fields.text("tag"),
        architecture=fields.text("architecture"),
        layers=_chain(_layers(fields)),
        signatures=tuple(map(_signature, _signature_fields(signed))),
    )


# The chain


def _layers(fields: Fields) -> list[Schema1Layer]:
    blobs, history = fields.objects("fsLayers"), fields.objects("history")
    if not blobs:
        fields.fail("fsLayers", "is empty, expected at least one layer")
    if len(blobs) != len(history):
        fields.fail("history", f"has {len(history)} entries for {len(blobs)} layers")
    return [_layer(blob, entry) for blob, entry in zip(blobs, history, strict=True)]


def _layer(blob: Fields, entry: Fields) -> Schema1Layer:
    text = blob.text("blobSum")
    if text.startswith("tarsum"):
        raise Unsupported("layers named by tarsum are not supported").within(blob.at("blobSum"))
    try:
        digest = Digest.parse(text)
    except InvalidDigest as error:
        blob.fail("blobSum", error.message)
    raw = entry.text("v1Compatibility").encode("utf-8")
    path = entry.at("v1Compatibility")
    try:
        found = v1.image(raw)
        throwaway = v1.parse_throwaway(raw)
        v1.validate_id(found.get("id", ""))
    except InvalidDocument as error:
        where = f"{path}.{error.path}" if error.path else path
        raise InvalidDocument(error.message, path=where) from None
    return Schema1Layer(digest, raw, found["id"], found.get("parent", ""), throwaway)


def _chain(layers: list[Schema1Layer]) -> tuple[Schema1Layer, ...]:
    """Check that each layer's parent is the next one, and take out adjacent repetitions."""
    if layers[-1].parent:
        raise InvalidDocument(
            "the base layer has a parent", path=f"history[{len(layers) - 1}].v1Compatibility.parent"
        )
    kept: list[Schema1Layer] = []
    seen: set[str] = set()
    for place in range(len(layers) - 1, -1, -1):
        layer, path = layers[place], f"history[{place}].v1Compatibility"
        if kept and layer.id == kept[-1].id:
            continue  # of two equal ones the upper one goes, with its layer
        if layer.id in seen:
            raise InvalidDocument(f"{layer.id} appears more than once", path=f"{path}.id")
        if kept and layer.parent != kept[-1].id:
            raise InvalidDocument(
                f"is {layer.parent[:80]!r}, expected {kept[-1].id}", path=f"{path}.parent"
            )
        seen.add(layer.id)
        kept.append(layer)
    return tuple(reversed(kept))


# Signatures


def _signature_fields(fields: Fields) -> list[Fields]:
    found = fields.objects("signatures")
    if len(found) > MAX_SIGNATURES:
        fields.fail("signatures", f"has {len(found)} entries, at most {MAX_SIGNATURES}")
    return found


def _payload(fields: Fields, raw: bytes) -> bytes:
    """Cut the signatures out of a document; all of them have to agree on how."""
    found: set[tuple[int, bytes]] = set()
    for item in _signature_fields(fields):
        protected = _protected(item)
        length = protected.integer("formatLength")
        if length is None or not 0 <= length <= len(raw):
            item.fail("protected", "formatLength does not fit the document")
        found.add((length, _base64(protected, "formatTail")))
    if not found:
        return raw
    if len(found) > 1:
        raise InvalidDocument("the signatures are over different payloads", path="signatures")
    length, tail = found.pop()
    return raw[:length] + tail


def _protected(item: Fields) -> Fields:
    raw = _base64(item, "protected")
    try:
        found = load_object(raw, "the protected header", max_depth=MAX_DEPTH)
    except InvalidDocument as error:
        item.fail("protected", error.message)
    return Fields(found.value, item.at("protected"))


def _base64(fields: Fields, key: str) -> bytes:
    """Decode base64url without padding (RFC 7515, 2)."""
    text = fields.text(key)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        fields.fail(key, "is not base64url")


def _signature(item: Fields) -> Signature:
    header = item.required_object("header")
    key = header.object("jwk")
    return Signature(
        algorithm=header.text("alg"),
        key={} if key is None else key.value,
        chain=header.texts("x5c"),
        value=_base64(item, "signature"),
        protected=item.text("protected"),
    )


def verify_signatures(manifest: Schema1) -> list[str]:
    """Verify all signatures of a manifest and return the ids of the keys that made them.

    A good signature says that the payload is what the key's owner signed; whom the key
    belongs to is for the caller to decide. Raises `IntegrityError`, and `Unsupported` for
    other algorithms than ES and RS with 256, 384 and 512.
    """
    return [_verify(signature, manifest.payload) for signature in manifest.signatures]


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
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):  # a key that fits no hash
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
    """Return the key that a signature brings along, as a JWK or in its certificate."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    fields = Fields(signature.key, "signatures[].header.jwk")
    try:
        if signature.key.get("kty") == "EC":
            curve, size = _CURVES[fields.text("crv")]
            x, y = _base64(fields, "x"), _base64(fields, "y")
            if len(x) > size or len(y) > size:
                raise ValueError("the coordinates are too long")  # noqa: TRY301
            point = (int.from_bytes(x, "big"), int.from_bytes(y, "big"))
            return ec.EllipticCurvePublicNumbers(*point, getattr(ec, curve)()).public_key()
        if signature.key.get("kty") == "RSA":
            n, e = (int.from_bytes(_base64(fields, part), "big") for part in ("n", "e"))
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
    except x509.InvalidVersion as error:  # which is no ValueError
        raise ValueError(str(error)) from None
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        _check_rsa_size(numbers.n, numbers.e)
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the certificate's key is of another kind")  # noqa: TRY004
    return key


def _check_rsa_size(n: int, e: int) -> None:
    """Raise `ValueError` for a key that takes too long to use."""
    if not _MIN_RSA_BITS <= n.bit_length() <= _MAX_RSA_BITS or e.bit_length() > 64:  # noqa: PLR2004
        raise ValueError("the key's size is out of range")


def key_id(key: EllipticCurvePublicKey | RSAPublicKey) -> str:
    """Return libtrust's id of a key: base32 of its hash, in groups of four."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_KID_BYTES]).decode("ascii")
    return ":".join(text[at : at + _KID_GROUP] for at in range(0, len(text), _KID_GROUP))


def _bad_signature(message: str) -> IntegrityError:
    return IntegrityError(
        f"the manifest's signature {message}",
        expected="a signature over the payload by the key it brings along",
        actual=message,
        hint="engines do not check these signatures; --no-verify-signatures does not either",
    )
