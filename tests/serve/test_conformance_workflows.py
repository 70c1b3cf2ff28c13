"""The four workflows of the specification, in the order of the official suite of version 1.1."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from pushed_content import (
    ARTIFACT,
    EMPTY,
    IMAGE,
    INDEX,
    OTHER_ARTIFACT,
    PushedContent,
)
from registry_http import OCTETS, digest_of, with_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry_http import HttpAnswer, RegistryHttp

    Workflow = Callable[[RegistryHttp, str], None]

LAYER = b"a layer that all workflows push and delete"
UNKNOWN = digest_of(b"hello world")
INVALID = ".INVALID_MANIFEST_NAME"
ACCEPT = ("Accept", IMAGE)
TAGS = ["test0", "test1", "test2", "test3"]
TAG = "tagtest0"


def image() -> tuple[PushedContent, str, bytes]:
    """Return an image with its own config and the layer of all; its digest and manifest."""
    content = PushedContent()
    layer = content.blob(LAYER)
    config = content.config(0)
    embedded = content.blob(content.blobs[config["digest"]], config["mediaType"], embedded=True)
    described = content.image(config=embedded | {"newUnspecifiedField": "aGVsbG8="}, layers=[layer])
    digest = described["digest"]
    return content, digest, content.manifests[digest]


def push_blobs(http: RegistryHttp, repository: str, content: PushedContent) -> None:
    for digest, data in content.blobs.items():
        http.push_blob(repository, digest, data)


def put(http: RegistryHttp, repository: str, reference: str, body: bytes) -> HttpAnswer:
    kind = json.loads(body).get("mediaType", IMAGE)
    answer = http.put_manifest(repository, reference, body, kind)
    assert answer.status == 201, answer.body
    assert answer.headers["Location"]
    return answer


def status(http: RegistryHttp, method: str, repository: str, rest: str) -> int:
    return http(method, f"/v2/{repository}/{rest}", None, ACCEPT).status


def delete_blobs(http: RegistryHttp, repository: str, content: PushedContent) -> None:
    for digest in content.blobs:
        assert status(http, "DELETE", repository, f"blobs/{digest}") == 202


def pull(http: RegistryHttp, repository: str) -> None:
    tagged, digest, body = image()
    other, other_digest, other_body = image()
    for content in (tagged, other):
        push_blobs(http, repository, content)
    put(http, repository, TAG, body)
    put(http, repository, other_digest, other_body)
    for method in ("HEAD", "GET"):
        assert status(http, method, repository, f"blobs/{UNKNOWN}") == 404
        assert status(http, method, repository, f"manifests/{INVALID}") == 404
        for blob in tagged.blobs:
            assert status(http, method, repository, f"blobs/{blob}") == 200
        for reference in (digest, other_digest, TAG):
            assert status(http, method, repository, f"manifests/{reference}") == 200
    wrong = http("GET", f"/v2/{repository}/manifests/sha256:totallywrong")
    assert (wrong.status, wrong.codes) == (400, ["DIGEST_INVALID"])
    for each in (digest, other_digest):
        assert status(http, "DELETE", repository, f"manifests/{each}") == 202
    delete_blobs(http, repository, tagged)
    # The layer is deleted already; the config of the other image is not.
    found = [status(http, "DELETE", repository, f"blobs/{each}") for each in other.blobs]
    assert sorted(found) == [202, 404]


def push(http: RegistryHttp, repository: str) -> None:
    content, digest, body = image()
    data = secrets.token_bytes(42)
    blob = digest_of(data)
    sent = http("PATCH", http.started(repository).location, data, OCTETS)
    assert http("PUT", with_digest(sent.location, blob), None, OCTETS).status == 201
    push_blobs(http, repository, content)
    mount(http, repository, blob)
    assert status(http, "GET", repository, f"manifests/{INVALID}") == 404
    for tag in TAGS:
        put(http, repository, tag, body)
    # A manifest without `mediaType` and with an empty list of layers.
    document = json.loads(body) | {"layers": []}
    del document["mediaType"]
    empty = json.dumps(document, indent="\t").encode()
    put(http, repository, "emptylayer", empty)
    for each in (digest, digest_of(empty)):
        assert status(http, "GET", repository, f"manifests/{each}") == 200
    for each in (digest, digest_of(empty)):
        assert status(http, "DELETE", repository, f"manifests/{each}") == 202
    delete_blobs(http, repository, content)


def mount(http: RegistryHttp, repository: str, blob: str) -> None:
    """Mount a blob in another repository: none, a named one, and one that the registry finds."""
    other = f"{repository}-mounts"
    uploads = f"/v2/{other}/blobs/uploads/"
    assert http("POST", f"{uploads}?mount={UNKNOWN}").status == 202
    mounted = http("POST", f"{uploads}?mount={blob}&from={repository}")
    assert mounted.status == 201
    assert mounted.location == f"/v2/{other}/blobs/{blob}"
    assert http("GET", mounted.location).status == 200
    assert http("POST", f"{uploads}?mount={blob}").status == 201


def attached(subject: dict[str, Any], note: str | None, *, kind: str, by_config: bool) -> bytes:
    """Return an artifact whose type is that of its config, or its own."""
    data = kind.encode()
    thing = {"mediaType": kind, "size": len(data), "digest": digest_of(data)}
    empty = {"mediaType": EMPTY, "size": 2, "digest": digest_of(b"{}")}
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": thing if by_config else empty,
        "layers": [empty if by_config else thing],
        "subject": subject,
    }
    if not by_config:
        document["artifactType"] = kind
    if note:
        document["annotations"] = {"org.example.note": note}
    return json.dumps(document, indent="\t").encode()


def described(body: bytes) -> dict[str, Any]:
    kind = json.loads(body)["mediaType"]
    return {"mediaType": kind, "size": len(body), "digest": digest_of(body)}


def discovery(http: RegistryHttp, repository: str) -> None:
    content, digest, body = image()
    push_blobs(http, repository, content)
    for tag in TAGS:
        put(http, repository, tag, body)
    assert http.tags(repository) == TAGS
    pages = [http.tags(repository, "?n=2"), http.tags(repository, "?n=2&last=test1")]
    assert pages == [TAGS[:2], TAGS[2:]]
    others = referrers(http, repository)
    for reference in (*others, digest):
        assert status(http, "DELETE", repository, f"manifests/{reference}") in {202, 404}
    delete_blobs(http, repository, content)
    for blob in (b"{}", ARTIFACT.encode(), OTHER_ARTIFACT.encode()):
        assert status(http, "DELETE", repository, f"blobs/{digest_of(blob)}") == 202


def referrers(http: RegistryHttp, repository: str) -> list[str]:
    """Push artifacts before and after their subject; return what has to be deleted."""
    subject, digest, body = image()
    never, _, never_body = image()
    del never
    before = [
        attached(described(body), "config a", kind=ARTIFACT, by_config=True),
        attached(described(body), "layer a", kind=ARTIFACT, by_config=False),
    ]
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": "application/vnd.example.stand",
        "manifests": [described(each) for each in before],
        "subject": described(body),
        "annotations": {"org.example.note": "index"},
    }
    after = [
        attached(described(body), "config b", kind=OTHER_ARTIFACT, by_config=True),
        attached(described(body), "layer b", kind=OTHER_ARTIFACT, by_config=False),
    ]
    lost = attached(described(never_body), None, kind=OTHER_ARTIFACT, by_config=False)
    for data in (b"{}", ARTIFACT.encode(), OTHER_ARTIFACT.encode()):
        http.push_blob(repository, digest_of(data), data)
    before.append(json.dumps(index, indent="\t").encode())
    for each in before:
        answer = put(http, repository, digest_of(each), each)
        assert answer.headers["OCI-Subject"] == digest
    push_blobs(http, repository, subject)
    put(http, repository, TAG, body)
    for each in (*after, lost):
        answer = put(http, repository, digest_of(each), each)
        assert answer.headers["OCI-Subject"] == json.loads(each)["subject"]["digest"]
    target = f"/v2/{repository}/referrers"
    expected = {digest_of(each): json.loads(each)["annotations"] for each in (*before, *after)}
    assert notes_of(http("GET", f"{target}/{digest}")) == expected
    filtered = http("GET", f"{target}/{digest}?artifactType={ARTIFACT}")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert list(notes_of(filtered)) == sorted(digest_of(each) for each in before[:2])
    assert notes_of(http("GET", f"{target}/{UNKNOWN}")) == {}
    assert list(notes_of(http("GET", f"{target}/{digest_of(never_body)}"))) == [digest_of(lost)]
    return [digest_of(each) for each in (before[2], body, *before[:2], *after, lost)]


def notes_of(answer: HttpAnswer) -> dict[str, Any]:
    """Return the annotations of each referrer, sorted by digest."""
    assert answer.status == 200
    assert answer.headers["Content-Type"] == INDEX
    found = {each["digest"]: each.get("annotations") for each in answer.json["manifests"]}
    return dict(sorted(found.items()))


def management(http: RegistryHttp, repository: str) -> None:
    content, digest, body = image()
    push_blobs(http, repository, content)
    put(http, repository, TAG, body)
    before = http.tags(repository)
    assert status(http, "DELETE", repository, f"manifests/{TAG}") == 202
    assert status(http, "DELETE", repository, f"manifests/{digest}") == 202
    assert status(http, "GET", repository, f"manifests/{digest}") == 404
    # The repository still has blobs, and so it has an empty list of tags.
    assert http.tags(repository) == [tag for tag in before if tag != TAG]
    delete_blobs(http, repository, content)
    for blob in content.blobs:
        assert status(http, "GET", repository, f"blobs/{blob}") == 404


ALL: list[Workflow] = [pull, push, discovery, management]


@pytest.mark.parametrize("workflow", ALL, ids=lambda each: str(each.__name__))
def test_a_workflow_succeeds_alone(
    registry_http: RegistryHttp, repository: str, workflow: Workflow
) -> None:
    workflow(registry_http, repository)


def test_all_workflows_succeed_twice_in_one_repository(
    registry_http: RegistryHttp, repository: str
) -> None:
    for workflow in ALL * 2:
        workflow(registry_http, repository)


def test_blobs_can_be_deleted_before_their_manifest(
    registry_http: RegistryHttp, repository: str
) -> None:
    content, digest, body = image()
    push_blobs(registry_http, repository, content)
    put(registry_http, repository, TAG, body)
    delete_blobs(registry_http, repository, content)
    for blob in content.blobs:
        assert status(registry_http, "GET", repository, f"blobs/{blob}") == 404
    assert status(registry_http, "DELETE", repository, f"manifests/{digest}") == 202
    assert registry_http.tags(repository) == []
