"""Builders of schema1 manifests: unsigned, or signed with one of six algorithms."""

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
    """One entry of a schema1 manifest.

    Attributes:
        layer: The compressed layer.
        v1: The image JSON of version 1, which ``v1Compatibility`` holds as text.
    """

    layer: bytes
    v1: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BuiltSchema1:
    """A schema1 manifest and its blobs.

    Attributes:
        manifest: The manifest with its signatures.
        payload: The manifest without its signatures.
        layers: The compressed layers, the lowest first.
    """

    manifest: Piece
    payload: bytes
    layers: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The digest under which registries serve the manifest: that of the payload."""
        return sha256(self.payload)


def v1_id(number: int) -> str:
    """Return an image id of version 1; the same number gives the same id."""
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
    """Build a schema1 manifest whose entries are chained by their ids.

    Args:
        layers: The compressed layers, the lowest first.
        name: The repository in the manifest.
        tag: The tag in the manifest.
        keys: Algorithms of `ALGORITHMS` and private keys to sign with; without any the manifest
            is unsigned.
        top: Keys that are set in the version 1 JSON of the topmost layer; None removes a key.
        each: Keys that are set in all version 1 JSON; None removes a key.
    """
    entries = []
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
        entries.append(Schema1Entry(layer, {k: v for k, v in v1.items() if v is not None}))
    return schema1_of(entries, name=name, tag=tag, keys=keys)


def schema1_of(
    entries: Sequence[Schema1Entry],
    *,
    name: str = "test/image",
    tag: str = "latest",
    keys: Sequence[tuple[str, PrivateKey]] = (),
) -> BuiltSchema1:
    """Build a schema1 manifest of given entries, which may be inconsistent.

    Args:
        entries: The entries, the lowest layer first.
        name: The repository in the manifest.
        tag: The tag in the manifest.
        keys: Algorithms and private keys to sign with, as in `build_schema1`.
    """
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": sha256(entry.layer)} for entry in reversed(entries)],
        "history": [{"v1Compatibility": json.dumps(dict(entry.v1))} for entry in reversed(entries)],
    }
    payload = json.dumps(document, indent=3).encode()
    raw = sign(payload, keys) if keys else payload
    media_type = SIGNED if keys else UNSIGNED
    return BuiltSchema1(Piece(media_type, raw), payload, tuple(entry.layer for entry in entries))


def make_key(algorithm: str) -> PrivateKey:
    """Return a new private key for one of `ALGORITHMS`."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if algorithm in _CURVES:
        return ec.generate_private_key(getattr(ec, _CURVES[algorithm])())
    return rsa.generate_private_key(65537, _RSA_BITS)


def sign(payload: bytes, keys: Sequence[tuple[str, PrivateKey]]) -> bytes:
    """Add signatures to a manifest, in the "pretty" form of Docker's libtrust."""
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
