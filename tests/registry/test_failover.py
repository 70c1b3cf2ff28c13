"""Several endpoints of one repository: the order, and whose response is final."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    NetworkError,
    NotFound,
    RegistryError,
    WherryError,
)
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.registry.hosts import Endpoint
from wherry.registry.repository import Repository
from wherry.registry.session import Session
from wherry.testing import (
    ContentLength,
    Corrupt,
    Cut,
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
    refused_port,
    tar_layer,
)
from wherry.transfer.resume import resuming_blob

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = build_image([tar_layer({"a": bytes(range(256)) * 400})], compression="none")
LAYER = IMAGE.layers[0]
BLOB = Descriptor("", Digest.parse(LAYER.digest), LAYER.size)
NAME = Reference.parse("registry.example/app:t")
FAST = RetryPolicy(attempts=3, first=0.0)


class Places:
    """A mirror and the registry itself, both with the image, as one repository."""

    def __init__(self, mirror: FakeRegistry, registry: FakeRegistry, first: str = "") -> None:
        self.mirror, self.registry = mirror, registry
        self.warnings: list[str] = []
        self.pauses: list[float] = []
        self.session = Session(connections=4, policy=FAST)
        hosts = [first or mirror.host, registry.host]
        self.repository = Repository(
            self.session,
            NAME,
            [Endpoint(host, host, "app", ("http",)) for host in hosts],
            CancelToken(),
            warn=self.warnings.append,
            on_retry=lambda pause, _: self.pauses.append(pause),
        )

    def read(self) -> bytes:
        blob = resuming_blob(
            self.repository, BLOB, FAST, CancelToken(), lambda pause, _: self.pauses.append(pause)
        )
        stream, content = blob.open(0, lambda: False).stream, b""
        while data := stream.read1(4096):
            content += data
        stream.close()
        return content

    def asked(self) -> tuple[int, int]:
        return len(self.mirror.requests), len(self.registry.requests)


@pytest.fixture
def places() -> Iterator[Places]:
    with FakeRegistry() as mirror, FakeRegistry() as registry:
        for each in (mirror, registry):
            each.add_image("app", IMAGE, "t")
        found = Places(mirror, registry)
        yield found
        found.session.close()


def test_the_mirror_is_asked_first(places: Places) -> None:
    assert str(places.repository.resolve(NAME).digest) == IMAGE.digest
    assert places.read() == LAYER.data
    assert places.asked() == (2, 0)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_the_registry_is_asked_after_any_failure_of_a_mirror(places: Places, status: int) -> None:
    """containers-registries.conf(5): mirrors are tried first, then the registry itself."""
    places.mirror.inject(Fault(FixedReply(status)))
    digest = places.repository.resolve(NAME).digest
    assert str(digest) == IMAGE.digest
    assert places.repository.document(digest).raw == IMAGE.manifest.data
    assert places.read() == LAYER.data
    assert places.asked()[1] == 3
    assert len(places.warnings) == 1  # not once for each request
    assert places.pauses == ([0.0] if status >= 500 else [])


def test_a_mirrors_corrupt_document_is_fetched_from_the_registry(places: Places) -> None:
    places.mirror.inject(Fault(Corrupt(at=3), path="/manifests/"))
    assert places.repository.document(Digest.parse(IMAGE.digest)).raw == IMAGE.manifest.data


def test_a_broken_download_resumes_at_the_next_endpoint(places: Places) -> None:
    places.mirror.inject(Fault(Cut(after=50_000), path="/blobs/"))
    assert places.read() == LAYER.data
    assert [r.headers.get("range") for r in places.registry.requests] == ["bytes=50000-"]


def test_an_unresponsive_mirror_is_not_asked_first_again(places: Places) -> None:
    dead = Places(places.mirror, places.registry, first=f"127.0.0.1:{refused_port()}")
    for _ in range(3):
        assert dead.read() == LAYER.data
        assert str(dead.repository.resolve(NAME).digest) == IMAGE.digest
    assert dead.pauses == [0.0]  # for the first blob; the mirror causes no second pause
    assert dead.asked() == (0, 6)
    dead.session.close()


def test_the_mirror_serves_if_the_registry_is_down(places: Places) -> None:
    places.registry.close()
    places.mirror.inject(Fault(Cut(after=1000), path="/blobs/", times=1))
    assert places.read() == LAYER.data
    assert places.repository.document(Digest.parse(IMAGE.digest)).raw == IMAGE.manifest.data


def test_a_mirror_without_referrers_does_not_replace_the_registry(places: Places) -> None:
    """A mirror without a list of referrers does not mean that there are no signatures."""
    places.registry.close()
    with pytest.raises(NetworkError):
        places.repository.referrers(Digest.parse(IMAGE.digest))


def test_a_mirrors_list_comes_with_a_warning(places: Places) -> None:
    """A mirror may have only some of the tags."""
    assert list(places.repository.tags()) == ["t"]
    assert places.warnings == []
    places.registry.close()
    assert list(places.repository.tags()) == ["t"]
    (warning,) = places.warnings
    assert f"the list of its mirror {places.mirror.host}" in warning


def test_a_list_does_not_continue_at_a_mirror(places: Places) -> None:
    """A mirror has other pages, and may have only some of the tags."""
    places.registry.page_size = places.mirror.page_size = 1
    places.registry.add_image("app", IMAGE, "u", "v")
    listed = places.repository.tags()
    assert next(listed) == "t"
    places.registry.inject(Fault(FixedReply(503)))
    with pytest.raises(RegistryError):
        list(listed)
    assert places.mirror.requests == []


def test_the_registrys_404_is_final(places: Places) -> None:
    """A failing mirror does not make it transient."""
    places.mirror.inject(Fault(FixedReply(503)))
    places.registry.inject(Fault(FixedReply(404)))
    with pytest.raises(NotFound):
        places.repository.resolve(NAME)
    assert places.asked() == (1, 2)  # HEAD and GET


def test_a_round_over_all_endpoints_is_one_attempt(places: Places) -> None:
    for each in (places.mirror, places.registry):
        each.inject(Fault(FixedReply(503)))
    with pytest.raises(RegistryError):
        places.repository.resolve(NAME)
    assert places.asked() == (FAST.attempts, FAST.attempts)
    assert len(places.pauses) == FAST.attempts - 1


# Documents whose end looks the same as the end of the connection


@pytest.mark.parametrize("by", ["t", IMAGE.digest])
def test_a_truncated_document_without_a_length_is_fetched_again(places: Places, by: str) -> None:
    places.mirror.inject(Fault(ContentLength(None), path="/manifests/", method="GET", times=2))
    places.mirror.inject(Fault(Cut(after=100), path="/manifests/", method="GET", times=2))
    places.mirror.inject(Fault(FixedReply(405), path="/manifests/", method="HEAD"))
    alone = Repository(
        places.session,
        NAME,
        [Endpoint(places.mirror.host, places.mirror.host, "app", ("http",))],
        CancelToken(),
        warn=places.warnings.append,
        on_retry=lambda pause, _: places.pauses.append(pause),
    )
    if by == "t":
        assert str(alone.resolve(NAME).digest) == IMAGE.digest
    else:
        assert alone.document(Digest.parse(by)).raw == IMAGE.manifest.data
    assert len(places.pauses) == 2


@pytest.mark.parametrize("action", [Corrupt(at=3), Corrupt(at=-1)], ids=["broken", "as-it-is"])
def test_an_invalid_document_with_a_length_is_not_fetched_again(
    places: Places, action: Corrupt
) -> None:
    """A digest mismatch of a complete response is permanent."""
    for each in (places.mirror, places.registry):
        each.inject(Fault(action, path="/manifests/"))
    digest = Digest.parse(IMAGE.digest)
    if action.at < 0:
        assert places.repository.document(digest).raw == IMAGE.manifest.data
        return
    with pytest.raises((IntegrityError, InvalidDocument)) as caught:
        places.repository.document(digest)
    assert isinstance(caught.value, WherryError)
    assert places.asked() == (1, 1)
