"""Manifests, tags and referrers, case by case as the official conformance suites check them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from pushed_content import (
    ARTIFACT,
    FOREIGN_LAYER,
    IMAGE,
    INDEX,
    OTHER_ARTIFACT,
    PushedContent,
    media_type,
)
from registry_http import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pushed_content import Descriptor
    from registry_http import HttpAnswer, RegistryHttp

    Make = Callable[[PushedContent], object]

ACCEPT = (("Accept", INDEX), ("Accept", IMAGE))
NOTES = {"org.example.note": "hello"}


def large(content: PushedContent) -> None:
    notes = {f"large-annotation-{number}": "A" * 10_000 for number in range(390)}
    content.image("large", annotations=notes)


def nested(content: PushedContent) -> None:
    content.index("nested", [content.index(), content.index()])


def same_child_twice(content: PushedContent) -> None:
    child = content.platform("amd64")
    content.index("twice", [child, child])


def artifact_without_layers(content: PushedContent) -> None:
    empty = content.blob(b"{}", "application/vnd.oci.empty.v1+json")
    content.image("none", layers=[empty], config=empty, artifactType=ARTIFACT)


def artifact_index(content: PushedContent) -> None:
    children = [content.artifact(), content.artifact()]
    content.index("artifacts", children, artifactType=ARTIFACT)


def subjects(content: PushedContent) -> None:
    subject = content.image("image")
    content.image(subject=subject)
    content.artifact("artifact1", subject=subject, annotations=NOTES)
    content.artifact("artifact2", OTHER_ARTIFACT, subject=subject, annotations=NOTES)


def index_subject(content: PushedContent) -> None:
    """Add an index with a subject, whose children have the subject too."""
    subject = content.index("index")
    children = [
        content.artifact("moved", subject=subject, annotations=NOTES | {"number": str(number)})
        for number in range(2)
    ]
    content.index(
        "moved", children, artifactType=OTHER_ARTIFACT, subject=subject, annotations=NOTES
    )


def missing_subject(content: PushedContent) -> None:
    missing = {"mediaType": IMAGE, "digest": digest_of(secrets.token_bytes(9)), "size": 123}
    content.artifact("attached", subject=missing, annotations=NOTES)


def embedded_data(content: PushedContent) -> None:
    config = content.config(1)
    config = content.blob(content.blobs[config["digest"]], config["mediaType"], embedded=True)
    content.image("data", config=config, layers=[content.blob(embedded=True)])


def foreign_layers(content: PushedContent) -> None:
    missing = [
        {
            "mediaType": kind,
            "digest": digest_of(secrets.token_bytes(9)),
            "size": 123_456,
            "urls": ["https://store.example/layer"],
        }
        for kind in (FOREIGN_LAYER, FOREIGN_LAYER.removesuffix("+gzip"))
    ]
    content.image("foreign", layers=[*missing, content.blob()])


def custom_fields(content: PushedContent) -> None:
    field: dict[str, Any] = {f"org.{secrets.token_hex(8)}": secrets.token_hex(8)}
    config = content.config(2, **field)
    child = content.image(config=config, **field)
    content.index("custom", [child | field], **field)


def no_layers(content: PushedContent) -> None:
    content.image("no-layers", layers=[])


def missing_child(content: PushedContent) -> None:
    missing = {"mediaType": IMAGE, "digest": digest_of(secrets.token_bytes(9)), "size": 1024}
    content.index("sparse", [content.platform("amd64"), missing])


def empty_index(content: PushedContent) -> None:
    content.index("empty", [])


KINDS: dict[str, Make] = {
    "image": lambda content: content.image("image"),
    "index": lambda content: content.index("index"),
    "artifact": lambda content: content.artifact("artifact"),
    **{
        each.__name__: each
        for each in (
            *(large, nested, same_child_twice, empty_index, missing_child, artifact_without_layers),
            *(artifact_index, subjects, index_subject, missing_subject, embedded_data),
            *(foreign_layers, custom_fields, no_layers),
        )
    },
}


def push(http: RegistryHttp, repository: str, content: PushedContent) -> None:
    """Push blobs, manifests by digest, and tags; check each answer."""
    for digest, data in content.blobs.items():
        http.push_blob(repository, digest, data)
    for digest, body in content.manifests.items():
        check_put(http, repository, digest, digest, body)
    for tag, digest in content.tags.items():
        check_put(http, repository, tag, digest, content.manifests[digest])


def check_put(
    http: RegistryHttp, repository: str, reference: str, digest: str, body: bytes, *tags: str
) -> HttpAnswer:
    """Push a manifest; check the answer and what its `Location` leads to."""
    answer = http.put_manifest(repository, reference, body, media_type(body), *tags)
    assert answer.status == 201, answer.body
    assert answer.headers["Docker-Content-Digest"] == digest
    subject = subject_of(body)
    assert answer.headers["OCI-Subject"] == subject
    check_answer(http("GET", answer.location, None, *ACCEPT), digest, body)
    return answer


def subject_of(body: bytes) -> str | None:
    import json

    subject = json.loads(body).get("subject")
    return None if subject is None else str(subject["digest"])


def check_answer(answer: HttpAnswer, digest: str, body: bytes, *, head: bool = False) -> None:
    assert answer.status == 200
    assert answer.headers.get_all("Content-Type") == [media_type(body)]
    assert answer.headers.get_all("Content-Length") == [str(len(body))]
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.body == (b"" if head else body)


def check_pull(http: RegistryHttp, repository: str, content: PushedContent) -> None:
    """Check HEAD and GET of everything that was pushed."""
    names = {**{digest: digest for digest in content.manifests}, **content.tags}
    for reference, digest in names.items():
        target = f"/v2/{repository}/manifests/{reference}"
        for method in ("HEAD", "GET"):
            answer = http(method, target, None, *ACCEPT)
            check_answer(answer, digest, content.manifests[digest], head=method == "HEAD")
    for digest, data in content.blobs.items():
        target = f"/v2/{repository}/blobs/{digest}"
        assert http("HEAD", target).headers["Content-Length"] == str(len(data))
        assert http("GET", target).body == data


def check_referrers(http: RegistryHttp, repository: str, content: PushedContent) -> None:
    """Check the list of each subject, whole and filtered by each type."""
    for subject, expected in content.referrers.items():
        assert referrers(http, repository, subject) == by_digest(expected)
        for kind in {each["artifactType"] for each in expected}:
            query = f"?artifactType={kind.replace('+', '%2B')}"
            answer = http("GET", f"/v2/{repository}/referrers/{subject}{query}")
            assert answer.headers["OCI-Filters-Applied"] == "artifactType"
            filtered = [each for each in expected if each["artifactType"] == kind]
            assert by_digest(answer.json["manifests"]) == by_digest(filtered)


def referrers(http: RegistryHttp, repository: str, subject: str) -> list[Descriptor]:
    """Return the referrers of a subject, sorted by digest; check the form of the answer."""
    answer = http("GET", f"/v2/{repository}/referrers/{subject}")
    assert answer.status == 200
    assert answer.headers.get_all("Content-Type") == [INDEX]
    assert answer.json["schemaVersion"] == 2
    assert answer.json["mediaType"] == INDEX
    return by_digest(answer.json["manifests"])


def by_digest(descriptors: list[Descriptor]) -> list[Descriptor]:
    return sorted(descriptors, key=lambda each: str(each["digest"]))


def check_deletion(http: RegistryHttp, repository: str, content: PushedContent) -> None:
    """Delete tags, manifests from the top, and blobs; each is gone at once."""
    for tag in content.tags:
        delete(http, f"/v2/{repository}/manifests/{tag}")
        assert tag not in http.tags(repository)
    for digest in reversed(content.manifests):
        delete(http, f"/v2/{repository}/manifests/{digest}")
    for digest in content.blobs:
        delete(http, f"/v2/{repository}/blobs/{digest}")
    for subject in content.referrers:
        assert referrers(http, repository, subject) == []


def delete(http: RegistryHttp, target: str) -> None:
    assert http("DELETE", target).status == 202, target
    assert http("HEAD", target, None, *ACCEPT).status == 404
    assert http("GET", target, None, *ACCEPT).status == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_content_can_be_pushed_listed_pulled_and_deleted(
    registry_http: RegistryHttp, repository: str, kind: str, algorithm: str
) -> None:
    content = PushedContent(algorithm)
    KINDS[kind](content)
    if algorithm == "sha512":
        content.tags.clear()  # tags are given by `?tag=` there
    push(registry_http, repository, content)
    assert registry_http.tags(repository) == sorted(content.tags)
    check_pull(registry_http, repository, content)
    check_referrers(registry_http, repository, content)
    check_deletion(registry_http, repository, content)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifests_can_be_tagged_by_parameters(
    registry_http: RegistryHttp, repository: str, algorithm: str
) -> None:
    content = PushedContent(algorithm)
    content.index("top")
    for digest, data in content.blobs.items():
        registry_http.push_blob(repository, digest, data)
    for number, (digest, body) in enumerate(content.manifests.items()):
        content.tags[f"number-{number}"] = digest
        tags = [tag for tag, tagged in content.tags.items() if tagged == digest]
        answer = check_put(registry_http, repository, digest, digest, body, *tags)
        told = ",".join(answer.headers.get_all("OCI-Tag") or [])
        assert sorted(tag.strip() for tag in told.split(",")) == sorted(tags)
    assert registry_http.tags(repository) == sorted(content.tags)
    check_pull(registry_http, repository, content)
    check_deletion(registry_http, repository, content)


def test_tags_are_listed_in_order_and_in_pages(
    registry_http: RegistryHttp, repository: str
) -> None:
    content = PushedContent()
    content.image()
    ((digest, _),) = content.manifests.items()
    names = sorted(["b", "A", "a", "B", "a.1", "a-1", "_", "1", "10", "9"])
    content.tags = dict.fromkeys(reversed(names), digest)
    push(registry_http, repository, content)
    assert registry_http.tags(repository) == names
    for number in range(len(names)):
        assert registry_http.tags(repository, f"?last={names[number]}") == names[number + 1 :]
        assert registry_http.tags(repository, f"?n={number}") == names[:number]
        page = registry_http.tags(repository, f"?n=3&last={names[number]}")
        assert page == names[number + 1 :][:3]
    assert registry_http.tags(repository, "?last=a0") == [name for name in names if name > "a0"]
    collected, target = [], f"/v2/{repository}/tags/list?n=4"
    while target:
        answer = registry_http("GET", target)
        collected += answer.json["tags"]
        assert answer.json["name"] == repository
        target = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert collected == names


def test_an_unknown_repository_has_no_tags_and_no_referrers(
    registry_http: RegistryHttp, repository: str
) -> None:
    answer = registry_http("GET", f"/v2/{repository}/tags/list")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])
    assert referrers(registry_http, repository, digest_of(b"hello world")) == []


@pytest.mark.parametrize("reference", ["missing", ".INVALID_MANIFEST_NAME", digest_of(b"none")])
def test_a_missing_manifest_is_not_found(
    registry_http: RegistryHttp, repository: str, reference: str
) -> None:
    target = f"/v2/{repository}/manifests/{reference}"
    assert registry_http("HEAD", target, None, *ACCEPT).status == 404
    answer = registry_http("GET", target, None, *ACCEPT)
    assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])


def test_an_invalid_digest_of_a_manifest_is_refused(
    registry_http: RegistryHttp, repository: str
) -> None:
    content = PushedContent()
    content.image()
    (body,) = content.manifests.values()
    for digest, data in content.blobs.items():
        registry_http.push_blob(repository, digest, data)
    invalid = "sha256:baddigeststring"
    refused = registry_http.put_manifest(repository, invalid, body, IMAGE)
    assert (refused.status, refused.codes) == (400, ["DIGEST_INVALID"])
    asked = registry_http("GET", f"/v2/{repository}/manifests/{invalid}", None, *ACCEPT)
    assert (asked.status, asked.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_with_another_digest_is_refused(
    registry_http: RegistryHttp, repository: str, algorithm: str
) -> None:
    content = PushedContent(algorithm)
    content.image()
    ((digest, body),) = content.manifests.items()
    for each, data in content.blobs.items():
        registry_http.push_blob(repository, each, data)
    refused = registry_http.put_manifest(repository, digest, body + b"  ", IMAGE)
    assert (refused.status, refused.codes) == (400, ["DIGEST_INVALID"])
    assert registry_http("HEAD", f"/v2/{repository}/manifests/{digest}").status == 404


def test_a_manifest_whose_blobs_are_missing_is_refused(
    registry_http: RegistryHttp, repository: str
) -> None:
    content = PushedContent()
    content.image()
    ((digest, body),) = content.manifests.items()
    refused = registry_http.put_manifest(repository, digest, body, IMAGE)
    assert refused.status == 404
    assert refused.codes == ["MANIFEST_BLOB_UNKNOWN"]
    (error,) = refused.json["errors"]
    assert set(error["detail"]["digests"]) == set(content.blobs)
