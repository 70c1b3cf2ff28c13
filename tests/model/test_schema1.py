"""schema1 manifests: payloads, signatures and the chain of layers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import IntegrityError, InvalidDocument, Unsupported, WherryError
from wherry.model.digest import Digest
from wherry.model.manifest import parse, parse_verified
from wherry.model.schema1 import Schema1
from wherry.model.schema1_signatures import verify_signatures
from wherry.testing import (
    ALGORITHMS,
    BuiltSchema1,
    Schema1Entry,
    build_image,
    build_schema1,
    compress,
    make_key,
    schema1_of,
    tar_layer,
    v1_id,
)

SIGNED_TYPE = "application/vnd.docker.distribution.manifest.v1+prettyjws"
LAYERS = [compress(tar_layer({f"f{number}": b"x"}), "gzip") for number in range(3)]
KEYS = {algorithm: make_key(algorithm) for algorithm in ALGORITHMS}


def verified(manifest: Schema1) -> list[str]:
    """Verify the signatures of a manifest and return the ids of their keys."""
    return verify_signatures(manifest.signatures, manifest.payload)


def parsed(built: BuiltSchema1) -> Schema1:
    found = parse(built.manifest.data, built.manifest.media_type)
    assert isinstance(found, Schema1)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures_of_all_algorithms_are_verified(algorithm: str) -> None:
    found = parsed(build_schema1(LAYERS, keys=[(algorithm, KEYS[algorithm])]))
    (key_id,) = verified(found)
    assert [len(group) for group in key_id.split(":")] == [4] * 12


def test_several_signatures_each_with_its_key() -> None:
    keys = [("ES256", KEYS["ES256"]), ("RS512", KEYS["RS512"])]
    found = verified(parsed(build_schema1(LAYERS, keys=keys)))
    assert len(set(found)) == 2


def test_the_digest_is_that_of_the_payload_inside_the_signatures() -> None:
    built = build_schema1(LAYERS, keys=[("ES256", KEYS["ES256"])])
    found = parsed(built)
    assert found.payload == built.payload
    assert str(found.digest) == built.digest
    raw, kind = built.manifest.data, built.manifest.media_type
    assert parse_verified(found.digest, raw, kind) == found
    assert parse_verified(Digest.of(raw), raw, kind) == found
    with pytest.raises(IntegrityError):
        parse_verified(Digest.of(b""), raw, kind)


def around(payload: bytes, outside: dict[str, Any]) -> bytes:
    """Make a document whose payload by its signature is ``payload`` and that says another thing."""
    protected = {"formatLength": 0, "formatTail": encoded(payload)}
    signature = {
        "header": {},
        "signature": "",
        "protected": encoded(json.dumps(protected).encode()),
    }
    return json.dumps(outside | {"signatures": [signature]}).encode()


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


EVIL = build_image([tar_layer({"evil": b""})]).manifest.data
GOOD = build_image([tar_layer({"good": b""})]).manifest.data


@pytest.mark.parametrize("kind", ["", "application/json", "text/plain", SIGNED_TYPE])
@pytest.mark.parametrize("good", [GOOD, build_schema1(LAYERS).payload], ids=["oci", "schema1"])
@pytest.mark.parametrize("evil", [EVIL, build_schema1(LAYERS[:1]).payload], ids=["oci", "schema1"])
def test_nothing_outside_of_the_payload_counts(kind: str, good: bytes, evil: bytes) -> None:
    """A document may name any payload: what its digest is of is all that may be read from it."""
    raw = around(good, json.loads(evil))
    try:
        found = parse_verified(Digest.of(good), raw, kind)
    except WherryError:
        return
    assert isinstance(found, Schema1)
    assert found.payload == good
    assert [layer.blob_sum for layer in reversed(found.layers)] == [
        Digest.of(layer) for layer in LAYERS
    ]


def test_an_unsigned_manifest_is_its_own_payload() -> None:
    built = build_schema1(LAYERS)
    assert parsed(built).digest == Digest.of(built.manifest.data)
    assert verified(parsed(built)) == []


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_tampered_payload_is_refused(algorithm: str) -> None:
    built = build_schema1(LAYERS, tag="latest", keys=[(algorithm, KEYS[algorithm])])
    tampered = built.manifest.data.replace(b'"tag": "latest"', b'"tag": "latesu"')
    found = parse(tampered, built.manifest.media_type)
    assert isinstance(found, Schema1)
    with pytest.raises(IntegrityError, match="does not match"):
        verified(found)


def edited(built: BuiltSchema1, **header: Any) -> Schema1:
    document = json.loads(built.manifest.data)
    document["signatures"][0]["header"] |= header
    # The payload is cut out by its length, so everything before has to stay where it is.
    at = built.manifest.data.index(b'"signatures"')
    raw = built.manifest.data[:at] + b'"signatures":' + json.dumps(document["signatures"]).encode()
    found = parse(raw + b"\n}", built.manifest.media_type)
    assert isinstance(found, Schema1)
    return found


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"alg": "none"}, Unsupported),
        ({"alg": "HS256"}, Unsupported),
        ({"alg": "RS256"}, IntegrityError),
        ({"alg": "ES384"}, IntegrityError),
        ({"jwk": {}}, IntegrityError),
        ({"jwk": {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}}, IntegrityError),
        ({"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, IntegrityError),
        ({"jwk": {"kty": "RSA", "n": "AQ", "e": "AQ"}}, IntegrityError),
        ({"jwk": {}, "x5c": ["AAAA"]}, IntegrityError),
    ],
)
def test_signatures_that_prove_nothing_are_refused(
    header: dict[str, Any], error: type[WherryError]
) -> None:
    built = build_schema1(LAYERS, keys=[("ES256", KEYS["ES256"])])
    with pytest.raises(error):
        verified(edited(built, **header))


# The chain


def steps(*entries: dict[str, Any]) -> BuiltSchema1:
    """Make a manifest of the given version 1 JSONs, bottom first."""
    return schema1_of([Schema1Entry(LAYERS[n % 3], entry) for n, entry in enumerate(entries)])


def test_layers_run_from_the_top_down() -> None:
    found = parsed(build_schema1(LAYERS))
    assert [layer.id for layer in found.layers] == [v1_id(2), v1_id(1), v1_id(0)]
    assert [layer.blob_sum for layer in reversed(found.layers)] == [
        Digest.of(layer) for layer in LAYERS
    ]


def test_of_two_adjacent_equal_ids_the_upper_one_goes_with_its_layer() -> None:
    built = steps(
        {"id": v1_id(0)},
        {"id": v1_id(1), "parent": v1_id(0)},
        {"id": v1_id(1), "parent": v1_id(0)},
    )
    found = parsed(built)
    assert [layer.id for layer in found.layers] == [v1_id(1), v1_id(0)]
    assert found.layers[0].blob_sum == Digest.of(LAYERS[1])


def test_throwaway_entries_are_told() -> None:
    built = steps({"id": v1_id(0)}, {"id": v1_id(1), "parent": v1_id(0), "throwaway": True})
    assert [layer.throwaway for layer in parsed(built).layers] == [True, False]


@pytest.mark.parametrize(
    ("entries", "path"),
    [
        ([{"id": v1_id(0), "parent": v1_id(9)}], "history[0].v1Compatibility.parent"),
        ([{"id": v1_id(0)}, {"id": v1_id(1)}], "history[0].v1Compatibility.parent"),
        (
            [
                {"id": v1_id(0)},
                {"id": v1_id(1), "parent": v1_id(0)},
                {"id": v1_id(0), "parent": v1_id(1)},
            ],
            "history[0].v1Compatibility.id",
        ),
        ([{"id": "short"}], "history[0].v1Compatibility.id"),
        ([{"id": v1_id(0).upper()}], "history[0].v1Compatibility.id"),
        ([{}], "history[0].v1Compatibility.id"),
        ([{"id": v1_id(0), "config": 5}], "history[0].v1Compatibility.config"),
        ([{"id": v1_id(0), "throwaway": "yes"}], "history[0].v1Compatibility.throwaway"),
    ],
)
def test_a_broken_chain_is_refused_with_its_place(entries: list[dict[str, Any]], path: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parsed(steps(*entries))
    assert caught.value.path == path


def test_tarsums_are_not_supported() -> None:
    built = build_schema1(LAYERS)
    raw = built.manifest.data.replace(b'"blobSum": "sha256:', b'"blobSum": "tarsum+sha256:')
    with pytest.raises(Unsupported, match="tarsum"):
        parse(raw, built.manifest.media_type)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schemaVersion": 2}, "schemaVersion"),
        ({"fsLayers": []}, "fsLayers"),
        ({"history": []}, "history"),
        ({"fsLayers": [{"blobSum": "sha256:12"}] * 3}, "fsLayers[0].blobSum"),
        ({"signatures": {}}, "signatures"),
        ({"signatures": [{"protected": "e30", "header": {}}]}, "signatures[0].protected"),
        ({"signatures": [{"protected": "!", "header": {}}]}, "signatures[0].protected"),
        ({"history": [{"v1Compatibility": 5}] * 3}, "history[0].v1Compatibility"),
        ({"history": [{"v1Compatibility": "nope"}] * 3}, "history[0].v1Compatibility"),
    ],
)
def test_refusals_name_their_place(change: dict[str, Any], path: str) -> None:
    built = build_schema1(LAYERS)
    document = json.loads(built.manifest.data) | change
    with pytest.raises(InvalidDocument) as caught:
        parse(json.dumps(document).encode(), built.manifest.media_type)
    assert caught.value.path == path


BUILT = build_schema1(LAYERS, keys=[("ES256", KEYS["ES256"])])
SIGNED, SIGNED_PAYLOAD = BUILT.manifest, BUILT.payload


def test_a_manifest_served_as_signed_has_signatures() -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse(SIGNED_PAYLOAD, SIGNED_TYPE)
    assert caught.value.path == "signatures"
    assert isinstance(parse(SIGNED_PAYLOAD, SIGNED_TYPE.replace("prettyjws", "json")), Schema1)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(SIGNED.data) - 1), st.binary(max_size=3))
def test_a_damaged_manifest_makes_nothing_but_a_refusal(at: int, patch: bytes) -> None:
    """No byte of a signed manifest can be changed without notice, but for space outside of it."""
    raw = SIGNED.data[:at] + patch + SIGNED.data[at + len(patch) :]
    try:
        found = parse(raw, SIGNED.media_type)
        assert isinstance(found, Schema1)
        verified(found)
    except WherryError:
        return
    assert found.payload == SIGNED_PAYLOAD
