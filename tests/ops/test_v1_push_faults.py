"""Pushes to version 1 registries that fail: nothing incomplete gets a tag."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.testing import (
    Action,
    CutRequest,
    EarlyReply,
    FakeRegistry,
    FakeV1Registry,
    Fault,
    FixedReply,
    HangUp,
    build_image,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.testing._messages import IncomingRequest

IMAGE = build_image([tar_layer({f"f{number}": b"x" * 3000 * number}) for number in range(3)])
TOP = IMAGE.id.removeprefix("sha256:")
USERS = {"user": "secret"}
AT_ONCE = {"Retry-After": "0"}
LAYER = r"/layer$"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The path of a store, and the name of an image in it."""
    path = tmp_path_factory.mktemp("v1-push") / "store"
    with FakeRegistry() as source, wherry.Client(store=path) as client:
        source.add_image("app", IMAGE, "1")
        client.pull(f"{source.host}/app:1")
        return path, f"{source.host}/app:1"


@pytest.fixture
def name(filled: tuple[Path, str]) -> str:
    return filled[1]


@pytest.fixture
def client(filled: tuple[Path, str]) -> Iterator[wherry.Client]:
    with wherry.Client(
        store=filled[0], legacy=True, retries=2, credentials=("user", "secret")
    ) as client:
        yield client


@pytest.fixture
def v1() -> Iterator[FakeV1Registry]:
    with FakeV1Registry(users=USERS, tokens=True, sessions=True) as registry:
        yield registry


def puts(registry: FakeV1Registry, kind: str) -> list[str]:
    paths = [each.path for each in registry.requests if each.method == "PUT"]
    return [path for path in paths if path.endswith(kind)]


def assert_untagged(registry: FakeV1Registry) -> None:
    assert not registry.tags
    assert puts(registry, "/images") == []


def test_errors_of_the_server_are_retried(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    again = FixedReply(500, AT_ONCE)
    for method, path in (
        *(("GET", "/_ping"), ("GET", "/json"), ("PUT", "/app/$"), ("PUT", "/json")),
        *(("PUT", LAYER), ("PUT", "/checksum"), ("PUT", "/tags/"), ("PUT", "/images$")),
    ):
        v1.inject(Fault(again, method=method, path=path, times=1))
    events: list[wherry.Event] = []
    client.push(name, f"{v1.host}/app:1", on_event=events.append)
    assert v1.tags["library/app"] == {"1": TOP}
    assert v1.is_whole(TOP)
    assert sum(each.status is wherry.Status.RETRYING for each in events) == 8


@pytest.mark.parametrize("action", [CutRequest(after=40), FixedReply(502, AT_ONCE)])
def test_a_layer_that_broke_off_is_sent_again(
    client: wherry.Client, name: str, v1: FakeV1Registry, action: Action
) -> None:
    v1.inject(Fault(action, method="PUT", path=LAYER, skip=1, times=1))
    client.push(name, f"{v1.host}/app:1")
    assert len(puts(v1, "/layer")) == 4
    assert v1.is_whole(TOP)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, wherry.Denied), (413, wherry.RegistryError), (500, wherry.RegistryError)],
)
def test_a_layer_that_is_refused_early_ends_the_push(
    client: wherry.Client,
    name: str,
    v1: FakeV1Registry,
    status: int,
    error: type[wherry.WherryError],
) -> None:
    fault = Fault(EarlyReply(status, AT_ONCE, after=10), method="PUT", path=LAYER, skip=1)
    v1.inject(fault)
    with pytest.raises(error) as caught:
        client.push(name, f"{v1.host}/app:1")
    assert caught.value.where[:1] == (f"{v1.host}/app",)
    assert_untagged(v1)
    fault.times = 0
    v1.requests.clear()
    client.push(name, f"{v1.host}/app:1")
    assert len(puts(v1, "/layer")) == 2  # the first one is there
    assert v1.is_whole(TOP)


def test_checksums_that_are_refused_twice_are_an_error(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    fault = v1.inject(Fault(_OtherLayer(), method="PUT", path=LAYER, skip=2, times=2))
    with pytest.raises(wherry.IntegrityError, match="Checksum mismatch"):
        client.push(name, f"{v1.host}/app:1")
    assert fault.count == 2
    assert_untagged(v1)
    client.push(name, f"{v1.host}/app:1")
    assert v1.is_whole(TOP)


def test_a_layer_that_another_push_has_dropped_is_sent_again(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    fault = v1.inject(Fault(_JsonAgain(v1), method="PUT", path="/checksum$", skip=1, times=1))
    client.push(name, f"{v1.host}/app:1")
    assert fault.count == 1
    assert len(puts(v1, "/layer")) == 4
    assert v1.is_whole(TOP)


@dataclasses.dataclass(frozen=True)
class _JsonAgain(Action):
    """Forget the layer of the image, as when another client begins to send it."""

    registry: FakeV1Registry

    def bend(self, request: IncomingRequest) -> None:
        self.registry.images[request.path.split("/")[3]].layer = None


@dataclasses.dataclass(frozen=True)
class _OtherLayer(Action):
    """Let the registry receive another layer than was sent."""

    def bend(self, request: IncomingRequest) -> None:
        while request.stream.read1():
            pass


def test_wrong_credentials_end_the_push(filled: tuple[Path, str], v1: FakeV1Registry) -> None:
    path, name = filled
    with (
        wherry.Client(store=path, legacy=True, retries=1, credentials=("user", "no")) as client,
        pytest.raises(wherry.Unauthorized),
    ):
        client.push(name, f"{v1.host}/app:1")
    assert_untagged(v1)


@pytest.mark.parametrize("call", ["push", "plan_copy"])
@pytest.mark.parametrize(("status", "kind"), [(404, wherry.NotFound), (401, wherry.Unauthorized)])
def test_a_host_without_any_version_is_an_error_of_version_2(
    client: wherry.Client,
    name: str,
    v1: FakeV1Registry,
    call: str,
    status: int,
    kind: type[wherry.WherryError],
) -> None:
    v1.inject(Fault(FixedReply(404), path="^/v1/"))
    v1.inject(Fault(FixedReply(status), path="^/v2/"))
    with pytest.raises(kind) as caught:
        getattr(client, call)(f"store:{name}", f"{v1.host}/app:1")
    assert caught.value.where == (f"{v1.host}/app",)


def test_a_silent_host_gets_one_attempt_by_version_1(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    v1.inject(Fault(HangUp()))
    with pytest.raises(wherry.NetworkError):
        client.push(name, f"{v1.host}/app:1")
    assert [each.path for each in v1.requests].count("/v1/_ping") == 1


def test_a_repository_that_version_1_refuses_is_an_error_of_version_1(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    v1.inject(Fault(FixedReply(404, body=b'{"error": "no such user"}'), method="PUT"))
    with pytest.raises(wherry.NotFound, match="no such user"):
        client.push(name, f"{v1.host}/app:1")


def test_an_image_that_appears_meanwhile_is_not_sent(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    client.push(name, f"{v1.host}/app:1")
    v1.requests.clear()
    v1.inject(Fault(FixedReply(400), method="GET", path="/json$", times=3))
    assert client.push(name, f"{v1.host}/app:2").sent == 0
    assert len(puts(v1, "/json")) == 3
    assert puts(v1, "/layer") == []
    assert v1.tags["library/app"]["2"] == TOP


@pytest.mark.parametrize("kind", ["/json$", LAYER, "/checksum$"])
def test_an_image_that_another_client_is_sending_gets_no_tag(
    client: wherry.Client, name: str, v1: FakeV1Registry, kind: str
) -> None:
    v1.inject(Fault(FixedReply(409), method="PUT", path=kind, skip=1, times=1))
    with pytest.raises(wherry.NetworkError, match="not completely"):
        client.push(name, f"{v1.host}/app:1")
    assert_untagged(v1)


def test_checksums_whose_answer_was_lost_count(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    v1.inject(Fault(_Lost(), method="PUT", path="/checksum$", times=1))
    client.push(name, f"{v1.host}/app:1")
    assert v1.is_whole(TOP)


@dataclasses.dataclass(frozen=True)
class _Lost(Action):
    """Handle the request, then answer as if the server had failed."""

    def shape(self, reply: Any) -> None:
        reply.status, reply.body = 500, b""
        reply.headers = {"Retry-After": "0"}


def test_another_image_by_the_same_id_is_an_error(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    client.push(name, f"{v1.host}/app:1")
    v1.images[TOP].json = json.dumps({"id": TOP}).encode()
    with pytest.raises(wherry.IntegrityError, match="another image"):
        client.push(name, f"{v1.host}/app:2")
    assert "2" not in v1.tags["library/app"]


def test_a_token_that_runs_out_is_renewed(client: wherry.Client, name: str) -> None:
    with FakeV1Registry(users=USERS, tokens=True) as v1:
        v1.inject(Fault(_Revoke(v1), method="PUT", path=LAYER, skip=1, times=1))
        client.push(name, f"{v1.host}/app:1")
        assert v1.is_whole(TOP)
        assert v1.tags["library/app"] == {"1": TOP}
        lists = [each for each in v1.requests if each.path == "/v1/repositories/app/"]
        assert {each.method for each in lists} == {"PUT"}
        assert len(lists) == 2


@dataclasses.dataclass(frozen=True)
class _Revoke(Action):
    """Revoke all tokens when the request arrives."""

    registry: FakeV1Registry

    def bend(self, request: IncomingRequest) -> None:
        del request
        self.registry.revoke_tokens()


def test_an_endpoint_gets_the_token_and_no_credentials(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    with FakeV1Registry(index=v1, sessions=True) as endpoint:
        v1.endpoints = [endpoint.host]
        client.push(name, f"{v1.host}/app:1")
        assert v1.is_whole(TOP)
        sent = {each.headers.get("authorization", "") for each in endpoint.requests}
        assert sent
        assert not any("Basic" in each for each in sent)
        paths = [each.path for each in v1.requests if each.method == "PUT"]
        assert paths == ["/v1/repositories/app/", "/v1/repositories/app/images"]


def test_all_endpoints_get_the_image(client: wherry.Client, name: str, v1: FakeV1Registry) -> None:
    with (
        FakeV1Registry(index=v1, sessions=True) as first,
        FakeV1Registry(index=v1, sessions=True) as second,
    ):
        v1.endpoints = [first.host, second.host]
        client.push(name, f"{v1.host}/app:1")
        assert puts(first, "/1")
        assert puts(second, "/1")


def test_a_redirected_layer_goes_without_credentials(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    with FakeV1Registry() as other:
        target = f"{other.url}/v1/images/{TOP}/layer"
        v1.inject(Fault(FixedReply(307, {"Location": target}), method="PUT", path=LAYER))
        with pytest.raises(wherry.WherryError):
            client.push(name, f"{v1.host}/app:1")
        assert other.requests
        for each in other.requests:
            assert not {"authorization", "cookie"}.intersection(each.headers)
    assert_untagged(v1)


def test_a_damaged_layer_is_not_sent(
    client: wherry.Client, name: str, v1: FakeV1Registry, tmp_path: Path
) -> None:
    client.copy(f"store:{name}", f"dir:{tmp_path / 'flat'}")
    layer = tmp_path / "flat" / IMAGE.layers[1].digest.removeprefix("sha256:")
    layer.write_bytes(bytes(reversed(layer.read_bytes())))
    with pytest.raises(wherry.IntegrityError, match="does not match its digest"):
        client.push(f"dir:{tmp_path / 'flat'}", f"{v1.host}/app:1")
    assert len(puts(v1, "/layer")) == 1
    assert_untagged(v1)


def test_a_cancelled_push_goes_on_later(
    client: wherry.Client, name: str, v1: FakeV1Registry
) -> None:
    cancel = wherry.CancelToken()

    def stop(event: wherry.Event) -> None:
        if event.status is wherry.Status.PUSHED:
            cancel.cancel()

    v1.inject(Fault(CutRequest(), method="PUT", path=LAYER, skip=1, times=1))
    with pytest.raises(wherry.Cancelled):
        client.push(name, f"{v1.host}/app:1", on_event=stop, cancel=cancel)
    assert_untagged(v1)
    v1.requests.clear()
    client.push(name, f"{v1.host}/app:1")
    assert len(puts(v1, "/layer")) == 2
    assert v1.is_whole(TOP)
