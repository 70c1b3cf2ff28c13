"""Referrers and the catalog, on the application without sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from artifacts import SBOM, SIGNATURE, refer_by_index, refer_to
from pushes import push, put_manifest
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.testing import build_image, tar_layer

if TYPE_CHECKING:
    from asgi_client import AsgiClient
    from wherry.store import LocalStore
    from wherry.testing import FakeRegistry

IMAGE = build_image([tar_layer({"a": b"1"})])
BILL = refer_to(IMAGE, SBOM, b"bill", note="1")
SEAL = refer_to(IMAGE, SIGNATURE, b"seal")
SET = refer_by_index(IMAGE)
SUBJECT = {"subject": IMAGE.manifest.descriptor()}
LISTED = f"/v2/acme/app/referrers/{IMAGE.digest}"


def listed(api: AsgiClient, target: str = LISTED) -> dict[str, dict[str, Any]]:
    answer = api("GET", target)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
    index = json.loads(answer.body)
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == answer.headers["content-type"]
    return {entry["digest"]: entry for entry in index["manifests"]}


@pytest.fixture
def signed(api: AsgiClient, local: LocalStore) -> None:
    """Push referrers, before and after their subject."""
    assert push(api, local, "acme/app", BILL).headers["oci-subject"] == IMAGE.digest
    assert "oci-subject" not in push(api, local, "acme/app", IMAGE, "1.0").headers
    for each in (SEAL, SET):
        assert push(api, local, "acme/app", each, "tag").headers["oci-subject"] == IMAGE.digest


def test_nothing_refers_to_an_unknown_manifest(api: AsgiClient) -> None:
    assert listed(api) == {}
    assert api("GET", "/v2/acme/app/referrers/1.0").codes == ["DIGEST_INVALID"]


@pytest.mark.usefixtures("signed")
def test_referrers_are_listed_with_their_types_and_annotations(api: AsgiClient) -> None:
    found = listed(api)
    assert set(found) == {BILL.digest, SEAL.digest, SET.digest}
    assert found[BILL.digest] == {
        **BILL.manifest.descriptor(),
        "artifactType": SBOM,
        "annotations": {"note": "1"},
    }
    assert found[SET.digest] == {
        **SET.index.descriptor(),
        "artifactType": "application/vnd.example.set",
    }
    assert listed(api, f"/v2/acme/other/referrers/{IMAGE.digest}") == {}


def test_a_config_tells_the_type_of_an_artifact(api: AsgiClient, local: LocalStore) -> None:
    chart = build_image([b"c"], config_media_type="application/vnd.x", manifest_extra=SUBJECT)
    push(api, local, "acme/app", chart)
    assert listed(api)[chart.digest]["artifactType"] == "application/vnd.x"


@pytest.mark.usefixtures("signed")
def test_referrers_are_filtered(api: AsgiClient) -> None:
    target = f"{LISTED}?artifactType={SIGNATURE.replace('+', '%2B')}"
    assert set(listed(api, target)) == {SEAL.digest}
    assert api("GET", target).headers["oci-filters-applied"] == "artifactType"
    assert "oci-filters-applied" not in api("GET", LISTED).headers


@pytest.mark.usefixtures("signed")
def test_referrers_are_paged(api: AsgiClient) -> None:
    answer = api("GET", f"{LISTED}?n=2")
    link = answer.headers["link"].partition(">")[0].removeprefix("<")
    rest = listed(api, link)
    assert set(listed(api, f"{LISTED}?n=2")) | set(rest) == set(listed(api))
    assert len(rest) == 1
    assert "link" not in api("GET", link).headers


def test_a_page_of_referrers_has_at_most_4_mib(api: AsgiClient, local: LocalStore) -> None:
    large = [refer_to(IMAGE, SBOM, b"x", note="é" * 750_000, number=str(i)) for i in range(3)]
    for each in large:
        push(api, local, "acme/app", each)
    answer = api("GET", LISTED)
    assert len(answer.body) <= 4 * 2**20
    rest = answer.headers["link"].partition(">")[0].removeprefix("<")
    assert set(listed(api)) | set(listed(api, rest)) == {each.digest for each in large}


@pytest.mark.usefixtures("signed")
def test_deleted_referrers_are_not_listed(api: AsgiClient, local: LocalStore) -> None:
    api("DELETE", f"/v2/acme/app/manifests/{BILL.digest}")
    assert set(listed(api)) == {SEAL.digest, SET.digest}
    # `tag` was moved from the signature to the set, so the signature is garbage.
    local.gc()
    assert set(listed(api)) == {SET.digest}


@pytest.mark.usefixtures("signed")
def test_the_catalog_has_all_repositories(api: AsgiClient, local: LocalStore) -> None:
    root = Digest.parse(IMAGE.digest)
    for name in ("alpine:3", "quay.io:443/a/b:1", "127.0.0.1:5000/other:1", "[::1]:99/odd:1"):
        local.pin(Reference.parse(name), root, root)
    put_manifest(api, "acme/app", IMAGE, "2.0")
    everything = ["acme/app", "docker.io/library/alpine", "other", "quay.io_443/a/b"]
    assert json.loads(api("GET", "/v2/_catalog").body) == {"repositories": everything}
    for path in everything:
        assert api("GET", f"/v2/{path}/tags/list").status == 200
    page = api("GET", "/v2/_catalog?n=2&last=acme/app")
    assert json.loads(page.body)["repositories"] == everything[1:3]
    assert page.headers["link"] == '</v2/_catalog?n=2&last=other>; rel="next"'
    assert "link" not in api("GET", "/v2/_catalog?n=2&last=docker.io/library/alpine").headers


def test_pulled_documents_with_a_subject_are_listed(
    api: AsgiClient, fake: FakeRegistry, local: LocalStore
) -> None:
    about = build_image([tar_layer({"b": b"1"})], manifest_extra=SUBJECT)
    fake.add_image("team/app", about, "1.0")
    with wherry.Client(store=local.path) as client:
        client.pull(f"{fake.host}/team/app:1.0")
    path = f"{fake.host.replace(':', '_')}/team/app"
    assert set(listed(api, f"/v2/{path}/referrers/{IMAGE.digest}")) == {about.digest}
