"""`validate` finds each kind of damage, names its field, and continues."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from wherry import CancelToken
from wherry.content.pipeline import Limits
from wherry.content.protocols import Opened
from wherry.content.verify import RawLimit
from wherry.errors import NotFound
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.ops.blob_check import BlobCheck
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    build_schema1,
    compress,
    make_key,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from conftest import Wherry
    from wherry import Client, Store

TARS = [tar_layer({f"f{number}": b"x" * 999 * number}) for number in range(3)]
GOOD = build_image(TARS)
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}


def places(client: Client, name: str) -> list[str]:
    return [finding.where for finding in client.validate(name).findings if finding.error]


def test_a_good_index_has_no_findings(fake: FakeRegistry, client: Client, store: Store) -> None:
    index = build_index([(GOOD, AMD64), (build_image(TARS, architecture="arm64"), ARM64)])
    fake.add_image("app", index, "t")
    report = client.validate(f"{fake.host}/app:t")
    assert report.findings == []
    assert str(report.root) == index.digest
    assert (report.documents, report.blobs) == (3, 3)
    assert not store.path.exists()


def test_diff_ids_and_history_that_do_not_fit(fake: FakeRegistry, client: Client) -> None:
    lying = [sha256(TARS[0]), sha256(b"other"), sha256(TARS[2])]
    fake.add_image("app", build_image(TARS, diff_ids=lying, history=[{"created_by": "x"}]), "t")
    assert places(client, f"{fake.host}/app:t") == [
        "config > rootfs.diff_ids[1]",
        "config > history",
    ]


def test_all_damage_is_found_in_one_run(fake: FakeRegistry, client: Client) -> None:
    fake.add_image("app", build_index([(GOOD, AMD64)]), "t")
    del fake.blobs[GOOD.layers[0].digest]
    data = GOOD.layers[1].data
    fake.blobs[GOOD.layers[1].digest] = data[:30] + bytes([data[30] ^ 1]) + data[31:]
    fake.blobs[GOOD.layers[2].digest] = GOOD.layers[2].data + b"more"
    fake.blobs[GOOD.config.digest] = b"{}"
    found = places(client, f"{fake.host}/app:t")
    assert {place.removeprefix("manifests[0] > ") for place in found} == {
        "config.size",
        "config.digest",
        "layers[0]",
        "layers[1].digest",
        "layers[2].size",
        "layers[2].digest",
    }


def test_an_entry_that_lies_about_its_document(fake: FakeRegistry, client: Client) -> None:
    index = build_index([(GOOD, AMD64)])
    document = json.loads(index.index.data)
    fake.add_image("app", GOOD)
    document["manifests"][0]["size"] += 10_000
    fake.add_manifest("app", json.dumps(document).encode(), index.index.media_type, "t")
    (finding,) = client.validate(f"{fake.host}/app:t").findings
    assert finding.where == "manifests[0].size"
    size = GOOD.manifest.size
    assert finding.message == f"is {size + 10_000:,}, the document has {size:,} bytes"


def test_a_document_that_is_missing(fake: FakeRegistry, client: Client) -> None:
    index = build_index([(GOOD, AMD64)])
    fake.add_manifest("app", index.index.data, index.index.media_type, "t")
    assert places(client, f"{fake.host}/app:t") == ["manifests[0]"]


def test_a_layer_that_is_packed_otherwise_than_it_says_is_a_warning(
    fake: FakeRegistry, client: Client
) -> None:
    kind = "application/vnd.oci.image.layer.v1.tar+zstd"
    fake.add_image("app", build_image(TARS[:1], layer_media_types=[kind]), "t")
    (finding,) = client.validate(f"{fake.host}/app:t").findings
    assert (finding.error, finding.where) == (False, "layers[0].mediaType")


def test_schema1_has_its_signatures_verified(fake: FakeRegistry, client: Client) -> None:
    layers = [compress(tar, "gzip") for tar in TARS]
    built = build_schema1(layers, keys=[("ES256", make_key("ES256"))])
    raw = built.manifest.data.replace(b'"tag": "latest"', b'"tag": "latesu"')
    for layer in layers:
        fake.add_blob(layer)
    payload = built.payload.replace(b'"tag": "latest"', b'"tag": "latesu"')
    fake.add_manifest("app", raw, built.manifest.media_type, "bad", digest=sha256(payload))
    fake.add_manifest(
        "app", built.manifest.data, built.manifest.media_type, "good", digest=built.digest
    )
    assert places(client, f"{fake.host}/app:good") == []
    assert places(client, f"{fake.host}/app:bad") == ["signatures"]


def test_a_store_with_a_part_of_an_index_is_good_and_bit_rot_is_found(
    fake: FakeRegistry, client: Client, store: Store
) -> None:
    index = build_index([(GOOD, AMD64), (build_image(TARS, architecture="arm64"), ARM64)])
    fake.add_image("app", index, "t")
    name = f"{fake.host}/app:t"
    client.pull(name, platform="linux/amd64")
    assert client.validate(f"store:{name}").findings == []
    file = store.path / "blobs" / "sha256" / GOOD.layers[2].digest.removeprefix("sha256:")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])
    assert "manifests[0] > layers[2].size" in places(client, f"store:{name}")


def test_a_missing_image_is_an_error_and_not_a_finding(fake: FakeRegistry, client: Client) -> None:
    with pytest.raises(NotFound):
        client.validate(f"{fake.host}/app:nope")


def test_the_command_prints_findings_and_exits_with_5(fake: FakeRegistry, wherry: Wherry) -> None:
    fake.add_image("app", GOOD, "t")
    good = wherry("validate", f"{fake.host}/app:t")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.endswith(": good\n")
    fake.blobs[GOOD.config.digest] = b"{}"
    bad = wherry("validate", "--json", f"{fake.host}/app:t")
    assert bad.returncode == 5
    assert json.loads(bad.stdout)["findings"][0]["where"] == "config.size"


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        (Limits(image=1000), "layers"),
        (Limits(blob=20), "layers[0].digest"),
        (Limits(raw=RawLimit(least=100, ratio=1)), "layers[0]"),
    ],
)
def test_layers_are_held_to_the_limits(limits: Limits, where: str) -> None:
    found: list[str] = []
    blobs = {layer.digest: layer.data for layer in GOOD.layers}

    def opening(blob: Descriptor, _: object) -> Opened:
        return Opened(io.BufferedReader(io.BytesIO(blobs[blob.digest])), 0)

    check = BlobCheck(opening, CancelToken(), lambda _, at, __: found.append(at), limits)
    layers = [Descriptor(each.media_type, Digest(each.digest)) for each in GOOD.layers]
    check.image(
        [check.layer(layer, f"layers[{place}]") for place, layer in enumerate(layers)], "layers"
    )
    assert where in found
