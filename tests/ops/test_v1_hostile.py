"""Version 1 registries that serve other content than they should: nothing gets a name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import wherry
from pulls import Snapshot, snapshot
from v1_pulls import fetched, pull
from wherry.content.pipeline import Limits
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError, InvalidDocument, NotFound, WherryError
from wherry.testing import (
    Chunked,
    ContentLength,
    DropHeader,
    FakeV1Registry,
    Fault,
    FixedReply,
    SetHeader,
    build_v1_image,
    compress,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
MIB = 2**20
TARS = [tar_layer({f"file{number}": b"content %d" % number * 50}) for number in range(3)]
IMAGE = build_v1_image(TARS)
LIMITS = Limits(raw=RawLimit(2 * MIB, 10), blob=2 * MIB, image=3 * MIB)
PLAIN = "application/octet-stream"


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as running:
        running.add_image("team/app", IMAGE, "t")
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Iterator[wherry.Store]:
    """A store with low limits."""
    found = wherry.Store(tmp_path / "small", limits=LIMITS)
    yield found
    found.close()


def refusal(
    registry: FakeV1Registry, store: wherry.Store, kind: type[WherryError], message: str
) -> str:
    """Return the text of the error for the pull, which has to leave no name and no part."""
    with pytest.raises(kind, match=message) as caught:
        pull(registry, store)
    text = str(caught.value)
    assert text.startswith(f"{registry.host}/team/app")
    assert snapshot(store) == Snapshot()
    return text


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (b"<html><body>Sign in</body></html>", "sent a web page"),
        (b'{"error": "Image is being uploaded, retry later"}', "is not a tar"),
        (compress(b"not a tar", "gzip"), "is not a tar"),
        (compress(TARS[1], "gzip")[:-20], "not a valid gzip stream"),
        (compress(TARS[1], "xz")[:-20], "not a valid xz stream"),
        (TARS[1][:700], "cut off at byte 700"),
        (compress(bytes(64 * MIB), "xz"), "decompresses to more than 2,097,152 bytes"),
        (tar_layer({"large": bytes(2 * MIB)}), "more than 2,097,152 bytes"),
    ],
    ids=["page", "error", "no tar", "cut gzip", "cut xz", "cut tar", "bomb", "too large"],
)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["lowest", "middle", "top"])
def test_a_bad_layer(
    registry: FakeV1Registry, small: wherry.Store, layer: bytes, message: str, place: int
) -> None:
    bad = IMAGE.layers[place].id
    registry.images[bad].layer = layer
    assert f"layer of {bad}" in refusal(registry, small, WherryError, message)


def test_layers_that_are_too_large_together(small: wherry.Store) -> None:
    large = [tar_layer({f"large{number}": bytes(MIB + MIB // 4)}) for number in range(3)]
    for how in ("none", "gzip"):
        with FakeV1Registry() as registry:
            registry.add_image("team/app", build_v1_image(large, compression=how), "t")
            verb = "have" if how == "none" else "decompress to"
            refusal(registry, small, IntegrityError, f"{verb} more than 3,145,728 bytes together")


def test_an_endless_layer(registry: FakeV1Registry, small: wherry.Store) -> None:
    """A server that states no size may send for ever."""
    layer = IMAGE.layers[1]
    tar = tar_layer({"endless": bytes(8 * MIB)})
    registry.inject(Fault(Chunked(), path=f"{layer.id}/layer"))
    registry.inject(Fault(DropHeader("X-Docker-Size"), path="/json"))
    registry.images[layer.id].layer = tar
    refusal(registry, small, IntegrityError, "more than 2,097,152 bytes")


@pytest.mark.parametrize("how", ["none", "gzip"])
def test_a_layer_that_is_cut_without_a_trace(
    registry: FakeV1Registry, store: wherry.Store, how: str
) -> None:
    """Without a size and without framing, only the content shows that the end is missing."""
    layer = IMAGE.layers[1]
    content = compress(tar_layer({"file": b"x" * 5000}), how)
    registry.images[layer.id].layer = content[: len(content) * 2 // 5]
    registry.inject(Fault(ContentLength(None), path=f"{layer.id}/layer"))
    registry.inject(Fault(DropHeader("X-Docker-Size"), path="/json"))
    refusal(registry, store, IntegrityError, "cut off at byte|not a valid gzip stream")


@pytest.mark.parametrize("size", ["1", "1000000", "18446744073709551616", "-1", "many"])
def test_a_size_that_lies(registry: FakeV1Registry, store: wherry.Store, size: str) -> None:
    fault = SetHeader("X-Docker-Size", size)
    registry.inject(Fault(fault, path=f"{IMAGE.layers[1].id}/json"))
    refusal(registry, store, WherryError, "X-Docker-Size")


@pytest.mark.parametrize(
    "changes",
    [
        {"created": "yesterday"},
        {"config": {"Env": 1}},
        {"container_config": {"Cmd": {"a": 1}}},
        {"docker_version": "1.9", "config": {"Labels": [1]}},
    ],
    ids=["date", "environment", "command", "labels"],
)
@pytest.mark.parametrize("place", [0, 2], ids=["lowest", "top"])
def test_a_json_of_the_wrong_shape(
    registry: FakeV1Registry, store: wherry.Store, changes: dict[str, object], place: int
) -> None:
    found = registry.images[IMAGE.layers[place].id]
    found.json = json.dumps(json.loads(found.json) | changes).encode()
    refusal(registry, store, InvalidDocument, "team/app")
    assert fetched(registry, "layer") == []


def test_a_config_that_is_too_large(registry: FakeV1Registry, store: wherry.Store) -> None:
    for layer in IMAGE.layers:
        found = registry.images[layer.id]
        found.json = json.dumps(json.loads(found.json) | {"comment": "x" * 2 * MIB}).encode()
    refusal(registry, store, InvalidDocument, "the config of the image is over 4 MiB")


# Content that changes


def test_other_content_by_a_known_id(registry: FakeV1Registry, store: wherry.Store) -> None:
    """Ids are no digests. The layers of earlier pulls are used while the store has them."""
    first = pull(registry, store)
    registry.images[IMAGE.id].layer = compress(TARS[0], "gzip")
    registry.clear()
    assert pull(registry, store).image == first.image
    assert fetched(registry, "layer") == []
    store.remove(f"{registry.host}/team/app:t")
    second = pull(registry, store)
    assert second.image.id != first.image.id
    config = store.get(f"{registry.host}/team/app:t").config
    assert [str(each) for each in config.diff_ids] == [*IMAGE.diff_ids[:2], sha256(TARS[0])]
    assert store.check().problems == []


def test_another_json_by_a_known_id(registry: FakeV1Registry, store: wherry.Store) -> None:
    first = pull(registry, store)
    found = registry.images[IMAGE.id]
    found.json = json.dumps(json.loads(found.json) | {"author": "Mallory"}).encode()
    registry.clear()
    second = pull(registry, store)
    assert (second.updated, second.image.id != first.image.id) == (True, True)
    assert fetched(registry, "layer") == []
    assert store.check().problems == []


def test_a_tag_that_moves(registry: FakeV1Registry, store: wherry.Store) -> None:
    pull(registry, store)
    other = build_v1_image([tar_layer({"other": b"1"})])
    registry.add_image("team/app", other, "t")
    result = pull(registry, store)
    assert result.updated
    assert snapshot(store).names == (
        (f"{registry.host}/team/app:t", str(result.root), str(result.image.id)),
    )


@pytest.mark.parametrize("answer", [b'"not an id"', b"[]", b'"' + b"a" * 63 + b'"'])
def test_a_tag_without_an_id(registry: FakeV1Registry, store: wherry.Store, answer: bytes) -> None:
    registry.inject(Fault(FixedReply(200, {"Content-Type": PLAIN}, answer), path="/tags/t"))
    refusal(registry, store, InvalidDocument, "not an image id|expected a string")


def test_an_id_that_changes(registry: FakeV1Registry, store: wherry.Store) -> None:
    """The tag names an image that the registry has lost, or whose JSON is another's."""
    registry.tags["team/app"]["t"] = "0" * 64
    refusal(registry, store, NotFound, "0" * 64)
    registry.tags["team/app"]["t"] = IMAGE.id
    registry.images[IMAGE.id].json = IMAGE.layers[0].json
    registry.images[IMAGE.id].ancestry = IMAGE.ancestry
    refusal(registry, store, IntegrityError, "its JSON has another id")
    assert fetched(registry, "layer") == []
