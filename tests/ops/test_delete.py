"""Deleting manifests and tags from registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

import wherry
from wherry.errors import (
    Denied,
    InvalidReference,
    NetworkError,
    NotFound,
    RegistryError,
    StillTagged,
    Unauthorized,
)
from wherry.testing import (
    DropHeader,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    RegistryName,
    build_image,
    build_index,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from wherry import Client, Event
    from wherry.testing import RequestRecord

IMAGE = build_image([tar_layer({"a": b"1"})])
OTHER = build_image([tar_layer({"a": b"2"})])
ARM = build_image([tar_layer({"a": b"3"})], architecture="arm64")
INDEX = build_index([(IMAGE, {"os": "linux", "architecture": "amd64"}),
                     (ARM, {"os": "linux", "architecture": "arm64"})])  # fmt: skip
USERS = {"me": "secret"}


def sent(registry: FakeRegistry, method: str) -> list[str]:
    """Return the references of the requests for manifests that a registry answered."""
    return [
        each.path.rpartition("/")[2]
        for each in registry.requests
        if each.method == method and "/manifests/" in each.path
    ]


def writes(registry: FakeRegistry) -> list[RequestRecord]:
    return [each for each in registry.requests if each.method not in {"GET", "HEAD"}]


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    """An image with two tags, another one with one tag, and an index."""
    fake.add_image("team/app", IMAGE, "1", "1.0")
    fake.add_image("team/app", OTHER, "2")
    fake.add_image("team/app", INDEX, "all")
    return f"{fake.host}/team/app"


# By tag


def test_the_only_tag(client: Client, fake: FakeRegistry, name: str) -> None:
    done = client.delete(f"{name}:2")
    assert (done.digest, done.tags, done.untag) == (OTHER.digest, ("2",), False)
    assert done.media_type == OTHER.manifest.media_type
    assert sent(fake, "DELETE") == [OTHER.digest]
    assert sorted(sent(fake, "HEAD")) == ["1", "1.0", "2", "all"]
    assert OTHER.digest not in fake.manifests["team/app"]
    assert sorted(fake.tags["team/app"]) == ["1", "1.0", "all"]


def test_other_tags_are_named(client: Client, fake: FakeRegistry, name: str) -> None:
    with pytest.raises(StillTagged) as caught:
        client.delete(f"{name}:1")
    assert caught.value.tags == ("1.0",)
    assert str(caught.value) == (
        f"{name}:1: the manifest has other tags, which would be deleted too: 1.0"
    )
    assert "--force" in caught.value.hint
    assert writes(fake) == []


def test_force_asks_for_no_other_tag(client: Client, fake: FakeRegistry, name: str) -> None:
    done = client.delete(f"{name}:1", force=True)
    assert done.tags == ("1",)
    assert sent(fake, "HEAD") == ["1"]
    assert len(fake.requests) == 2
    assert sorted(fake.tags["team/app"]) == ["2", "all"]


def test_many_tags_are_asked_for_at_a_time_and_named_in_part(
    environment: dict[str, str], fake: FakeRegistry
) -> None:
    assert environment
    fake.add_image("app", IMAGE, *(f"t{number:02}" for number in range(50)))
    with wherry.Client(jobs=3) as client, pytest.raises(StillTagged) as caught:
        client.delete(f"{fake.host}/app:t07")
    assert len(caught.value.tags) == 49
    assert caught.value.message.endswith("t19, t20 and 29 more")
    assert len(sent(fake, "HEAD")) == 50


def test_a_tag_that_goes_while_tags_are_compared(
    client: Client, fake: FakeRegistry, name: str
) -> None:
    fake.inject(Fault(FixedReply(404), method="HEAD", path="/1.0$"))
    client.delete(f"{name}:1")
    assert sent(fake, "DELETE") == [IMAGE.digest]


def test_a_tag_that_cannot_be_compared(client: Client, fake: FakeRegistry, name: str) -> None:
    fake.inject(Fault(FixedReply(403), method="HEAD", path="/1.0$"))
    with pytest.raises(Denied):
        client.delete(f"{name}:1")
    assert writes(fake) == []


def test_a_tag_that_moves_after_it_was_resolved(client: Client, name: str) -> None:
    class Moving(FakeRegistry):
        def answer(self, request: Any) -> Any:
            reply = super().answer(request)
            if request.method == "HEAD" and request.path.endswith("/manifests/2"):
                self.tags["app"]["2"] = IMAGE.digest
            return reply

    assert name
    with Moving() as registry:
        registry.add_image("app", IMAGE, "1")
        registry.add_image("app", OTHER, "2")
        client.delete(f"{registry.host}/app:2")
        assert registry.tags["app"] == {"1": IMAGE.digest, "2": IMAGE.digest}
        assert set(registry.manifests["app"]) == {IMAGE.digest}


@pytest.mark.parametrize("tag", ["missing", ""])
def test_a_missing_tag(client: Client, fake: FakeRegistry, name: str, tag: str) -> None:
    for call in (client.delete, client.plan_delete):
        with pytest.raises(NotFound) as caught:
            call(f"{name}:{tag}" if tag else name)
        assert str(caught.value) == f"{name}:{tag or 'latest'}: not found"
    assert writes(fake) == []


def test_a_missing_repository(client: Client, fake: FakeRegistry) -> None:
    with pytest.raises(NotFound):
        client.delete(f"{fake.host}/none:1")


# By digest


def test_a_digest(client: Client, fake: FakeRegistry, name: str) -> None:
    done = client.delete(f"{name}@{IMAGE.digest}")
    assert (done.digest, done.tags) == (IMAGE.digest, ())
    assert [(each.method) for each in fake.requests] == ["HEAD", "DELETE"]
    assert sorted(fake.tags["team/app"]) == ["2", "all"]


def test_a_digest_decides_beside_a_tag(client: Client, fake: FakeRegistry, name: str) -> None:
    client.delete(f"{name}:1@{OTHER.digest}", force=True)
    assert [(each.method) for each in fake.requests] == ["DELETE"]
    assert sorted(fake.tags["team/app"]) == ["1", "1.0", "all"]


@pytest.mark.parametrize("force", [False, True])
def test_a_missing_digest(client: Client, name: str, force: bool) -> None:
    with pytest.raises(NotFound):
        client.delete(f"{name}@{sha256(b'none')}", force=force)


def test_of_an_index_the_images_stay(client: Client, fake: FakeRegistry, name: str) -> None:
    done = client.delete(f"{name}:all")
    assert done.is_index
    assert set(fake.manifests["team/app"]) == {IMAGE.digest, OTHER.digest, ARM.digest}


# Plans


def test_a_plan_changes_nothing(client: Client, fake: FakeRegistry, name: str) -> None:
    plan = client.plan_delete(f"{name}:1.0")
    assert (plan.digest, plan.tags, plan.others) == (IMAGE.digest, ("1.0", "1"), ("1",))
    plan = client.plan_delete(f"{name}@{IMAGE.digest}")
    assert (plan.tags, plan.is_index) == (("1", "1.0"), False)
    plan = client.plan_delete(f"{name}:1", force=True)
    assert plan.tags == ("1",)
    plan = client.plan_delete(f"{name}:all", untag=True)
    assert (plan.tags, plan.untag, plan.is_index) == (("all",), True, True)
    assert writes(fake) == []


# Registries that do not delete, or hide things


@pytest.mark.parametrize("like", get_args(RegistryName))
@pytest.mark.parametrize("tokens", [False, True])
def test_each_registry(environment: dict[str, str], like: RegistryName, tokens: bool) -> None:
    assert environment
    with (
        FakeRegistry(like=like, users=USERS, tokens=tokens, page_size=2) as registry,
        wherry.Client(credentials=("me", "secret")) as client,
    ):
        registry.add_image("app", IMAGE, "1", "1.0")
        registry.add_image("app", OTHER, "2", "2.0", "2.1")
        with pytest.raises(StillTagged) as caught:
            client.delete(f"{registry.host}/app:2.0")
        assert caught.value.tags == ("2", "2.1")
        if like == "hub":
            with pytest.raises(RegistryError) as refused:
                client.delete(f"{registry.host}/app:2.0", force=True)
            assert str(refused.value) == (
                f"{registry.host}/app@{OTHER.digest}: the registry does not delete it "
                "(405 UNSUPPORTED: unsupported)"
            )
            assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in refused.value.hint
            assert sorted(registry.tags["app"]) == ["1", "1.0", "2", "2.0", "2.1"]
            return
        client.delete(f"{registry.host}/app:2.0", force=True)
        assert registry.tags["app"] == {"1": IMAGE.digest, "1.0": IMAGE.digest}
        assert client.delete(f"{registry.host}/app@{IMAGE.digest}").digest == IMAGE.digest
        assert registry.manifests["app"] == {}


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (FixedReply(405), "does not delete it (405)", "REGISTRY_STORAGE_DELETE_ENABLED"),
        (
            FixedReply(400, {}, b'{"errors":[{"code":"UNSUPPORTED","message":"no"}]}'),
            "does not delete it (400 UNSUPPORTED: no)",
            "REGISTRY_STORAGE_DELETE_ENABLED",
        ),
        (
            FixedReply(400, {}, b'{"errors":[{"code":"GOOGLE_MANIFEST_DANGLING_TAG"}]}'),
            "does not delete it (400 GOOGLE_MANIFEST_DANGLING_TAG)",
            "wherry delete --untag",
        ),
        (FixedReply(404), "has it, but does not delete it: not found (404)", ""),
    ],
)
def test_a_refusal_is_one_clear_line(
    client: Client, fake: FakeRegistry, name: str, reply: FixedReply, message: str, hint: str
) -> None:
    fake.inject(Fault(reply, method="DELETE"))
    for reference in (f"{name}:2", f"{name}@{OTHER.digest}"):
        with pytest.raises(RegistryError) as caught:
            client.delete(reference)
        assert str(caught.value) == f"{name}@{OTHER.digest}: the registry {message}"
        assert hint in caught.value.hint
        assert caught.value.status == reply.status
    assert sent(fake, "DELETE") == [OTHER.digest] * 2


def test_a_registry_that_names_no_digests(client: Client, fake: FakeRegistry, name: str) -> None:
    fake.inject(Fault(DropHeader("Docker-Content-Digest")))
    with pytest.raises(StillTagged):
        client.delete(f"{name}:1")
    client.delete(f"{name}:2")
    assert sent(fake, "DELETE") == [OTHER.digest]


def test_a_registry_without_head(client: Client, fake: FakeRegistry, name: str) -> None:
    fake.inject(Fault(FixedReply(405), method="HEAD"))
    client.delete(f"{name}:2")
    assert sent(fake, "DELETE") == [OTHER.digest]


def test_a_stranger_may_not_delete(client: Client) -> None:
    with FakeRegistry(users=USERS, tokens=True, public=True) as registry:
        registry.add_image("app", IMAGE, "1")
        for untag in (False, True):
            with pytest.raises(Unauthorized) as caught:
                client.delete(f"{registry.host}/app:1", untag=untag)
            assert caught.value.scope == "repository:app:pull,push,delete"
        assert registry.tags["app"] == {"1": IMAGE.digest}


def test_a_user_who_may_not_delete(client: Client, fake: FakeRegistry, name: str) -> None:
    fake.inject(Fault(FixedReply(403), method="DELETE"))
    for untag in (False, True):
        with pytest.raises(Denied):
            client.delete(f"{name}:2", untag=untag)
    assert {each.method for each in writes(fake)} == {"DELETE"}


# Interruptions


def test_a_lost_response(client: Client, name: str) -> None:
    class Losing(FakeRegistry):
        """Deletes, and then closes the connection without a response."""

        lost = False

        def answer(self, request: Any) -> Any:
            reply = super().answer(request)
            if request.method == "DELETE" and not self.lost:
                self.lost = reply.hang_up = True
            return reply

    assert name
    for untag in (False, True):
        with Losing() as registry:
            registry.add_image("app", IMAGE, "1")
            done = client.delete(f"{registry.host}/app:1", untag=untag)
            assert done.tags == ("1",)
            assert len(sent(registry, "DELETE")) == 2
            assert registry.tags["app"] == {}


def test_a_registry_that_does_not_answer(
    environment: dict[str, str], fake: FakeRegistry, name: str
) -> None:
    assert environment
    fake.inject(Fault(HangUp(), method="DELETE"))
    with wherry.Client(retries=2) as client:
        for untag in (False, True):
            with pytest.raises(NetworkError):
                client.delete(f"{name}:2", untag=untag)
    assert fake.tags["team/app"]["2"] == OTHER.digest


# Arguments


def test_a_digest_cannot_be_untagged(client: Client, fake: FakeRegistry, name: str) -> None:
    for call in (client.delete, client.plan_delete):
        with pytest.raises(InvalidReference) as caught:
            call(f"{name}@{IMAGE.digest}", untag=True)
        assert caught.value.position == len(name)
    assert fake.requests == []


def test_a_warning_of_the_registry_is_shown_once(client: Client) -> None:
    for untag in (False, True):
        with FakeRegistry(like="distribution-2.8", warning="read-only soon") as registry:
            registry.add_image("app", IMAGE, "1")
            events: list[Event] = []
            client.delete(f"{registry.host}/app:1", untag=untag, on_event=events.append)
            assert [each.message for each in events] == [f"{registry.host} says: read-only soon"]
