"""Removing one tag from a registry, which never harms the other tags."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import pytest

import wherry
from wherry.errors import Cancelled, NotFound, RegistryError, WherryError
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    RegistryName,
    build_image,
    build_index,
    build_schema1,
    make_key,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry import Client, Event
    from wherry.testing import BuiltImage, BuiltIndex

IMAGE = build_image([tar_layer({"a": b"1"})])
OTHER = build_image([tar_layer({"a": b"2"})])
INDEX = build_index([(IMAGE, {"os": "linux", "architecture": "amd64"})])
DOCKER = build_image([tar_layer({"a": b"1"})], style="docker")
OLD = build_schema1([tar_layer({"a": b"1"})], keys=[("ES256", make_key("ES256"))])
BUILT: dict[str, BuiltImage | BuiltIndex] = {"image": IMAGE, "index": INDEX, "docker": DOCKER}
NO_TAGS: RegistryName = "distribution-2.8"  # a registry that does not delete tags
STAND_IN = b"wherry.stand-in"


class Script(FakeRegistry):
    """A registry that calls ``after`` with each request that it has handled, and its reply."""

    def __init__(self, after: Callable[[Script, Any, Any], None]) -> None:
        super().__init__(like=NO_TAGS)
        self._after = after
        self.add_image("app", IMAGE, "1", "1.0")

    def answer(self, request: Any) -> Any:
        reply = super().answer(request)
        self._after(self, request, reply)
        return reply

    @property
    def stands_in(self) -> bool:
        """Whether the tag 1.0 stands for a stand-in."""
        raw, _ = self.manifests["app"][self.tags["app"]["1.0"]]
        content = json.loads(raw)
        config = self.blobs[content["config"]["digest"]]
        return isinstance(config, bytes) and STAND_IN in config


def is_write_of_tag(request: Any) -> bool:
    return bool(request.method == "PUT" and request.path.endswith("/manifests/1.0"))


def idle(_registry: Script, _request: Any, _reply: Any) -> None:
    """Change nothing."""


@pytest.mark.parametrize("like", get_args(RegistryName))
@pytest.mark.parametrize("tokens", [False, True])
def test_each_registry(environment: dict[str, str], like: RegistryName, tokens: bool) -> None:
    assert environment
    with (
        FakeRegistry(like=like, users={"me": "secret"}, tokens=tokens) as registry,
        wherry.Client(credentials=("me", "secret")) as client,
    ):
        registry.add_image("app", IMAGE, "1", "1.0")
        if like == "hub":
            with pytest.raises(RegistryError) as caught:
                client.delete(f"{registry.host}/app:1.0", untag=True)
            assert str(caught.value) == (
                f"{registry.host}/app:1.0: the registry does not delete it "
                "(405 UNSUPPORTED: unsupported)"
            )
            assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.hint
            assert {each.method for each in registry.requests} <= {"GET", "HEAD", "DELETE"}
            assert registry.tags["app"] == dict.fromkeys(("1", "1.0"), IMAGE.digest)
            return
        done = client.delete(f"{registry.host}/app:1.0", untag=True)
        assert (done.digest, done.tags, done.untag) == (IMAGE.digest, ("1.0",), True)
        assert registry.tags["app"] == {"1": IMAGE.digest}
        assert set(registry.manifests["app"]) == {IMAGE.digest}
        assert client.inspect(f"{registry.host}/app:1").digest == IMAGE.digest


def test_a_registry_that_deletes_tags_gets_one_delete(client: Client, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "1", "1.0")
    client.delete(f"{fake.host}/app:1.0", untag=True)
    assert [each.method for each in fake.requests] == ["HEAD", "DELETE", "HEAD"]


def test_a_success_other_than_202_proves_nothing(client: Client, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "1", "1.0")
    fake.inject(Fault(FixedReply(200), method="DELETE", path="/1.0$"))
    client.delete(f"{fake.host}/app:1.0", untag=True)
    assert fake.tags["app"] == {"1": IMAGE.digest}


def test_a_registry_that_deletes_the_manifest_by_its_tag(client: Client) -> None:
    class Careless(FakeRegistry):
        def answer(self, request: Any) -> Any:
            if request.method == "DELETE":
                request.path = f"/v2/app/manifests/{IMAGE.digest}"
            return super().answer(request)

    with Careless() as registry:
        registry.add_image("app", IMAGE, "1", "1.0")
        events: list[Event] = []
        client.delete(f"{registry.host}/app:1.0", untag=True, on_event=events.append)
        (warning,) = events
        assert "has deleted the manifest with the tag" in warning.message


@pytest.mark.parametrize("kind", ["image", "index", "docker", "schema1", "unreadable"])
def test_each_kind_of_document(client: Client, kind: str) -> None:
    with FakeRegistry(like=NO_TAGS) as registry:
        if kind == "schema1":
            raw, media_type = OLD.manifest.data, OLD.manifest.media_type
            digest = registry.add_manifest("app", raw, media_type, "1", "1.0", digest=OLD.digest)
        elif kind == "unreadable":
            digest = registry.add_manifest("app", b"{}", "application/json", "1", "1.0")
        else:
            digest = registry.add_image("app", BUILT[kind], "1", "1.0")
        client.delete(f"{registry.host}/app:1.0", untag=True)
        assert registry.tags["app"] == {"1": digest}


def test_two_tags_of_one_image_are_removed_one_after_the_other(client: Client) -> None:
    with FakeRegistry(like=NO_TAGS) as registry:
        registry.add_image("app", IMAGE, "1", "1.0")
        for tag in ("1", "1.0"):
            client.delete(f"{registry.host}/app:{tag}", untag=True)
        assert registry.tags["app"] == {}
        assert set(registry.manifests["app"]) == {IMAGE.digest}


@pytest.mark.parametrize("status", [403, 404, 405, 409, 500])
def test_a_refused_deletion_puts_the_tag_back(environment: dict[str, str], status: int) -> None:
    assert environment

    def after(registry: Script, request: Any, _reply: Any) -> None:
        if is_write_of_tag(request) and registry.stands_in:  # from now on nothing is deleted
            registry.inject(Fault(FixedReply(status), method="DELETE"))

    with Script(after) as registry, wherry.Client(retries=2) as client:
        with pytest.raises(WherryError) as caught:
            client.delete(f"{registry.host}/app:1.0", untag=True)
        assert str(caught.value).startswith(f"{registry.host}/app:1.0: ")
        assert str(status) in str(caught.value)
        assert "the tag stands for what it did" in caught.value.hint
        assert registry.tags["app"] == dict.fromkeys(("1", "1.0"), IMAGE.digest)
        assert registry.manifests["app"][IMAGE.digest][0] == IMAGE.manifest.data


def test_a_stand_in_that_is_refused(client: Client) -> None:
    with Script(idle) as registry:
        body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"no images today"}]}'
        registry.inject(Fault(FixedReply(400, {}, body), method="PUT", path="/manifests/"))
        with pytest.raises(RegistryError, match="no images today") as caught:
            client.delete(f"{registry.host}/app:1.0", untag=True)
        assert "the tag stands for what it did" in caught.value.hint
        assert registry.tags["app"] == dict.fromkeys(("1", "1.0"), IMAGE.digest)


def test_a_stand_in_that_is_stored_without_a_response(environment: dict[str, str]) -> None:
    """The tag is put back if nobody knows whether it was changed."""
    assert environment
    puts = []

    def after(_registry: Script, request: Any, reply: Any) -> None:
        if is_write_of_tag(request):
            puts.append(request)
            reply.hang_up = len(puts) <= 2

    with Script(after) as registry, wherry.Client(retries=2) as client:
        with pytest.raises(wherry.NetworkError) as caught:
            client.delete(f"{registry.host}/app:1.0", untag=True)
        assert "the tag stands for what it did" in caught.value.hint
        assert registry.tags["app"] == dict.fromkeys(("1", "1.0"), IMAGE.digest)
        assert len(puts) == 3


def test_a_tag_that_cannot_be_put_back(environment: dict[str, str]) -> None:
    assert environment

    def after(registry: Script, request: Any, _reply: Any) -> None:
        if is_write_of_tag(request):
            registry.inject(Fault(FixedReply(405), method="DELETE"))
            registry.inject(Fault(FixedReply(507), method="PUT"))

    with Script(after) as registry, wherry.Client(retries=1) as client:
        with pytest.raises(RegistryError) as caught:
            client.delete(f"{registry.host}/app:1.0", untag=True)
        assert registry.stands_in
        left = registry.tags["app"]["1.0"]
        assert f"stand for an empty image now ({left})" in caught.value.hint
        assert f"it stood for {IMAGE.digest}" in caught.value.hint
        assert registry.tags["app"]["1"] == IMAGE.digest


@pytest.mark.parametrize("digest", [OTHER.digest, None])
def test_a_tag_that_another_client_changes(client: Client, digest: str | None) -> None:
    """The last look at the tag is right before it is written."""

    def after(registry: Script, request: Any, _reply: Any) -> None:
        if request.method == "PUT" and "/blobs/" in request.path:
            registry.add_image("app", OTHER)
            registry.tags["app"].pop("1.0", None)
            registry.tags["app"] |= {"1.0": digest} if digest else {}

    with Script(after) as registry:
        with pytest.raises(WherryError, match="another client has changed the tag"):
            client.delete(f"{registry.host}/app:1.0", untag=True)
        assert registry.tags["app"].get("1.0") == digest
        assert not [each for each in registry.requests if is_write_of_tag(each)]


def test_a_tag_that_is_set_again_at_once(client: Client) -> None:
    def after(registry: Script, request: Any, reply: Any) -> None:
        if request.method == "DELETE" and reply.status == 202:
            registry.tags["app"]["1.0"] = IMAGE.digest

    with Script(after) as registry:
        with pytest.raises(WherryError, match="still there, and stands for"):
            client.delete(f"{registry.host}/app:1.0", untag=True)
        assert registry.tags["app"] == dict.fromkeys(("1", "1.0"), IMAGE.digest)


@pytest.mark.parametrize("place", ["blobs/uploads", "manifests/1.0", "manifests/sha256"])
def test_a_cancelled_removal_harms_no_other_tag(client: Client, place: str) -> None:
    """Repeating it removes the tag."""
    cancel = wherry.CancelToken()

    def after(_registry: Script, request: Any, _reply: Any) -> None:
        if request.method in {"POST", "PUT"} and place in request.path:
            cancel.cancel()
        if request.method == "DELETE" and place in request.path and "sha256" in place:
            cancel.cancel()

    events: list[Event] = []
    with Script(after) as registry:
        name = f"{registry.host}/app:1.0"
        with pytest.raises(Cancelled):
            client.delete(name, untag=True, on_event=events.append, cancel=cancel)
        assert registry.tags["app"]["1"] == IMAGE.digest
        if registry.tags["app"].get("1.0") != IMAGE.digest:
            assert any("repeat this" in event.message for event in events)
        assert registry.manifests["app"][IMAGE.digest][0] == IMAGE.manifest.data
        client.delete(name, untag=True)
        assert registry.tags["app"] == {"1": IMAGE.digest}


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_connection_that_breaks_anywhere(environment: dict[str, str], cut: int) -> None:
    """Request number ``cut`` gets no response: the removal goes on, and no tag is harmed."""
    assert environment
    with Script(idle) as registry, wherry.Client() as client:
        registry.inject(Fault(HangUp(), skip=cut, times=1))
        client.delete(f"{registry.host}/app:1.0", untag=True)
        assert registry.tags["app"] == {"1": IMAGE.digest}
        assert IMAGE.digest in registry.manifests["app"]


def test_a_missing_tag(client: Client, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "1")
    with pytest.raises(NotFound):
        client.delete(f"{fake.host}/app:2", untag=True)
    assert [each.method for each in fake.requests] == ["HEAD"]
