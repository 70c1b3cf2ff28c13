"""Collecting referrers and cosign's tags, recursively and within bounds."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from artifacts import SIGNATURE, cosign, cosign_tag, document_of, refer_by_index, refer_to
from index_images import IMAGE, INDEX
from wherry.archive.directory_files import DirectoryFiles
from wherry.archive.oci import OciLayout
from wherry.content.budget import BudgetExceeded
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.errors import InvalidDocument, NetworkError
from wherry.model.digest import Digest
from wherry.model.manifest import digest_of
from wherry.model.reference import Reference
from wherry.registry.repository import Repository
from wherry.registry.session import Session
from wherry.testing import FakeRegistry, Fault, FixedReply, HangUp, Replace
from wherry.transfer.referrers import MAX_DEPTH, Referrers, collect_referrers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.content.protocols import Source
    from wherry.testing import BuiltImage, BuiltIndex

pytestmark = pytest.mark.usefixtures("environment")
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OTHERS = [refer_to(IMAGE, data=b"%d" % number) for number in range(3)]


@pytest.fixture
def api() -> Iterator[FakeRegistry]:
    """A registry with the referrers API and an image."""
    with FakeRegistry(referrers=True) as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


@contextlib.contextmanager
def repository(registry: FakeRegistry, warnings: list[str]) -> Iterator[Repository]:
    reference = Reference.parse(f"{registry.host}/app:t")
    policy = RetryPolicy(attempts=2, first=0.001)
    with contextlib.closing(Session(connections=4, policy=policy)) as session:
        yield Repository(
            session,
            reference,
            session.hosts.endpoints(reference),
            CancelToken(),
            warn=warnings.append,
            on_retry=lambda *_: None,
        )


def search(source: Source, roots: list[BuiltImage | BuiltIndex], warnings: list[str]) -> Referrers:
    digests = [Digest.parse(root.digest) for root in roots]
    token = CancelToken()
    return collect_referrers(source, digests, jobs=3, cancel=token, warn=warnings.append)


def collect(
    registry: FakeRegistry, *roots: BuiltImage | BuiltIndex, warnings: list[str] | None = None
) -> Referrers:
    told: list[str] = []
    with repository(registry, told) as source:
        found = search(source, list(roots) or [IMAGE], told)
    if warnings is None:
        assert told == []
    else:
        warnings += told
    return found


def digests(found: Referrers) -> list[str]:
    for digest, document in found.documents:
        assert digest_of(document) == digest
    return [str(digest) for digest, _ in found.documents]


def add_list(registry: FakeRegistry, subject: Any, *entries: Any) -> None:
    """Add the index of the referrers tag schema."""
    descriptors = [document_of(entry).descriptor() for entry in entries]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    raw = json.dumps(index).encode()
    registry.add_manifest("app", raw, OCI_INDEX, subject.digest.replace(":", "-"))


def test_nothing_refers_to_an_image(api: FakeRegistry) -> None:
    assert collect(api) == Referrers()
    sent = [(request.method, request.path.split("/")[3]) for request in api.requests]
    assert sorted(sent) == [("GET", "referrers"), *[("HEAD", "manifests")] * 3]


@pytest.mark.parametrize("has_api", [True, False])
def test_referrers_of_referrers(has_api: bool) -> None:
    first = refer_to(IMAGE)
    second = refer_to(first, SIGNATURE)
    with FakeRegistry(referrers=has_api) as registry:
        for image in (IMAGE, second, first):
            registry.add_image("app", image)
        if not has_api:
            add_list(registry, IMAGE, first)
            add_list(registry, first, second)
        found = collect(registry)
    assert digests(found) == [first.digest, second.digest]
    assert found.names == {}


def test_an_index_that_refers_comes_after_its_images(api: FakeRegistry) -> None:
    child = cosign(b"in an index")
    signature = refer_to(child, SIGNATURE)
    group = refer_by_index(IMAGE, child)
    api.add_image("app", signature)
    api.add_image("app", group)
    assert digests(collect(api)) == [child.digest, group.digest, signature.digest]


def test_each_document_once(api: FakeRegistry) -> None:
    """An artifact that is also an entry of an index, and listed twice, is collected once."""
    artifact = refer_to(IMAGE)
    group = refer_by_index(IMAGE, artifact)
    api.add_image("app", group)
    found = digests(collect(api, IMAGE, IMAGE))
    assert sorted(found) == sorted([artifact.digest, group.digest])
    assert found[-1] == group.digest


def test_the_roots_are_not_collected(api: FakeRegistry) -> None:
    artifact = refer_to(IMAGE)
    api.add_image("app", artifact)
    assert collect(api, IMAGE, artifact) == Referrers()


@pytest.mark.parametrize("suffix", [".sig", ".att", ".sbom"])
def test_the_tags_of_cosign(api: FakeRegistry, suffix: str) -> None:
    """They are found for referrers and for each other, too."""
    signature, artifact = cosign(b"signed"), refer_to(IMAGE)
    second, third = cosign(b"signed again"), cosign(b"signed as well")
    api.add_image("app", artifact)
    api.add_image("app", signature, cosign_tag(IMAGE, suffix))
    api.add_image("app", second, cosign_tag(artifact, suffix))
    api.add_image("app", third, cosign_tag(signature, suffix))
    found = collect(api)
    assert sorted(digests(found)) == sorted(
        each.digest for each in (signature, artifact, second, third)
    )
    assert {tag: str(digest) for tag, digest in found.names.items()} == {
        cosign_tag(IMAGE, suffix): signature.digest,
        cosign_tag(artifact, suffix): second.digest,
        cosign_tag(signature, suffix): third.digest,
    }


def test_a_tag_for_a_document_that_is_copied_anyway(api: FakeRegistry) -> None:
    api.add_image("app", IMAGE, cosign_tag(IMAGE))
    found = collect(api)
    assert (found.documents, list(found.names)) == ((), [cosign_tag(IMAGE)])


def test_a_registry_that_names_no_digests() -> None:
    with FakeRegistry(like="artifactory", referrers=True) as registry:
        registry.add_image("app", IMAGE)
        signature = cosign(b"signed")
        registry.add_image("app", signature, cosign_tag(IMAGE))
        assert digests(collect(registry)) == [signature.digest]


@pytest.mark.parametrize("status", [400, 401, 403, 405, 501])
def test_a_registry_that_refuses_head(api: FakeRegistry, status: int) -> None:
    signature = cosign(b"signed")
    api.add_image("app", signature, cosign_tag(IMAGE))
    api.inject(Fault(FixedReply(status), method="HEAD"))
    assert digests(collect(api)) == [signature.digest]


def test_the_subject_itself_is_no_list() -> None:
    """GitLab resolves the referrers tag to the subject."""
    with FakeRegistry(like="gitlab") as registry:
        registry.add_image("app", INDEX)
        assert collect(registry, INDEX) == Referrers()


@pytest.mark.parametrize("page_size", [None, 2])
def test_many_documents_take_one_list_of_tags(api: FakeRegistry, page_size: int | None) -> None:
    api.page_size = page_size
    signature = cosign(b"signed")
    api.add_image("app", signature, cosign_tag(OTHERS[2]))
    for number in range(5):
        api.add_image("app", IMAGE, f"{number}")
    for image in OTHERS:
        api.add_image("app", image)
    assert list(collect(api, IMAGE, *OTHERS).names) == [cosign_tag(OTHERS[2])]
    heads = [request.path for request in api.requests if request.method == "HEAD"]
    assert len(heads) == 1 + 3  # the tag of the list, and those of the signature


def test_a_long_list_of_tags_is_not_read() -> None:
    with FakeRegistry(referrers=True, page_size=100) as registry:
        for number in range(1000):
            registry.add_image("app", IMAGE, f"{number:04}")
        collect(registry, IMAGE, *OTHERS)
        kinds = [request.path.split("/")[3] for request in registry.requests]
        assert kinds.count("manifests") == 12
        assert kinds.count("tags") == 7  # 601 of 1,000 tags


def test_a_list_of_tags_that_is_refused(api: FakeRegistry) -> None:
    signature = cosign(b"signed")
    api.add_image("app", signature, cosign_tag(IMAGE))
    api.inject(Fault(FixedReply(403), path="/tags/"))
    assert digests(collect(api, IMAGE, *OTHERS)) == [signature.digest]


# What is left out


def list_by_api(registry: FakeRegistry, subject: Any, *entries: Any) -> None:
    """Let the API list documents, whatever their subjects are."""
    descriptors = [document_of(entry).descriptor() for entry in entries]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    action = Replace(json.dumps(index).encode())
    registry.inject(Fault(action, path=f"/referrers/{subject.digest}"))


def test_a_cycle_ends(api: FakeRegistry) -> None:
    """A registry lists an artifact as its own referrer, and the image as one of the artifact."""
    artifact = refer_to(IMAGE)
    api.add_image("app", artifact)
    list_by_api(api, artifact, artifact, IMAGE)
    list_by_api(api, IMAGE, IMAGE, artifact)
    assert digests(collect(api)) == [artifact.digest]


def test_a_document_with_another_subject(api: FakeRegistry) -> None:
    stranger, alone = refer_to(OTHERS[0]), cosign(b"no subject")
    api.add_image("app", stranger)
    api.add_image("app", alone)
    list_by_api(api, IMAGE, stranger, alone)
    warnings: list[str] = []
    assert collect(api, warnings=warnings) == Referrers()
    assert [message.rpartition(": ")[2] for message in warnings] == [
        "it has another subject; left out",
        "it has no subject; left out",
    ]


def test_a_document_that_is_gone(api: FakeRegistry) -> None:
    """Registries keep the entries of deleted documents."""
    artifact = refer_to(IMAGE)
    api.add_image("app", artifact)
    list_by_api(api, IMAGE, OTHERS[0], artifact)
    warnings: list[str] = []
    assert digests(collect(api, warnings=warnings)) == [artifact.digest]
    assert len(warnings) == 1
    assert OTHERS[0].digest in warnings[0]
    assert warnings[0].endswith("left out")


def test_an_index_that_lacks_an_entry(api: FakeRegistry) -> None:
    group = refer_by_index(IMAGE, OTHERS[0])
    api.add_manifest("app", group.index.data, OCI_INDEX)
    warnings: list[str] = []
    assert collect(api, warnings=warnings) == Referrers()
    assert "left out" in warnings[0]


def test_a_document_of_a_type_that_is_not_read(api: FakeRegistry) -> None:
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    raw = json.dumps(
        {"mediaType": kind, "blobs": [], "subject": IMAGE.manifest.descriptor()}
    ).encode()
    api.add_manifest("app", raw, kind)
    warnings: list[str] = []
    assert collect(api, warnings=warnings) == Referrers()
    assert "left out" in warnings[0]


def test_a_failure_is_raised(api: FakeRegistry) -> None:
    api.inject(Fault(HangUp(), path=r"\.att"))
    with pytest.raises(NetworkError):
        collect(api)


def test_referrers_are_bounded_in_depth(api: FakeRegistry) -> None:
    image = IMAGE
    for level in range(MAX_DEPTH):
        image = refer_to(image)
        api.add_image("app", image)
        if level == MAX_DEPTH - 2:
            assert len(digests(collect(api))) == MAX_DEPTH - 1
    with pytest.raises(InvalidDocument, match="nested deeper than"):
        collect(api)


def test_referrers_are_bounded_in_number(api: FakeRegistry) -> None:
    for number in range(1001):
        artifact = refer_to(IMAGE, data=b"%d" % number)
        api.add_manifest("app", artifact.manifest.data, artifact.manifest.media_type)
    with pytest.raises(BudgetExceeded, match=r"over 1,000 documents"):
        collect(api)


def test_lists_are_bounded(api: FakeRegistry) -> None:
    """A registry may list the same documents again and again, for each referrer."""
    artifacts = [refer_to(IMAGE, data=b"%d" % number) for number in range(102)]
    for artifact in artifacts:
        api.add_image("app", artifact)
    for artifact in artifacts:
        list_by_api(api, artifact, *artifacts)
    with pytest.raises(BudgetExceeded, match="referrers are listed"):
        collect(api)


def test_referrers_in_a_layout(tmp_path: Path) -> None:
    artifact, signature = refer_to(IMAGE), cosign(b"signed")
    second = refer_to(artifact, SIGNATURE)
    names = {IMAGE: "t", signature: f"example.com/app:{cosign_tag(IMAGE)}"}
    entries = []
    for image in (IMAGE, artifact, signature, second):
        for piece in (image.manifest, *image.blobs()):
            file = tmp_path / "blobs" / piece.digest.replace(":", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(piece.data)
        notes = {"org.opencontainers.image.ref.name": names[image]} if image in names else {}
        entries.append(image.manifest.descriptor() | {"annotations": notes})
    entries.append(OTHERS[0].manifest.descriptor())  # the layout lacks it
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    with contextlib.closing(DirectoryFiles(str(tmp_path))) as files:
        found = search(OciLayout(files), [IMAGE], [])
    assert digests(found) == [artifact.digest, signature.digest, second.digest]
    assert list(found.names) == [cosign_tag(IMAGE)]
