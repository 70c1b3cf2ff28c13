"""Reading repositories of version 1 registries: requests, retries, layers, mirrors."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.retry import RetryPolicy
from wherry.errors import (
    Cancelled,
    Denied,
    IntegrityError,
    InvalidDocument,
    NetworkError,
    NotFound,
    RegistryError,
    Unauthorized,
)
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials
from wherry.registry.hosts import Endpoint
from wherry.testing import (
    Chunked,
    ContentLength,
    Cut,
    Delay,
    DropHeader,
    FakeV1Registry,
    Fault,
    FixedReply,
    HangUp,
    IgnoreRange,
    Replace,
    SetHeader,
    Stall,
    build_v1_image,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from legacy_repository import Legacy

    Open = Callable[..., Legacy]

TARS = [tar_layer({f"f{number}": bytes([number]) * 900}) for number in range(4)]
IMAGE = build_v1_image(TARS)
TOP = IMAGE.layers[-1]
USERS = {"ann": "secret"}
BASIC = Credentials("ann", "secret")
MODES: dict[str, dict[str, Any]] = {
    "standalone": {},
    "users": {"users": USERS},
    "index": {"tokens": True},
    "users of an index": {"users": USERS, "tokens": True},
    "sessions": {"users": USERS, "tokens": True, "sessions": True},
    "public": {"users": USERS, "tokens": True, "public": True, "sessions": True},
}


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with serving() as running:
        yield running


@contextlib.contextmanager
def serving(**how: Any) -> Iterator[FakeV1Registry]:
    with FakeV1Registry(**how) as running:
        running.add_image("acme/app", IMAGE, "1", "latest")
        yield running


def paths(registry: FakeV1Registry) -> list[str]:
    return [each.path for each in registry.requests]


@pytest.mark.parametrize("mode", MODES)
def test_read_everything_in_few_requests(legacy: Open, mode: str) -> None:
    with serving(**MODES[mode]) as registry:
        store = CredentialStore(fixed=None if mode == "public" else BASIC)
        found = legacy(f"{registry.host}/acme/app", credentials=store)
        found.connect()
        assert found.resolve("1") == IMAGE.id
        assert found.ancestry(IMAGE.id) == tuple(IMAGE.ancestry)
        images = found.chain(IMAGE.id)
        assert [each.raw for each in images] == [each.json for each in reversed(IMAGE.layers)]
        assert [each.size for each in images] == [len(each.layer) for each in IMAGE.layers[::-1]]
        assert [each.parent for each in images] == [*IMAGE.ancestry[1:], ""]
        for each in IMAGE.layers:
            assert found.layer(each.id) == (0, each.layer)
        # One ancestry more than a pull needs; no request is refused.
        assert len(registry.requests) == 2 * len(IMAGE.layers) + 5
        assert {each.status for each in registry.requests} == {200}
        assert found.tags() == dict.fromkeys(["1", "latest"], IMAGE.id)
        assert found.ping.version == "0.9.1"
        assert found.ping.standalone == ("tokens" not in MODES[mode])
        assert (found.warnings, found.pauses) == ([], [])


def test_an_image_of_many_layers(legacy: Open) -> None:
    image = build_v1_image([tar_layer({f"f{number}": b"x"}) for number in range(40)])
    with FakeV1Registry() as registry:
        registry.add_image("app", image, "t")
        registry.inject(Fault(Delay(0.01), path="/json"))
        found = legacy(f"{registry.host}/app", jobs=5)
        found.connect()
        top = found.resolve("t")
        assert [each.id for each in found.chain(top)] == image.ancestry
        assert 2 <= registry.peak <= 5
        for each in image.layers:
            found.layer(each.id)
        assert len(registry.requests) <= 2 * 40 + 4


def test_shared_images_are_fetched_once(legacy: Open, registry: FakeV1Registry) -> None:
    above = build_v1_image([tar_layer({"above": b"x"})], below=IMAGE)
    registry.add_image("acme/app", above, "2")
    found = legacy(f"{registry.host}/acme/app")
    assert len(found.chain(IMAGE.id)) == 4
    assert len(found.chain(above.id)) == 5
    assert sum("/json" in path for path in paths(registry)) == 5


def test_invalid_tags_are_left_out_with_a_warning(legacy: Open, registry: FakeV1Registry) -> None:
    """Old registries took any text as a tag."""
    registry.tags["acme/app"] |= dict.fromkeys(["a/b", "", "-a", "t\n"], IMAGE.id)
    found = legacy(f"{registry.host}/acme/app")
    assert found.tags() == dict.fromkeys(["1", "latest"], IMAGE.id)
    assert found.warnings == ["4 invalid tags left out of the list (such as 'a/b')"]


def test_single_names_are_those_of_library_for_tags(legacy: Open) -> None:
    with FakeV1Registry() as registry:
        registry.add_image("app", IMAGE, "t")
        found = legacy(f"{registry.host}/app")
        found.connect()
        found.resolve("t")
        found.tags()
        assert paths(registry)[1:] == [
            "/v1/repositories/app/images",
            "/v1/repositories/library/app/tags/t",
            "/v1/repositories/library/app/tags",
        ]


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 400, 401, 404])
    def test_ping_fails(self, legacy: Open, status: int) -> None:
        with serving(users=USERS) as registry:
            registry.inject(Fault(FixedReply(status, body=b"<h1>no</h1>"), path="_ping"))
            found = legacy(f"{registry.host}/acme/app", credentials=CredentialStore(fixed=BASIC))
            found.connect()
            assert (found.ping.standalone, found.ping.version) == (True, "")
            assert found.resolve("1") == IMAGE.id
            assert found.pauses == []

    def test_ping_fails_for_a_time(self, legacy: Open) -> None:
        with serving(tokens=True) as registry:
            registry.inject(Fault(FixedReply(503), path="_ping", times=2))
            found = legacy(f"{registry.host}/acme/app")
            found.connect()
            assert found.ping.standalone is False
            registry.inject(Fault(FixedReply(503), path="_ping"))
            again = legacy(f"{registry.host}/acme/app")
            again.connect()
            assert len(again.pauses) == 4
            assert again.resolve("1") == IMAGE.id

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(401, Unauthorized), (403, Denied), (404, NotFound), (400, RegistryError)],
    )
    @pytest.mark.parametrize("path", ["images$", "tags/1", "ancestry", "json"])
    def test_refusals_are_final(
        self, legacy: Open, registry: FakeV1Registry, path: str, status: int, kind: type[Exception]
    ) -> None:
        fault = registry.inject(Fault(FixedReply(status, body=b'{"error": "so be it"}'), path=path))
        found = legacy(f"{registry.host}/acme/app", jobs=1)
        with pytest.raises(kind, match="so be it") as caught:
            read_all(found)
        assert str(caught.value).startswith(f"{registry.host}/acme/app")
        # A refused token is renewed once.
        assert fault.count == (2 if status == 401 and path != "images$" else 1)
        assert found.pauses == []

    def test_what_is_missing(self, legacy: Open, registry: FakeV1Registry) -> None:
        found = legacy(f"{registry.host}/acme/app")
        with pytest.raises(NotFound, match=r"app:2: not found \(404 Tag not found\)"):
            found.resolve("2")
        with pytest.raises(NotFound, match=f"app: image {'0' * 64}: not found"):
            found.image("0" * 64)
        other = legacy(f"{registry.host}/acme/other")
        with pytest.raises(NotFound, match=r"acme/other: not found \(404 images not found\)"):
            other.connect()
        with pytest.raises(NotFound, match=r"acme/other: not found \(404 Repository not found\)"):
            other.tags()


def read_all(found: Legacy) -> None:
    found.connect()
    found.tags()
    found.chain(found.resolve("1"))


FAILURES: dict[str, tuple[Any, type[Exception]]] = {
    "503": (FixedReply(503), RegistryError),
    "not JSON": (Replace(b'{"id": '), InvalidDocument),
    "not UTF-8": (Replace(b'"\xff\xfe"'), InvalidDocument),
    "nothing": (Replace(b""), InvalidDocument),
    "a web page": (FixedReply(200, {"Content-Type": "text/html"}, b"<p>Hello"), NetworkError),
    "hang-up": (HangUp(), NetworkError),
    "cut off": (Cut(after=1), NetworkError),
}


class TestRetries:
    @pytest.mark.parametrize("path", ["images$", "tags$", "tags/1", "ancestry", "json"])
    @pytest.mark.parametrize("failure", FAILURES)
    def test_five_attempts(
        self, legacy: Open, registry: FakeV1Registry, failure: str, path: str
    ) -> None:
        action, kind = FAILURES[failure]
        registry.inject(Fault(action, path=path, times=4))
        found = legacy(f"{registry.host}/acme/app", jobs=1, policy=RetryPolicy(step=1e-6))
        read_all(found)
        assert found.pauses == pytest.approx([1e-6, 2e-6, 3e-6, 4e-6])
        assert {type(each) for each in found.errors} == {kind}

    @pytest.mark.parametrize("failure", ["503", "not JSON"])
    def test_not_six(self, legacy: Open, registry: FakeV1Registry, failure: str) -> None:
        action, kind = FAILURES[failure]
        fault = registry.inject(Fault(action, path="ancestry"))
        found = legacy(f"{registry.host}/acme/app")
        found.connect()
        with pytest.raises(kind) as caught:
            found.chain(IMAGE.id)
        assert (fault.count, getattr(caught.value, "attempts", 0)) == (5, 5)
        assert str(caught.value).startswith(f"{registry.host}/acme/app: ancestry of {IMAGE.id}")

    def test_as_often_as_the_policy_says(self, legacy: Open, registry: FakeV1Registry) -> None:
        fault = registry.inject(Fault(FixedReply(503), path="ancestry"))
        found = legacy(f"{registry.host}/acme/app", policy=RetryPolicy(attempts=2, step=0))
        with pytest.raises(RegistryError):
            found.ancestry(IMAGE.id)
        assert fault.count == 2

    def test_a_pause_asked_for(self, legacy: Open, registry: FakeV1Registry) -> None:
        reply = FixedReply(429, {"Retry-After": "0"})
        registry.inject(Fault(reply, path="ancestry", times=1))
        found = legacy(f"{registry.host}/acme/app", policy=RetryPolicy(step=60))
        assert found.ancestry(IMAGE.id) == tuple(IMAGE.ancestry)
        assert found.pauses == [0]

    @pytest.mark.parametrize("path", ["tags/1", "json"])
    def test_cancel_a_pause(self, legacy: Open, registry: FakeV1Registry, path: str) -> None:
        registry.inject(Fault(FixedReply(503), path=path))
        found = legacy(f"{registry.host}/acme/app", policy=RetryPolicy(step=30))
        found.at_retry = found.cancel.cancel
        with pytest.raises(Cancelled):
            read_all(found)
        assert found.pauses[0] == 30


class TestLayers:
    def test_resume(self, legacy: Open, registry: FakeV1Registry) -> None:
        registry.inject(Fault(Cut(after=50), path="/layer", times=1))
        found = legacy(f"{registry.host}/acme/app")
        found.image(IMAGE.id)
        with pytest.raises(NetworkError) as caught:
            found.layer(IMAGE.id)
        assert caught.value.transient
        assert found.layer(IMAGE.id, 50) == (50, TOP.layer[50:])
        sent = [each.headers.get("range") for each in registry.requests if "layer" in each.path]
        assert sent == [None, "bytes=50-"]

    def test_not_before_the_server_said_so(self, legacy: Open, registry: FakeV1Registry) -> None:
        found = legacy(f"{registry.host}/acme/app")
        assert found.layer(IMAGE.id, 50) == (0, TOP.layer)
        assert "range" not in registry.requests[-1].headers

    def test_without_ranges(self, legacy: Open) -> None:
        with serving(ranges=False) as registry:
            found = legacy(f"{registry.host}/acme/app")
            found.layer(IMAGE.id)
            assert found.layer(IMAGE.id, 50) == (0, TOP.layer)
            assert not any("range" in each.headers for each in registry.requests)

    @pytest.mark.parametrize(
        "action", [IgnoreRange(), FixedReply(416), SetHeader("Content-Range", "bytes 1-9/10")]
    )
    def test_the_range_is_not_served(
        self, legacy: Open, registry: FakeV1Registry, action: Any
    ) -> None:
        found = legacy(f"{registry.host}/acme/app")
        found.layer(IMAGE.id)
        registry.inject(Fault(action, path="/layer", times=1))
        assert found.layer(IMAGE.id, 50) == (0, TOP.layer)

    def test_the_etag_is_sent(self, legacy: Open, registry: FakeV1Registry) -> None:
        registry.inject(Fault(SetHeader("ETag", '"one"'), path="/layer", times=2))
        found = legacy(f"{registry.host}/acme/app")
        found.layer(IMAGE.id)
        assert found.layer(IMAGE.id, 50) == (50, TOP.layer[50:])
        assert registry.requests[-1].headers["if-range"] == '"one"'
        registry.inject(Fault(SetHeader("ETag", '"two"'), path="/layer"))
        registry.inject(Fault(IgnoreRange(), path="/layer"))
        with pytest.raises(IntegrityError, match="changed while it was downloaded"):
            found.layer(IMAGE.id, 50)

    def test_another_size_than_before(self, legacy: Open, registry: FakeV1Registry) -> None:
        found = legacy(f"{registry.host}/acme/app")
        found.layer(IMAGE.id)
        registry.images[IMAGE.id].layer = TOP.layer + b"more"
        with pytest.raises(IntegrityError, match=r"layer of \w+: it changed"):
            found.layer(IMAGE.id, 50)

    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("difference", [-1, 1])
    def test_another_size_than_stated(
        self, legacy: Open, registry: FakeV1Registry, difference: int, is_chunked: bool
    ) -> None:
        size = len(TOP.layer)
        registry.inject(Fault(SetHeader("X-Docker-Size", str(size + difference)), path="/json"))
        if is_chunked:
            registry.inject(Fault(Chunked(), path="/layer"))
        found = legacy(f"{registry.host}/acme/app")
        found.chain(IMAGE.id)
        with pytest.raises(IntegrityError, match=f"{size + difference} by X-Docker-Size") as caught:
            found.layer(IMAGE.id)
        place = f"layer of {IMAGE.id}"
        assert caught.value.where == (f"{registry.host}/acme/app", place)
        assert not caught.value.transient

    def test_without_a_stated_size(self, legacy: Open, registry: FakeV1Registry) -> None:
        registry.inject(Fault(DropHeader("X-Docker-Size"), path="/json"))
        registry.inject(Fault(Chunked(), path="/layer"))
        found = legacy(f"{registry.host}/acme/app")
        assert found.image(IMAGE.id).size is None
        assert found.layer(IMAGE.id) == (0, TOP.layer)
        assert found.layer(IMAGE.id, 9) == (9, TOP.layer[9:])

    def test_the_end_of_the_connection_is_not_the_end(
        self, legacy: Open, registry: FakeV1Registry
    ) -> None:
        registry.inject(Fault(ContentLength(None), path="/layer", times=1))
        registry.inject(Fault(Cut(after=50), path="/layer", times=1))
        found = legacy(f"{registry.host}/acme/app")
        found.image(IMAGE.id)
        with pytest.raises(NetworkError, match=f"ended after 50 of {len(TOP.layer)} bytes"):
            found.layer(IMAGE.id)
        assert found.layer(IMAGE.id, 50) == (50, TOP.layer[50:])

    @pytest.mark.parametrize("mode", ["users", "sessions"])
    def test_redirects_get_no_secret(self, legacy: Open, mode: str) -> None:
        with (
            serving() as storage,
            serving(**MODES[mode], redirect_layers_to=storage.url) as registry,
        ):
            store = CredentialStore(fixed=BASIC)
            found = legacy(f"{registry.host}/acme/app", credentials=store)
            found.connect()
            found.chain(IMAGE.id)
            found.layer(IMAGE.id)
            assert found.layer(IMAGE.id, 50) == (50, TOP.layer[50:])
            assert [each.path for each in storage.requests] == [f"/storage/{IMAGE.id}"] * 2
            assert all(
                {"authorization", "cookie"}.isdisjoint(each.headers) for each in storage.requests
            )
            asked = [each.headers for each in registry.requests if "/layer" in each.path]
            assert all("authorization" in each for each in asked)

    def test_a_redirect_loop(self, legacy: Open, registry: FakeV1Registry) -> None:
        again = FixedReply(302, {"Location": f"/v1/images/{IMAGE.id}/layer"})
        registry.inject(Fault(again, path="/layer"))
        found = legacy(f"{registry.host}/acme/app")
        with pytest.raises(NetworkError, match="redirects in a loop"):
            found.layer(IMAGE.id)

    def test_one_attempt(self, legacy: Open, registry: FakeV1Registry) -> None:
        fault = registry.inject(Fault(FixedReply(503), path="/layer"))
        found = legacy(f"{registry.host}/acme/app")
        with pytest.raises(RegistryError) as caught:
            found.layer(IMAGE.id)
        assert caught.value.transient
        assert fault.count == 1

    def test_any_media_type(self, legacy: Open, registry: FakeV1Registry) -> None:
        """Old registries send what their framework has by default."""
        registry.inject(Fault(SetHeader("Content-Type", "text/html; charset=utf-8")))
        found = legacy(f"{registry.host}/acme/app")
        read_all(found)
        assert found.layer(IMAGE.id) == (0, TOP.layer)

    def test_a_web_page(self, legacy: Open, registry: FakeV1Registry) -> None:
        page = FixedReply(200, {"Content-Type": "text/html"}, b"<title>Log in</title>")
        registry.inject(Fault(page, path="/layer"))
        found = legacy(f"{registry.host}/acme/app")
        with pytest.raises(NetworkError, match=r"sent a web page, not the blob \(Log in\)"):
            found.layer(IMAGE.id)

    def test_cancel(self, legacy: Open, registry: FakeV1Registry) -> None:
        registry.inject(Fault(Stall(after=10), path="/layer"))
        found = legacy(f"{registry.host}/acme/app")
        opened = found.open_layer(IMAGE.id, 0, found.cancel)
        assert opened.stream.read1(10)
        found.cancel.cancel()
        with pytest.raises(Cancelled):
            opened.stream.read1(10)


def mirror_at(server: FakeV1Registry) -> Endpoint:
    return Endpoint(server.host, server.host, "cache/app", ("http", "https"), own=False)


class TestMirrors:
    @pytest.mark.parametrize("mode", ["users", "sessions"])
    def test_images_come_from_the_mirror(self, legacy: Open, mode: str) -> None:
        with serving() as mirror, serving(**MODES[mode]) as registry:
            store = CredentialStore(fixed=BASIC)
            name = f"{registry.host}/acme/app"
            found = legacy(name, mirror_at(mirror), credentials=store)
            read_all(found)
            for each in IMAGE.layers:
                assert found.layer(each.id) == (0, each.layer)
            assert len(registry.requests) == 4  # ping, list, tags, tag
            assert {each.path.split("/")[2] for each in mirror.requests} == {"images"}
            assert all(
                {"authorization", "cookie"}.isdisjoint(each.headers) for each in mirror.requests
            )
            assert found.warnings == []

    @pytest.mark.parametrize("status", [401, 403, 404, 503])
    def test_the_registry_is_next(self, legacy: Open, status: int) -> None:
        with serving() as mirror, serving() as registry:
            fault = mirror.inject(Fault(FixedReply(status), path="images"))
            found = legacy(f"{registry.host}/acme/app", mirror_at(mirror))
            read_all(found)
            assert found.layer(IMAGE.id) == (0, TOP.layer)
            assert fault.count == 1  # the server of the ancestry has the rest
            (warning,) = found.warnings
            assert warning.startswith(f"{mirror.host}: ")
            assert warning.endswith("; trying the next endpoint")

    def test_a_mirror_that_has_no_layers(self, legacy: Open) -> None:
        with serving() as mirror, serving() as registry:
            mirror.inject(Fault(FixedReply(404), path="layer"))
            found = legacy(f"{registry.host}/acme/app", mirror_at(mirror))
            read_all(found)
            assert found.layer(IMAGE.id) == (0, TOP.layer)
            assert found.layer(IMAGE.id, 9) == (9, TOP.layer[9:])

    def test_a_mirror_that_lies(self, legacy: Open) -> None:
        with serving() as mirror, serving() as registry:
            mirror.images[IMAGE.id].ancestry = [IMAGE.id, IMAGE.id]
            found = legacy(f"{registry.host}/acme/app", mirror_at(mirror))
            assert found.ancestry(IMAGE.id) == tuple(IMAGE.ancestry)

    def test_a_dead_mirror_is_asked_last(self, legacy: Open) -> None:
        with serving() as mirror, serving() as registry:
            fault = mirror.inject(Fault(HangUp()))
            found = legacy(f"{registry.host}/acme/app", mirror_at(mirror))
            for each in IMAGE.ancestry:
                found.image(each)
            assert fault.count == 1
            assert len(found.warnings) == 1

    def test_a_mirror_that_asks_for_a_password(self, legacy: Open) -> None:
        with serving(users={"m": "own"}) as mirror, serving() as registry:
            store = CredentialStore(
                fixed={registry.host: BASIC, mirror.host: Credentials("m", "own")}
            )
            found = legacy(f"{registry.host}/acme/app", mirror_at(mirror), credentials=store)
            found.ancestry(IMAGE.id)
            # Credentials of the caller are for hosts that references name.
            assert [each.status for each in mirror.requests] == [401]

    def test_no_answer_but_the_mirror(self, legacy: Open) -> None:
        with serving() as mirror, serving() as registry:
            registry.inject(Fault(FixedReply(404)))
            found = legacy(f"{registry.host}/acme/app", mirror_at(mirror))
            with pytest.raises(NotFound):
                found.resolve("1")
            assert mirror.requests == []
