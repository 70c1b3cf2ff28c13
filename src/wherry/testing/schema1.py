"""Builds schema1 manifests, signed with any of the six algorithms or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry.testing.images import Piece, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey

SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
UNSIGNED = "application/vnd.docker.distribution.manifest.v1+json"
ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512")
_CURVES = {"ES256": "SECP256R1", "ES384": "SECP384R1", "ES512": "SECP521R1"}
_CURVE_NAMES = {256: "P-256", 384: "P-384", 521: "P-521"}
_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Schema1Entry:
    """One entry of a schema1 image: a compressed layer and its version 1 JSON."""

    layer: bytes
    v1: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BuiltSchema1:
    """A schema1 manifest and its blobs; ``digest`` is that of the payload."""

    manifest: Piece
    payload: bytes
    layers: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The digest that registries know it by."""
        return sha256(self.payload)


def v1_id(number: int) -> str:
    """Return a version 1 id, the same one for the same number."""
    return hashlib.sha256(f"layer {number}".encode()).hexdigest()


def build_schema1(
    layers: Sequence[bytes],
    *,
    name: str = "test/image",
    tag: str = "latest",
    keys: Sequence[tuple[str, PrivateKey]] = (),
    top: Mapping[str, object] | None = None,
    each: Mapping[str, object] | None = None,
) -> BuiltSchema1:
    """Build an image of ``layers`` (compressed, bottom first), chained by ids.

    ``top`` is laid over the topmost version 1 JSON, ``each`` over all of them; a value of
    None removes a key. ``keys`` are (algorithm, private key) pairs; without any the manifest
    is an unsigned one.
    """
    steps = []
    for number, layer in enumerate(layers):
        v1: dict[str, object] = {
            "id": v1_id(number),
            "created": f"2015-06-10T20:39:0{number % 10}Z",
            "container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]},
            "architecture": "amd64",
            "os": "linux",
        }
        if number:
            v1["parent"] = v1_id(number - 1)
        v1 |= each or {}
        if number == len(layers) - 1:
            v1 |= top or {}
        steps.append(Schema1Entry(layer, {k: v for k, v in v1.items() if v is not None}))
    return schema1_of(steps, name=name, tag=tag, keys=keys)


def schema1_of(
    steps: Sequence[Schema1Entry],
    *,
    name: str = "test/image",
    tag: str = "latest",
    keys: Sequence[tuple[str, PrivateKey]] = (),
) -> BuiltSchema1:
    """Build a manifest of ``steps``, bottom first, whatever they say."""
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": sha256(step.layer)} for step in reversed(steps)],
        "history": [{"v1Compatibility": json.dumps(dict(step.v1))} for step in reversed(steps)],
    }
    payload = json.dumps(document, indent=3).encode()
    raw = sign(payload, keys) if keys else payload
    media_type = SIGNED if keys else UNSIGNED
    return BuiltSchema1(Piece(media_type, raw), payload, tuple(step.layer for step in steps))


def make_key(algorithm: str) -> PrivateKey:
    """Make a key for one of `ALGORITHMS`."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if algorithm in _CURVES:
        return ec.generate_private_key(getattr(ec, _CURVES[algorithm])())
    return rsa.generate_private_key(65537, _RSA_BITS)


def sign(payload: bytes, keys: Sequence[tuple[str, PrivateKey]]) -> bytes:
    """Put signatures into a document of the form that libtrust calls pretty."""
    cut = payload.rindex(b"\n}")
    tail = payload[cut:]
    protected = _encoded(json.dumps({"formatLength": cut, "formatTail": _encoded(tail)}).encode())
    signed = f"{protected}.{_encoded(payload)}".encode()
    signatures = [
        {
            "header": {"jwk": _jwk(key), "alg": algorithm},
            "signature": _encoded(_signature(key, algorithm, signed)),
            "protected": protected,
        }
        for algorithm, key in keys
    ]
    block = json.dumps(signatures, indent=3).replace("\n", "\n   ").encode()
    return payload[:cut] + b',\n   "signatures": ' + block + tail


def _signature(key: PrivateKey, algorithm: str, signed: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    digest = getattr(hashes, f"SHA{algorithm[2:]}")()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        numbers = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
        return b"".join(number.to_bytes(size, "big") for number in numbers)
    return key.sign(signed, padding.PKCS1v15(), digest)


def _jwk(key: PrivateKey) -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        size = (key.curve.key_size + 7) // 8
        return {
            "kty": "EC",
            "crv": _CURVE_NAMES[key.curve.key_size],
            "x": _encoded(point.x.to_bytes(size, "big")),
            "y": _encoded(point.y.to_bytes(size, "big")),
        }
    numbers = key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "n": _encoded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": _encoded(numbers.e.to_bytes(3, "big")),
    }


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
