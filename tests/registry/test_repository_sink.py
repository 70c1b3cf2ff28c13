"""A repository as a sink: mounts, documents, tags, and what other clients then see."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.content.streams import blob_of
from wherry.errors import Denied, IntegrityError, NotFound, RegistryError, Unauthorized
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials
from wherry.registry.repository_sink import RepositorySink
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.testing import (
    CutRequest,
    Distribution,
    FakeRegistry,
    Fault,
    FixedReply,
    Replace,
    SetHeader,
    build_image,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import Client
    from wherry.registry.upload_options import SavedSessions
    from wherry.testing import BuiltImage, RegistryName

    Peer = Callable[..., str]

pytestmark = pytest.mark.usefixtures("environment")

TOKEN = CancelToken()
IMAGE = build_image(
    [tar_layer({"etc/motd": b"hello"}), tar_layer(pseudo_random_files(3, 3 * 2**20, 3))]
)
ROOT = Descriptor.of(IMAGE.manifest.data, IMAGE.manifest.media_type)
LAYER = Descriptor.of(IMAGE.layers[0].data, "")
NAMES: list[RegistryName] = [
    *("acr", "artifactory", "distribution-2.8", "ecr", "gar", "ghcr"),
    *("gitlab", "harbor", "hub", "keppel", "nexus", "quay"),
]


class Sessions:
    """Addresses of upload sessions, as a store keeps them."""

    def __init__(self) -> None:
        self.urls: dict[Digest, str] = {}

    def load(self, _repository: str, digest: Digest) -> str | None:
        return self.urls.get(digest)

    def save(self, _repository: str, digest: Digest, url: str) -> None:
        self.urls[digest] = url

    def forget(self, _repository: str, digest: Digest) -> None:
        self.urls.pop(digest, None)


@contextlib.contextmanager
def sink_of(
    host: str, name: str = "app", sessions: SavedSessions | None = None, **more: Any
) -> Iterator[RepositorySink]:
    policy = RetryPolicy(attempts=3, first=0.001)
    with contextlib.closing(Session(connections=2, policy=policy, **more)) as session:
        options = UploadOptions(policy, session.upload_pauses, sessions)
        yield RepositorySink(session, Reference.parse(f"{host}/{name}"), options, TOKEN)


@pytest.fixture
def sink(fake: FakeRegistry) -> Iterator[RepositorySink]:
    with sink_of(fake.host) as made:
        yield made


def put(sink: RepositorySink, data: bytes) -> Any:
    blob = blob_of(Descriptor.of(data, ""), data)
    return sink.put(blob, cancel=TOKEN, on_bytes=lambda _: None)


def push(sink: RepositorySink, image: BuiltImage, *tags: str) -> None:
    for piece in image.blobs():
        put(sink, piece.data)
    root = Descriptor.of(image.manifest.data, image.manifest.media_type)
    sink.put_document(root, image.manifest.data, [], TOKEN)
    sink.set_tags(tags, root)


def methods(registry: FakeRegistry) -> list[str]:
    return [request.method for request in registry.requests]


def test_the_sink_describes_itself(fake: FakeRegistry, sink: RepositorySink) -> None:
    assert sink.label == f"{fake.host}/app"
    assert not sink.has(LAYER)
    assert not put(sink, IMAGE.layers[0].data).existed
    assert sink.has(LAYER)


def test_a_mounted_blob_is_not_sent(fake: FakeRegistry, sink: RepositorySink) -> None:
    fake.add_image("base", IMAGE)
    assert sink.mount(LAYER, ("nothing", "base")) == "base"
    assert fake.uploads.open_sessions == 0
    assert put(sink, IMAGE.layers[0].data).existed


def test_a_mount_that_starts_an_upload(fake: FakeRegistry, sink: RepositorySink) -> None:
    """The session is used: no other one is started, and nothing is asked for again."""
    assert sink.mount(LAYER, ("nothing", "")) is None
    fake.inject(Fault(FixedReply(500), method="HEAD"))
    assert not put(sink, IMAGE.layers[0].data).existed
    assert methods(fake) == ["POST", "POST", "DELETE", "PUT"]
    assert fake.uploads.open_sessions == 0


@pytest.mark.parametrize("sources", [("",), ("nothing",)])
def test_an_upload_of_an_earlier_process_goes_on(
    fake: FakeRegistry, sources: tuple[str, ...]
) -> None:
    """It has precedence over an upload that a mount starts; that one is deleted."""
    data, sessions = IMAGE.layers[1].data, Sessions()
    layer = Descriptor.of(data, "")
    fake.inject(Fault(CutRequest(2**20), method="PATCH", times=1))
    cut = fake.inject(Fault(FixedReply(503), method="GET", path="/uploads/"))
    with sink_of(fake.host, sessions=sessions) as sink, pytest.raises(RegistryError):
        put(sink, data)
    cut.times = 0
    fake.requests.clear()
    with sink_of(fake.host, sessions=sessions) as sink:
        assert sink.mount(layer, sources) is None
        assert not put(sink, data).existed
    assert sum(one.bytes_received for one in fake.requests) == len(data) - 2**20
    assert fake.uploads.open_sessions == 0


def test_a_refused_mount(fake: FakeRegistry, sink: RepositorySink) -> None:
    fake.add_image("base", IMAGE)
    for status in (400, 401, 403, 404, 405, 409, 500):
        fake.inject(Fault(FixedReply(status), path="mount="))
        assert sink.mount(LAYER, ("secret",)) is None
        assert sink.mount(LAYER, ("",)) is None
        fake.faults.clear()
    assert sink.mount(LAYER, ("secret", "base")) == "base"


@pytest.mark.parametrize("takes_tags", [False, True])
def test_several_tags(takes_tags: bool) -> None:
    with FakeRegistry(takes_tags=takes_tags) as registry, sink_of(registry.host) as sink:
        push(sink, IMAGE, "a", "b", "c")
        assert registry.tags["app"] == dict.fromkeys("abc", IMAGE.digest)
        puts = [one for one in registry.requests if "/manifests/" in one.path]
        assert len(puts) == (2 if takes_tags else 5)
        registry.clear()
        sink.set_tags(("d", "e"), ROOT)
        assert methods(registry) == ["PUT"] * (1 if takes_tags else 2)


def test_many_tags_take_several_requests() -> None:
    tags = [f"t{number:02}" for number in range(25)]
    with FakeRegistry(takes_tags=True) as registry, sink_of(registry.host) as sink:
        push(sink, IMAGE, *tags)
        assert sorted(registry.tags["app"]) == tags
        puts = [each.path.count("tag=") for each in registry.requests if "tag=" in each.path]
        assert puts == [10, 10, 5]


def test_tags_that_are_not_confirmed_are_set_alone() -> None:
    """What ``OCI-Tag`` names beyond the tags that were asked for has no effect."""
    with FakeRegistry(takes_tags=True) as registry, sink_of(registry.host) as sink:
        registry.inject(Fault(SetHeader("OCI-Tag", " b , z"), method="PUT", path="tag="))
        push(sink, IMAGE, "a", "b", "c")
        puts = [each.path.rpartition("/")[2] for each in registry.requests if "/man" in each.path]
        assert puts == [IMAGE.digest, f"{IMAGE.digest}?tag=a&tag=b&tag=c", "a", "c"]
        assert registry.tags["app"] == dict.fromkeys("abc", IMAGE.digest)


def test_a_new_tag_for_a_stored_image(fake: FakeRegistry, sink: RepositorySink) -> None:
    fake.add_image("app", IMAGE, "old")
    assert sink.resolve("old") == ROOT.digest
    assert sink.resolve("new") is None
    sink.name("new", ROOT)
    assert fake.tags["app"]["new"] == IMAGE.digest
    assert methods(fake) == ["HEAD", "HEAD", "GET", "PUT"]


def test_a_registry_whose_manifest_is_damaged(fake: FakeRegistry, sink: RepositorySink) -> None:
    fake.add_image("app", IMAGE)
    fake.inject(Fault(Replace(b"{}"), method="GET"))
    with pytest.raises(IntegrityError):
        sink.name("new", ROOT)
    assert fake.tags["app"] == {}


def test_documents_before_their_blobs_are_refused(fake: FakeRegistry, sink: RepositorySink) -> None:
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        sink.put_document(ROOT, IMAGE.manifest.data, [], TOKEN)
    assert fake.manifests == {}


@pytest.mark.parametrize("like", NAMES)
def test_registries_by_name(client: Client, like: RegistryName) -> None:
    """What is pushed is pulled back with the same digest and id."""
    with FakeRegistry(like=like) as registry, sink_of(registry.host, "team/app") as sink:
        push(sink, IMAGE, "1", "2")
        assert registry.tags["team/app"] == {"1": IMAGE.digest, "2": IMAGE.digest}
        assert registry.uploads.open_sessions == 0
        assert client.pull(f"{registry.host}/team/app:1").id == IMAGE.config.digest


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("like", [None, *NAMES])
def test_registries_that_want_credentials(like: RegistryName | None, tokens: bool) -> None:
    """Those that hide repositories from strangers are asked with the credentials, too."""
    with FakeRegistry(like=like, users={"me": "secret"}, tokens=tokens) as registry:
        registry.add_image("base", IMAGE)
        known = CredentialStore(fixed=Credentials("me", "secret"))
        with sink_of(registry.host, "team/app", credentials=known) as sink:
            assert sink.mount(LAYER, ("base",)) == "base"
            push(sink, IMAGE, "1")
        assert registry.tags["team/app"] == {"1": IMAGE.digest}
        assert registry.tokens_issued <= 2 * tokens


@pytest.mark.parametrize("like", [None, *NAMES])
def test_registries_that_refuse_a_stranger(like: RegistryName | None) -> None:
    with FakeRegistry(like=like, users={"me": "secret"}, tokens=True) as registry:
        with sink_of(registry.host) as sink, pytest.raises((Unauthorized, Denied, NotFound)):
            put(sink, IMAGE.layers[0].data)
        assert registry.blobs == {}


@pytest.mark.peer("skopeo")
def test_skopeo_reads_what_was_pushed(
    distribution: Distribution, skopeo: Peer, client: Client
) -> None:
    with sink_of(distribution.host, "pushed/app") as sink:
        push(sink, IMAGE, "1")
        assert sink.resolve("1") == Digest.parse(IMAGE.digest)
    address = f"docker://{distribution.host}/pushed/app:1"
    shown = skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", address)
    assert shown.strip() == IMAGE.digest
    assert client.pull(f"{distribution.host}/pushed/app:1").id == IMAGE.config.digest


def test_nothing_is_named_after_a_failure(fake: FakeRegistry, sink: RepositorySink) -> None:
    fake.inject(Fault(FixedReply(400), method="PUT", path="/blobs/"))
    with pytest.raises(RegistryError):
        push(sink, IMAGE, "1")
    assert (fake.manifests, fake.tags) == ({}, {})


def test_pushing_again_sends_no_blob(fake: FakeRegistry, sink: RepositorySink) -> None:
    for _ in range(2):
        push(sink, IMAGE, "1")
    assert fake.tags["app"] == {"1": IMAGE.digest}
    assert sum(request.method == "POST" for request in fake.requests) == len(list(IMAGE.blobs()))
