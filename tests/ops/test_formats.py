"""Images of all forms that the OCI image spec 1.1 and older formats of docker allow."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry as library
from wherry import Client, Store
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    NotFound,
    PlatformMismatch,
    Unsupported,
)
from wherry.image_store import local_store
from wherry.testing import (
    BuiltSchema1,
    Corrupt,
    FakeRegistry,
    Fault,
    Schema1Entry,
    build_image,
    build_schema1,
    compress,
    make_key,
    schema1_of,
    tar_layer,
    v1_id,
)

if TYPE_CHECKING:
    from wherry import Event

TARS = [tar_layer({f"f{number}": b"x%d" % number}) for number in range(3)]
LAYERS = [compress(tar, "gzip") for tar in TARS]


# Foreign layers

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def foreign(url: str) -> Any:
    built = build_image(TARS[:1], style="docker", layer_media_types=[FOREIGN])
    document = json.loads(built.manifest.data)
    document["layers"][0]["urls"] = [url]
    return built, json.dumps(document).encode()


def push_foreign(fake: FakeRegistry, url: str) -> str:
    built, raw = foreign(url)
    fake.add_blob(built.config.data)
    fake.add_manifest("app", raw, built.manifest.media_type, "t")
    return f"{fake.host}/app:t"


def test_foreign_layers_come_from_the_registry_without_a_flag(
    fake: FakeRegistry, client: Client
) -> None:
    """Like docker and skopeo, ask the registry before the URLs of the manifest."""
    built, _ = foreign("")
    with FakeRegistry() as elsewhere:
        name = push_foreign(fake, f"{elsewhere.url}/x")
        fake.add_blob(built.layers[0].data)
        assert str(client.pull(name).id) == built.id
        assert elsewhere.requests == []


@pytest.mark.parametrize("kind", [FOREIGN, "application/vnd.oci.image.layer.v1.tar+gzip"])
def test_addresses_of_layers_are_not_asked_unless_allowed(
    fake: FakeRegistry, client: Client, kind: str
) -> None:
    built = build_image(TARS[:1], style="docker", layer_media_types=[kind])
    document = json.loads(built.manifest.data)
    with FakeRegistry() as elsewhere:
        document["layers"][0]["urls"] = [f"{elsewhere.url}/x"]
        fake.add_blob(built.config.data)
        fake.add_manifest("app", json.dumps(document).encode(), built.manifest.media_type, "t")
        with pytest.raises(NotFound) as caught:
            client.pull(f"{fake.host}/app:t")
        assert "--foreign" in caught.value.hint
        assert [finding.where for finding in client.validate(f"{fake.host}/app:t").findings] == [
            "layers[0]"
        ]
        assert elsewhere.requests == []


def test_the_registry_is_asked_before_the_addresses(fake: FakeRegistry, store: Store) -> None:
    built, _ = foreign("")
    with FakeRegistry() as elsewhere, Client(store=store, foreign=True) as client:
        name = push_foreign(fake, f"{elsewhere.url}/x")
        fake.add_blob(built.layers[0].data)
        client.pull(name)
        assert elsewhere.requests == []


def test_a_foreign_layer_that_the_store_has_is_not_fetched(
    fake: FakeRegistry, client: Client
) -> None:
    built, _ = foreign("")
    with FakeRegistry() as other:
        other.add_image("app", build_image(TARS[:1], style="docker"), "t")
        client.pull(f"{other.host}/app:t")
    assert str(client.pull(push_foreign(fake, f"{fake.url}/elsewhere")).id) == built.id
    assert not [each for each in fake.requests if built.layers[0].digest in each.path]


def test_foreign_layers_come_from_their_addresses_without_credentials(
    fake: FakeRegistry, store: Store
) -> None:
    built, _ = foreign("")
    with FakeRegistry() as elsewhere:
        digest = elsewhere.add_blob(built.layers[0].data)
        name = push_foreign(fake, f"{elsewhere.url}/v2/any/blobs/{digest}?sig=secret")
        with Client(store=store, foreign=True, credentials=("me", "pw")) as client:
            assert str(client.pull(name).id) == built.id
        assert [request.headers.get("authorization") for request in elsewhere.requests] == [None]


def test_foreign_layers_are_verified_like_others(fake: FakeRegistry, store: Store) -> None:
    built, _ = foreign("")
    with FakeRegistry() as elsewhere:
        digest = elsewhere.add_blob(built.layers[0].data)
        elsewhere.inject(Fault(Corrupt(at=20)))
        name = push_foreign(fake, f"{elsewhere.url}/v2/any/blobs/{digest}")
        with Client(store=store, foreign=True) as client, pytest.raises(IntegrityError):
            client.pull(name)
    assert store.images() == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "nonsense", "http://"])
def test_invalid_addresses_are_refused(fake: FakeRegistry, store: Store, url: str) -> None:
    with Client(store=store, foreign=True) as client, pytest.raises(Unsupported):
        client.pull(push_foreign(fake, url))


# Descriptors


def test_a_config_that_the_manifest_brings_along_is_not_fetched(
    fake: FakeRegistry, client: Client
) -> None:
    built = build_image(TARS)
    document = json.loads(built.manifest.data)
    document["config"]["data"] = base64.b64encode(built.config.data).decode()
    for piece in built.layers:
        fake.add_blob(piece.data)
    fake.add_manifest("app", json.dumps(document).encode(), built.manifest.media_type, "t")
    assert str(client.pull(f"{fake.host}/app:t").id) == built.id
    assert not any(built.config.digest in request.path for request in fake.requests)


def test_data_that_does_not_match_its_digest_is_refused(fake: FakeRegistry, client: Client) -> None:
    built = build_image(TARS)
    document = json.loads(built.manifest.data)
    document["config"]["data"] = base64.b64encode(built.config.data[:-1] + b" ").decode()
    fake.add_manifest("app", json.dumps(document).encode(), built.manifest.media_type, "t")
    with pytest.raises(InvalidDocument) as caught:
        client.pull(f"{fake.host}/app:t")
    assert caught.value.path == "config.data"


def test_blobs_may_be_named_by_sha512(fake: FakeRegistry, client: Client) -> None:
    built = build_image(TARS)
    document = json.loads(built.manifest.data)
    for entry, piece in zip(document["layers"], built.layers, strict=True):
        entry["digest"] = f"sha512:{hashlib.sha512(piece.data).hexdigest()}"
        fake.add_blob(piece.data, algorithm="sha512")
    fake.add_blob(built.config.data)
    fake.add_manifest("app", json.dumps(document).encode(), built.manifest.media_type, "t")
    image = client.pull(f"{fake.host}/app:t")
    assert {layer.digest.algorithm for layer in image.layers} == {"sha512"}
    with image.layers[0].open_tar() as tar:
        assert tar.getnames() == ["f0"]


@pytest.mark.parametrize("lie", [False, True])
def test_diff_ids_may_be_sha512(
    fake: FakeRegistry, client: Client, store: Store, *, lie: bool
) -> None:
    diff_ids = [f"sha512:{hashlib.sha512(tar).hexdigest()}" for tar in TARS]
    if lie:
        diff_ids[1] = diff_ids[0]
    built = build_image(TARS, diff_ids=diff_ids)
    fake.add_image("app", built, "t")
    if lie:
        with pytest.raises(IntegrityError, match="DiffID"):
            client.pull(f"{fake.host}/app:t")
        assert store.images() == []
    else:
        assert str(client.pull(f"{fake.host}/app:t").id) == built.id


def test_layers_of_unknown_types_are_read_by_their_magic_bytes(
    fake: FakeRegistry, client: Client
) -> None:
    forms = ["gzip", "zstd", "xz"]
    types = [f"application/x-odd-{form}" for form in forms]
    built = build_image(TARS, compression=forms, layer_media_types=types)
    fake.add_image("app", built, "t")
    image = client.pull(f"{fake.host}/app:t")
    assert [str(layer.diff_id) for layer in image.layers] == list(built.diff_ids)


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/json", "text/html", ""])
def test_configs_of_sloppy_types_count_as_images(
    fake: FakeRegistry, client: Client, kind: str
) -> None:
    built = build_image(TARS, style="docker", config_media_type=kind)
    fake.add_image("app", built, "t")
    assert str(client.pull(f"{fake.host}/app:t").id) == built.id


# schema1


def push(fake: FakeRegistry, built: BuiltSchema1) -> str:
    for layer in built.layers:
        fake.add_blob(layer)
    piece = built.manifest
    fake.add_manifest("app", piece.data, piece.media_type, "t", digest=built.digest)
    return f"{fake.host}/app:t"


def test_unsigned_schema1_becomes_an_image(fake: FakeRegistry, client: Client) -> None:
    built = build_schema1(LAYERS)
    image = client.pull(push(fake, built))
    assert str(image.digest) == built.digest
    assert [str(layer.digest) for layer in image.layers] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in LAYERS
    ]
    assert [layer.created_by for layer in image.layers] == [
        f"/bin/sh -c step {number}" for number in range(3)
    ]


def test_signed_schema1_is_kept_as_served_and_found_by_its_payload_s_digest(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    key = make_key("ES256")
    built = build_schema1(LAYERS, keys=[("ES256", key)])
    events: list[Event] = []
    name = push(fake, built)
    image = client.pull(name, on_event=events.append)
    assert local_store(store).document(image.digest).raw == built.manifest.data
    assert any("signed by" in event.message for event in events)
    assert client.pull(f"{fake.host}/app@{built.digest}").id == image.id
    fake.clear()
    client.pull(name)
    assert [request.method for request in fake.requests] == ["HEAD"]


def test_a_tampered_schema1_is_refused_unless_nobody_cares(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    built = build_schema1(LAYERS, tag="latest", keys=[("ES256", make_key("ES256"))])
    raw = built.manifest.data.replace(b'"tag": "latest"', b'"tag": "latesu"')
    payload = built.payload.replace(b'"tag": "latest"', b'"tag": "latesu"')
    for layer in built.layers:
        fake.add_blob(layer)
    digest = f"sha256:{hashlib.sha256(payload).hexdigest()}"
    fake.add_manifest("app", raw, built.manifest.media_type, "t", digest=digest)
    with pytest.raises(IntegrityError, match="signature"):
        client.pull(f"{fake.host}/app:t")
    assert store.images() == []
    image = client.pull(f"{fake.host}/app:t", verify_signatures=False)
    assert str(image.digest) == digest


def test_throwaway_steps_have_history_and_no_layer(fake: FakeRegistry, client: Client) -> None:
    steps = [
        Schema1Entry(LAYERS[0], {"id": v1_id(0), "os": "linux"}),
        Schema1Entry(LAYERS[1], {"id": v1_id(1), "parent": v1_id(0), "throwaway": True}),
        Schema1Entry(LAYERS[2], {"id": v1_id(2), "parent": v1_id(1), "os": "linux"}),
    ]
    image = client.pull(push(fake, schema1_of(steps)))
    assert len(image.layers) == 2
    assert [entry.empty_layer for entry in image.config.history] == [False, True, False]


def test_schema1_for_another_system_is_refused_before_its_layers_are_fetched(
    fake: FakeRegistry, client: Client
) -> None:
    with pytest.raises(PlatformMismatch):
        client.pull(push(fake, build_schema1(LAYERS, top={"os": "windows"})))
    assert not any("/blobs/" in request.path for request in fake.requests)


def test_diff_ids_make_the_config_even_if_layers_are_not_to_be_verified(
    fake: FakeRegistry, client: Client, tmp_path: Any
) -> None:
    name = push(fake, build_schema1(LAYERS))
    image = client.pull(name)
    other = client.pull(name, verify_layers=False, store=library.Store(tmp_path / "other"))
    assert image.id == other.id


# Content that must not be trusted


def test_a_document_around_a_good_payload_cannot_stand_for_it(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    """A digest names one document, whatever signatures the body has."""
    good, evil = build_image(TARS[:1]), build_image(TARS)
    fake.add_image("honest", good, "t")
    fake.add_image("evil", evil)
    protected = {
        "formatLength": 0,
        "formatTail": base64.urlsafe_b64encode(good.manifest.data).rstrip(b"=").decode(),
    }
    signature = {
        "header": {},
        "signature": "",
        "protected": base64.urlsafe_b64encode(json.dumps(protected).encode()).rstrip(b"=").decode(),
    }
    body = json.dumps(json.loads(evil.manifest.data) | {"signatures": [signature]}).encode()
    fake.add_manifest("evil", body, "application/json", "t", digest=good.digest)
    with pytest.raises((IntegrityError, InvalidDocument)):
        client.pull(f"{fake.host}/evil@{good.digest}")
    with pytest.raises((IntegrityError, InvalidDocument)):
        client.pull(f"{fake.host}/evil:t")
    assert store.images() == []
    assert str(client.pull(f"{fake.host}/honest:t").id) == good.id


def test_a_digest_must_be_in_the_named_repository(fake: FakeRegistry, client: Client) -> None:
    built = build_image(TARS)
    fake.add_image("here", built, "t")
    client.pull(f"{fake.host}/here:t")
    with pytest.raises(NotFound):
        client.pull(f"{fake.host}/elsewhere@{built.digest}")


def test_a_pull_without_verification_is_made_up_for_by_one_with_it(
    fake: FakeRegistry, client: Client
) -> None:
    lying = build_image(TARS, diff_ids=[f"sha256:{'0' * 64}"] * 3)
    fake.add_image("app", lying, "t")
    client.pull(f"{fake.host}/app:t", verify_layers=False)
    fake.clear()
    with pytest.raises(IntegrityError, match="image configuration"):
        client.pull(f"{fake.host}/app:t")
    assert not any("/blobs/" in request.path for request in fake.requests)


def test_a_config_of_many_megabytes_is_refused_before_it_is_fetched(
    fake: FakeRegistry, client: Client
) -> None:
    built = build_image(TARS)
    document = json.loads(built.manifest.data)
    document["config"]["size"] = 5 * 2**20
    fake.add_manifest("app", json.dumps(document).encode(), built.manifest.media_type, "t")
    with pytest.raises(InvalidDocument, match="over 4 MiB"):
        client.pull(f"{fake.host}/app:t")
    assert not any(built.config.digest in request.path for request in fake.requests)


def test_many_pulls_leave_no_file_open(fake: FakeRegistry, client: Client) -> None:
    fake.add_image("app", build_image(TARS), "t")
    client.pull(f"{fake.host}/app:t")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(8):
        fake.add_image("app", build_image([*TARS, tar_layer({f"n{number}": b""})]), "t")
        client.pull(f"{fake.host}/app:t")
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 6
