"""Lists of referrers that the client keeps up, and clients that change them at once."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from artifacts import SBOM, SIGNATURE, document_of, refer_by_index, refer_to
from index_images import IMAGE, INDEX
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.errors import IntegrityError, NetworkError, Unsupported
from wherry.model.descriptor import Descriptor
from wherry.model.reference import Reference
from wherry.registry.referrers_index import MAX_CHANGES
from wherry.registry.repository_sink import RepositorySink
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.testing import Action, FakeRegistry, Fault, FixedReply, SetHeader, build_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import Client
    from wherry.testing import BuiltImage, BuiltIndex, Distribution
    from wherry.testing._messages import IncomingRequest

pytestmark = pytest.mark.usefixtures("environment")
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
TAG = IMAGE.digest.replace(":", "-")
TOKEN = CancelToken()
ARTIFACT, OTHER = refer_to(IMAGE, SBOM, author="me"), refer_to(IMAGE, SIGNATURE)


class Interfere(Action):
    """Another client does something while a request arrives."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change

    def bend(self, request: IncomingRequest) -> None:
        assert request.method
        self.change()


@contextlib.contextmanager
def sink_of(host: str, notes: list[str] | None = None) -> Iterator[RepositorySink]:
    policy = RetryPolicy(attempts=3, first=0.001)
    told: list[str] = [] if notes is None else notes
    with contextlib.closing(Session(connections=2, policy=policy)) as session:
        options = UploadOptions(policy, session.upload_pauses, note=told.append)
        yield RepositorySink(session, Reference.parse(f"{host}/app"), options, TOKEN)


@pytest.fixture
def registry(fake: FakeRegistry) -> FakeRegistry:
    """A registry without lists of referrers that has an image and the blobs of artifacts."""
    for image in (IMAGE, ARTIFACT, OTHER):
        fake.add_image("app", image)
    return fake


def put(sink: RepositorySink, *images: BuiltImage | BuiltIndex) -> None:
    for image in images:
        piece = document_of(image)
        sink.put_document(Descriptor.of(piece.data, piece.media_type), piece.data, [], TOKEN)
    sink.settle(TOKEN)


def entry_of(image: BuiltImage | BuiltIndex, **more: Any) -> dict[str, Any]:
    return {**document_of(image).descriptor(), **more}


def set_list(registry: FakeRegistry, *entries: dict[str, Any], **more: Any) -> None:
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}
    registry.add_manifest("app", json.dumps(index).encode(), OCI_INDEX, TAG)


def get_list(registry: FakeRegistry) -> Any:
    return json.loads(registry.manifests["app"][registry.tags["app"][TAG]][0])


def listed(registry: FakeRegistry) -> list[str]:
    return [entry["digest"] for entry in get_list(registry)["manifests"]]


def sent(registry: FakeRegistry) -> list[str]:
    return [request.method for request in registry.requests if TAG in request.path]


def test_the_first_referrer(registry: FakeRegistry, client: Client) -> None:
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT)
    assert get_list(registry) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [entry_of(ARTIFACT, annotations={"author": "me"}, artifactType=SBOM)],
    }
    assert sent(registry) == ["GET", "PUT", "GET", "GET"]
    (found,) = client.referrers(f"{registry.host}/app@{IMAGE.digest}", artifact_type=SBOM)
    assert (str(found.digest), found.annotations) == (ARTIFACT.digest, {"author": "me"})


def test_an_index_that_refers(registry: FakeRegistry) -> None:
    group = refer_by_index(IMAGE, ARTIFACT)
    with sink_of(registry.host) as sink:
        put(sink, group)
    (entry,) = get_list(registry)["manifests"]
    assert entry == entry_of(group, artifactType="application/vnd.example.set")


def test_an_artifact_whose_config_tells_its_type(registry: FakeRegistry) -> None:
    subject = IMAGE.manifest.descriptor()
    artifact = build_image(
        [], config_media_type="application/x-chart", manifest_extra={"subject": subject}
    )
    registry.add_image("app", artifact)
    with sink_of(registry.host) as sink:
        put(sink, artifact)
    (entry,) = get_list(registry)["manifests"]
    assert entry["artifactType"] == "application/x-chart"


def test_what_is_listed_stays(registry: FakeRegistry) -> None:
    other = entry_of(OTHER, artifactType=SIGNATURE, x=[1.5, "é"])
    set_list(registry, other, annotations={"a": "b"})
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT)
    index = get_list(registry)
    assert index["manifests"][0] == other
    assert index["annotations"] == {"a": "b"}
    assert listed(registry) == [OTHER.digest, ARTIFACT.digest]


def test_an_entry_without_its_type_gets_one(registry: FakeRegistry) -> None:
    set_list(registry, entry_of(ARTIFACT))
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT)
        put(sink, ARTIFACT)
    (entry,) = get_list(registry)["manifests"]
    assert entry["artifactType"] == SBOM
    assert sent(registry) == ["GET", "PUT", "GET", "GET", "GET"]


def test_a_registry_that_lists_referrers_itself(registry: FakeRegistry) -> None:
    registry.referrers = True
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT)
    assert sent(registry) == []


def test_a_registry_that_confirms_another_subject(registry: FakeRegistry) -> None:
    registry.inject(Fault(SetHeader("OCI-Subject", INDEX.digest), method="PUT"))
    with sink_of(registry.host) as sink:
        with pytest.raises(IntegrityError, match="referrer of") as caught:
            put(sink, ARTIFACT)
        assert (caught.value.expected, caught.value.actual) == (IMAGE.digest, INDEX.digest)
        put(sink, IMAGE)  # it has no subject


def test_gitlab_resolves_the_tag_to_the_subject() -> None:
    with FakeRegistry(like="gitlab") as registry, sink_of(registry.host) as sink:
        artifact = refer_to(INDEX)
        for image in (INDEX, artifact):
            registry.add_image("app", image)
        put(sink, artifact)
        digest = registry.tags["app"][INDEX.digest.replace(":", "-")]
        index = json.loads(registry.manifests["app"][digest][0])
        assert [entry["digest"] for entry in index["manifests"]] == [artifact.digest]


@pytest.mark.parametrize("image", [OTHER, INDEX])
def test_an_image_that_has_the_tag(registry: FakeRegistry, image: BuiltImage | BuiltIndex) -> None:
    """It stays: an index that lists the subject holds images, not referrers."""
    registry.add_image("app", image, TAG)
    with sink_of(registry.host) as sink, pytest.raises(Unsupported, match=r"left as it is"):
        put(sink, ARTIFACT)
    assert registry.tags["app"][TAG] == image.digest


def test_a_refused_list_is_an_error(registry: FakeRegistry) -> None:
    registry.inject(Fault(FixedReply(400), method="PUT", path=TAG))
    with sink_of(registry.host) as sink, pytest.raises(Exception, match="400"):
        put(sink, ARTIFACT)


# Other clients


def test_a_list_that_changes_before_it_is_written() -> None:
    """The registry compares the ETag, so nothing is lost."""
    with FakeRegistry(compares_etags=True) as registry, sink_of(registry.host) as sink:
        for image in (IMAGE, ARTIFACT, OTHER):
            registry.add_image("app", image)
        set_list(registry)
        change = Interfere(lambda: set_list(registry, entry_of(OTHER)))
        registry.inject(Fault(change, method="PUT", path=TAG, times=1))
        put(sink, ARTIFACT)
        assert listed(registry) == [OTHER.digest, ARTIFACT.digest]
        assert sent(registry) == ["GET", "PUT", "GET", "PUT", "GET", "GET"]


def test_etags_that_never_match() -> None:
    """Proxies change them; after a refusal for the same ETag none is compared."""
    with FakeRegistry(compares_etags=True) as registry, sink_of(registry.host) as sink:
        for image in (IMAGE, ARTIFACT):
            registry.add_image("app", image)
        set_list(registry)
        registry.inject(Fault(SetHeader("ETag", '"other"'), method="GET"))
        put(sink, ARTIFACT)
        assert listed(registry) == [ARTIFACT.digest]
        assert sent(registry) == ["GET", "PUT", "GET", "PUT", "GET", "GET"]


@pytest.mark.parametrize("etag", ['W/"weak"', "bare", ""])
def test_etags_that_cannot_be_compared(registry: FakeRegistry, etag: str) -> None:
    set_list(registry)
    registry.inject(Fault(SetHeader("ETag", etag), method="GET"))
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT)
    (request,) = [each for each in registry.requests if each.method == "PUT" and TAG in each.path]
    assert "if-match" not in request.headers


def test_a_list_that_loses_an_entry_is_merged_again(registry: FakeRegistry) -> None:
    notes: list[str] = []
    change = Interfere(lambda: set_list(registry, entry_of(OTHER)))
    registry.inject(Fault(change, method="GET", path=TAG, times=2, skip=1))
    with sink_of(registry.host, notes) as sink:
        put(sink, ARTIFACT)
    assert listed(registry) == [OTHER.digest, ARTIFACT.digest]
    assert sent(registry) == ["GET", *["PUT", "GET"] * 3, "GET"]
    assert TAG in notes[0]
    assert "may be lost" in notes[0]
    assert [note.rpartition(": ")[2] for note in notes[1:]] == [
        "another client has changed it; merged again"
    ] * 2


def test_a_list_that_keeps_nothing(registry: FakeRegistry) -> None:
    change = Interfere(lambda: set_list(registry, entry_of(OTHER)))
    registry.inject(Fault(change, method="GET", path=TAG))
    with sink_of(registry.host) as sink, pytest.raises(NetworkError, match="does not keep"):
        put(sink, ARTIFACT)
    assert sent(registry).count("PUT") == MAX_CHANGES


def test_the_last_look_finds_what_was_lost_since(registry: FakeRegistry) -> None:
    notes: list[str] = []
    change = Interfere(lambda: set_list(registry, entry_of(OTHER)))
    registry.inject(Fault(change, method="GET", path=TAG, times=1, skip=2))
    with sink_of(registry.host, notes) as sink:
        put(sink, ARTIFACT)
        assert listed(registry) == [OTHER.digest, ARTIFACT.digest]
        assert sent(registry) == ["GET", "PUT", "GET", "GET", "PUT", "GET", "GET"]
        assert notes[-1].endswith("merged again")
        registry.clear()
        sink.settle(TOKEN)
        assert sent(registry) == []


def test_all_referrers_of_a_subject_take_one_change(registry: FakeRegistry) -> None:
    group = refer_by_index(IMAGE, OTHER)
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT, OTHER, group)
        assert sent(registry) == ["GET", "PUT", "GET", "GET"]
        registry.clear()
        put(sink, group)
        assert sent(registry) == ["GET"]
    assert listed(registry) == [ARTIFACT.digest, OTHER.digest, group.digest]


def test_tags_are_set_after_the_lists(registry: FakeRegistry) -> None:
    piece = document_of(ARTIFACT)
    descriptor = Descriptor.of(piece.data, piece.media_type)
    with sink_of(registry.host) as sink:
        sink.put_document(descriptor, piece.data, [], TOKEN)
        sink.name("sbom", descriptor)
    tags = [each.path.rpartition("/")[2] for each in registry.requests if each.method == "PUT"]
    assert tags == [ARTIFACT.digest, TAG, "sbom"]


def test_an_answer_that_is_lost(registry: FakeRegistry) -> None:
    registry.inject(Fault(FixedReply(502), method="PUT", path=TAG, times=1))
    with sink_of(registry.host) as sink:
        put(sink, ARTIFACT)
    assert listed(registry) == [ARTIFACT.digest]


def test_clients_that_push_at_once(distribution: Distribution, client: Client) -> None:
    """Distribution 2.8 sends ETags and ignores ``If-Match``."""
    pushers, rounds = 3, 6
    barrier = threading.Barrier(pushers)
    failures: list[BaseException] = []

    def push(number: int) -> None:
        try:
            for each in range(rounds):
                with sink_of(distribution.host) as sink:
                    barrier.wait(60)
                    put(sink, artifacts[each][number])
        except BaseException as error:  # noqa: BLE001 - compared below
            failures.append(error)
            barrier.abort()

    subjects = [build_image([], labels={"round": str(each)}) for each in range(rounds)]
    artifacts = [
        [refer_to(subject, data=b"%d" % number) for number in range(pushers)]
        for subject in subjects
    ]
    for images in (subjects, *artifacts):
        for image in images:
            distribution.push("app", image)
    threads = [threading.Thread(target=push, args=(number,)) for number in range(pushers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    for subject, made in zip(subjects, artifacts, strict=True):
        found = client.referrers(f"{distribution.host}/app@{subject.digest}")
        assert {str(entry.digest) for entry in found} == {each.digest for each in made}
