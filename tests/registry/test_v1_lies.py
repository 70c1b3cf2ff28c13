"""Version 1 registries that lie, or never stop: each is one clear error."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry import Client, Store
from wherry.errors import IntegrityError, InvalidDocument, NetworkError, Unsupported, WherryError
from wherry.registry.v1_answers import MAX_ANCESTRY
from wherry.testing import (
    FakeV1Registry,
    Fault,
    FixedReply,
    Replace,
    SetHeader,
    build_v1_image,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from legacy_repository import Legacy

    Open = Callable[..., Legacy]
    Serve = Callable[..., Any]

IMAGE = build_v1_image([tar_layer({f"f{number}": b"x" * 900}) for number in range(3)])
TOP, MIDDLE, LOW = IMAGE.ancestry
OTHER = "f" * 64


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as running:
        running.add_image("acme/app", IMAGE, "1")
        yield running


def read_all(found: Legacy) -> None:
    found.connect()
    found.tags()
    found.chain(found.resolve("1"))
    found.layer(TOP)


def failure(found: Legacy) -> WherryError:
    with pytest.raises(WherryError) as caught:
        read_all(found)
    assert found.pauses == []  # asking again would not help
    assert caught.value.is_within(found.label)
    return caught.value


@pytest.mark.parametrize(
    ("ancestry", "message"),
    [
        ([TOP, MIDDLE, TOP], "is its own ancestor"),
        ([MIDDLE, LOW], f"it begins with {MIDDLE}"),
        ([], "it begins with nothing"),
        ({TOP: MIDDLE}, "expected an array"),
        ([TOP, "../../etc/passwd"], "is not an image id"),
        ([TOP, [MIDDLE]], "is not an image id"),
        ([f"{number:064x}" for number in range(MAX_ANCESTRY + 1)], "it has over 1,000 images"),
    ],
)
def test_ancestries(
    legacy: Open, registry: FakeV1Registry, ancestry: list[str], message: str
) -> None:
    registry.images[TOP].ancestry = ancestry
    error = failure(legacy(f"{registry.host}/acme/app"))
    assert isinstance(error, InvalidDocument)
    assert error.where[1] == f"ancestry of {TOP}"
    assert message in str(error)


@pytest.mark.parametrize("tag", ["1", "2"])
def test_tags_of_no_image(legacy: Open, registry: FakeV1Registry, tag: str) -> None:
    registry.tags["acme/app"][tag] = "../" + TOP[3:]
    found = legacy(f"{registry.host}/acme/app")
    error = failure(found)
    assert isinstance(error, InvalidDocument)
    assert error.where == (found.label, "the tag list", tag)
    with pytest.raises(InvalidDocument, match=f"acme/app:{tag}: .* is not an image id"):
        found.resolve(tag)


def edited(image_id: str, **fields: object) -> bytes:
    found = next(each for each in IMAGE.layers if each.id == image_id)
    return json.dumps(json.loads(found.json) | fields).encode()


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (edited(MIDDLE, id=OTHER), IntegrityError, "its JSON has another id"),
        (edited(MIDDLE, parent=OTHER), IntegrityError, f"its parent is {OTHER}, and {LOW} by"),
        (edited(MIDDLE, parent=TOP), IntegrityError, f"its parent is {TOP}, and {LOW} by"),
        (edited(MIDDLE, parent=None), IntegrityError, f"its parent is none, and {LOW} by"),
        (edited(MIDDLE, parent="x"), InvalidDocument, "'x' is not an image id"),
        (b"[]", InvalidDocument, "the version 1 JSON is an array"),
    ],
)
def test_images(
    legacy: Open, registry: FakeV1Registry, body: bytes, kind: type[Exception], message: str
) -> None:
    registry.images[MIDDLE].json = body
    registry.images[TOP].ancestry = IMAGE.ancestry
    error = failure(legacy(f"{registry.host}/acme/app"))
    assert isinstance(error, kind)
    assert error.where[1] == f"image {MIDDLE}"
    assert message in str(error)


@pytest.mark.parametrize("size", ["many", "-1", "9" * 40])
def test_sizes_that_are_no_number(legacy: Open, registry: FakeV1Registry, size: str) -> None:
    registry.inject(Fault(SetHeader("X-Docker-Size", size), path="/json"))
    error = failure(legacy(f"{registry.host}/acme/app", jobs=1))
    assert isinstance(error, InvalidDocument)
    assert error.where[2] == "X-Docker-Size"


@pytest.mark.parametrize("size", ["0", "10", str(10**17)])
def test_sizes_that_lie(legacy: Open, registry: FakeV1Registry, size: str) -> None:
    registry.inject(Fault(SetHeader("X-Docker-Size", size), path="/json"))
    error = failure(legacy(f"{registry.host}/acme/app"))
    assert isinstance(error, IntegrityError)
    assert error.where[1] == f"layer of {TOP}"


@pytest.mark.parametrize(
    ("path", "size", "place"),
    [
        ("images$", 16 * 2**20, "the list of images: the answer is over 16 MiB"),
        ("tags$", 16 * 2**20, "the tag list: the answer is over 16 MiB"),
        ("tags/1", 2**20, "the answer is over 1 MiB"),
        ("ancestry", 2**20, f"ancestry of {TOP}: the answer is over 1 MiB"),
        ("/json", 4 * 2**20, f"image {TOP}: the answer is over 4 MiB"),
    ],
)
def test_large_answers(
    legacy: Open, registry: FakeV1Registry, path: str, size: int, place: str
) -> None:
    fault = registry.inject(Fault(Replace(b" " * (size + 1)), path=path))
    error = failure(legacy(f"{registry.host}/acme/app", jobs=1))
    assert isinstance(error, InvalidDocument)
    assert str(error).endswith(place)
    assert fault.count == 1


def test_an_endless_answer(legacy: Open, serve: Serve) -> None:
    sent: list[int] = []

    def talk(peer: Any) -> None:
        peer.head()
        peer.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                peer.sock.sendall(b"8000\r\n" + b"[" * 0x8000 + b"\r\n")
                sent.append(0x8000)

    server = serve(talk)
    found = legacy(f"{server.host}/acme/app")
    with pytest.raises(InvalidDocument, match="the answer is over 1 MiB"):
        found.ancestry(TOP)
    assert sum(sent) < 16 * 2**20  # what the buffers of the sockets take
    assert server.connections == 1


def test_images_of_many_bytes(legacy: Open, registry: FakeV1Registry) -> None:
    """Each is within the limit for one image."""
    image = build_v1_image(
        [tar_layer({f"g{number}": b"x"}) for number in range(3)],
        each={"comment": "x" * (4 * 2**20 - 2000)},
    )
    registry.add_image("acme/app", image, "1")
    with pytest.raises(Unsupported, match="its documents have over 8 MiB together"):
        legacy(f"{registry.host}/acme/app").chain(image.id)


@pytest.mark.parametrize("values", ["[", '{"x": ['])
def test_answers_of_many_values(legacy: Open, registry: FakeV1Registry, values: str) -> None:
    body = (values + "0," * 600_000).encode()
    registry.inject(Fault(Replace(body), path=r"images$|tags$"))
    found = legacy(f"{registry.host}/acme/app")
    with pytest.raises(
        InvalidDocument, match="the list of images: the answer has over 500,000 values"
    ):
        found.connect()
    with pytest.raises(InvalidDocument, match="the tag list: the answer has over 500,000 values"):
        found.tags()
    assert found.pauses == []


def test_a_head_of_a_megabyte(legacy: Open, registry: FakeV1Registry) -> None:
    for number in range(20):
        registry.inject(Fault(SetHeader(f"X-{number}", "x" * 60_000), path="ancestry"))
    with pytest.raises(NetworkError, match="the head of its answer is over 256 KiB") as caught:
        legacy(f"{registry.host}/acme/app").ancestry(TOP)
    assert not caught.value.transient


@pytest.mark.parametrize("path", ["_ping", "images$", "tags/1", "ancestry", "json"])
def test_redirects_without_end(legacy: Open, registry: FakeV1Registry, path: str) -> None:
    fault = registry.inject(Fault(FixedReply(302, {"Location": f"{registry.url}/v1/_ping"})))
    fault.path = f"_ping|{path}"
    found = legacy(f"{registry.host}/acme/app", jobs=1)
    with pytest.raises(NetworkError, match="redirects in a loop"):
        read_all(found)
    assert (fault.count, found.pauses) == (6, [])


def test_a_redirect_that_answers_as_an_index(legacy: Open, registry: FakeV1Registry) -> None:
    """Another host cannot name endpoints, or give tokens and cookies, for the index."""
    with FakeV1Registry(tokens=True, endpoints=["127.0.0.1:1"]) as other:
        other.add_image("acme/app", IMAGE, "1")
        other.inject(Fault(SetHeader("Set-Cookie", "a=1")))
        to = FixedReply(302, {"Location": f"{other.url}/v1/repositories/acme/app/images"})
        registry.inject(Fault(to, path="images$"))
        found = legacy(f"{registry.host}/acme/app")
        read_all(found)
        assert len(other.requests) == 1
        assert all(
            {"authorization", "cookie"}.isdisjoint(each.headers) for each in registry.requests
        )


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("path", "header", "value", "message"),
    [
        ("_ping", "Set-Cookie", "a=" + "x" * 2**20, "the head of its answer is over 256 KiB"),
        ("_ping", "Set-Cookie", "a=" + "x" * 5000, "sets a cookie of over 4 KiB"),
        (
            "images$",
            "X-Docker-Token",
            "x" * 20_000,
            "the registry's token is not text of at most 16 KiB",
        ),
        ("images$", "X-Docker-Endpoints", "a b", "names 'a b', which is not host"),
        ("images$", "X-Docker-Endpoints", "h.example", "asked in plain http"),
    ],
)
def test_a_pull_reports_it_and_not_that_version_2_is_missing(
    store: Store, registry: FakeV1Registry, path: str, header: str, value: str, message: str
) -> None:
    registry.inject(Fault(SetHeader(header, value), path=path))
    with Client(store=store, legacy=True) as client:
        with pytest.raises(NetworkError, match=message):
            client.pull(f"{registry.host}/acme/app:1")
        assert not list(store.images())
