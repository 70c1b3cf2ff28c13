"""Faulty signed schema1 manifests: the digest matches, and the error names the fault."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from bad_schema1 import FAULTS, GOOD, faulty
from wherry.errors import IntegrityError, InvalidDocument, Unsupported, WherryError
from wherry.testing.images import sha256
from wherry.testing.schema1 import SIGNED, UNSIGNED

if TYPE_CHECKING:
    from pathlib import Path

    from wherry import Client
    from wherry.testing import BuiltSchema1, FakeRegistry


def check(error: WherryError, fault: str) -> None:
    """Check that an error is about the fault alone."""
    assert isinstance(error, InvalidDocument | Unsupported)
    assert FAULTS[fault][1] in str(error)
    assert "digest" not in str(error).replace("sha256 digest", "")
    assert "proxy" not in f"{error} {error.hint}"
    assert "altered" not in f"{error} {error.hint}"


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("served", [SIGNED, UNSIGNED, "application/json", "text/plain"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_registry_that_serves_it(
    client: Client, fake: FakeRegistry, fault: str, served: str, by: str
) -> None:
    payload, raw = faulty(fault)
    digest = fake.add_manifest("app", raw, served, "t", digest=sha256(payload))
    name = f"{fake.host}/app{':t' if by == 'tag' else f'@{digest}'}"
    for call in (client.pull, client.inspect, client.manifest):
        with pytest.raises(WherryError) as caught:
            call(name)
        check(caught.value, fault)
        assert str(caught.value).startswith(f"{fake.host}/app")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unsigned_one(client: Client, fake: FakeRegistry, fault: str) -> None:
    _, raw = faulty(fault, signed=False)
    fake.add_manifest("app", raw, UNSIGNED, "t")
    with pytest.raises(WherryError) as caught:
        client.pull(f"{fake.host}/app:t")
    check(caught.value, fault)


@pytest.mark.parametrize("place", ["dir", "oci", "oci-by-payload"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_directory_that_holds_it(client: Client, tmp_path: Path, fault: str, place: str) -> None:
    payload, raw = faulty(fault)
    where = tmp_path / "place"
    blobs = where if place == "dir" else where / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    if place == "dir":
        (where / "version").write_text("Directory Transport Version: 1.1\n")
        (where / "manifest.json").write_bytes(raw)
    else:
        digest = sha256(raw if place == "oci" else payload)
        (blobs / digest.removeprefix("sha256:")).write_bytes(raw)
        listed = {"mediaType": SIGNED, "digest": digest, "size": len(raw)}
        (where / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
        (where / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    for call in (lambda: client.load(where), lambda: client.inspect(f"{place[:3]}:{where}")):
        with pytest.raises(WherryError) as caught:
            call()
        check(caught.value, fault)
        assert str(where) in str(caught.value)


# Digest first


def reheaded(built: BuiltSchema1, **changes: Any) -> bytes:
    """Change the protected header of the first signature."""
    document = json.loads(built.manifest.data)
    held = document["signatures"][0]
    protected = json.loads(base64.urlsafe_b64decode(held["protected"] + "=="))
    held["protected"] = (
        base64.urlsafe_b64encode(json.dumps(protected | changes).encode()).rstrip(b"=").decode()
    )
    at = built.manifest.data.index(b'"signatures"')
    signatures = json.dumps(document["signatures"]).encode()
    return built.manifest.data[:at] + b'"signatures": ' + signatures + b"\n}"


@pytest.mark.parametrize(
    "raw",
    [
        reheaded(GOOD, formatLength=10**9),
        reheaded(GOOD, formatLength=-1),
        reheaded(GOOD, formatTail="!"),
        GOOD.manifest.data.replace(b'"protected": "', b'"protected": "!'),
        GOOD.manifest.data.replace(b'"protected"', b'"protect"'),
    ],
    ids=["too-long", "negative", "tail", "no-base64", "missing"],
)
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_signatures_that_do_not_tell_the_payload(
    client: Client, fake: FakeRegistry, raw: bytes, by: str
) -> None:
    """Without the payload there is no digest to compare."""
    digest = fake.add_manifest("app", raw, SIGNED, "t", digest=GOOD.digest)
    with pytest.raises(IntegrityError, match="signatures cannot be read") as caught:
        client.pull(f"{fake.host}/app{':t' if by == 'tag' else f'@{digest}'}")
    assert "signatures[0]" in str(caught.value)
    assert "proxy" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("fault", ["wrong-parent", "tarsum", "schemaVersion-2"])
def test_another_document_than_was_asked_for(
    client: Client, fake: FakeRegistry, fault: str
) -> None:
    """Its faults do not matter, because its digest does not match."""
    payload, raw = faulty(fault)
    fake.add_manifest("app", raw, SIGNED, digest=GOOD.digest)
    with pytest.raises(IntegrityError, match="does not match its digest") as caught:
        client.pull(f"{fake.host}/app@{GOOD.digest}")
    assert caught.value.actual == sha256(payload)
