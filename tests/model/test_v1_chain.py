"""The ids and JSONs that an image gets in a version 1 registry."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from wherry.errors import InvalidDocument
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import parse
from wherry.model.schema1 import Schema1
from wherry.model.schema1_writer import EMPTY_LAYER
from wherry.model.v1_chain import ChainImage, chain_of_config, chain_of_schema1
from wherry.testing import Schema1Entry, build_image, schema1_of, tar_layer, v1_id

TARS = [tar_layer({f"f{number}": b"x"}) for number in range(3)]


def chain(tars: list[bytes], *ids: str, **options: Any) -> tuple[ChainImage, ...]:
    image = build_image(tars, **options)
    manifest = json.loads(image.manifest.data)
    layers = [
        Descriptor(each["mediaType"], Digest.parse(each["digest"]), each["size"])
        for each in manifest["layers"]
    ]
    return chain_of_config(image.config.data, layers, ids)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_ids_below_the_top_are_chain_ids_and_that_of_the_top_is_the_image_id() -> None:
    image = build_image(TARS)
    first = sha256(TARS[0])
    second = sha256(f"sha256:{first} sha256:{sha256(TARS[1])}".encode())
    top = sha256(image.config.data)
    found = chain(TARS)
    assert [each.id for each in found] == [first, second, top]
    assert [each.parent for each in found] == ["", first, second]
    assert found[0].json == b'{"id":"%s"}' % first.encode()
    assert found[1].json == b'{"id":"%s","parent":"%s"}' % (second.encode(), first.encode())


def test_the_top_has_the_fields_of_the_config_without_its_layers_and_history() -> None:
    config = json.loads(build_image(TARS).config.data)
    top = chain(TARS)[-1]
    expected = {key: value for key, value in config.items() if key not in {"rootfs", "history"}}
    assert json.loads(top.json) == expected | {"id": top.id, "parent": top.parent}
    assert [*json.loads(top.json)] == sorted(json.loads(top.json))


def test_each_image_has_the_layer_of_its_place() -> None:
    image = build_image(TARS)
    found = chain(TARS)
    assert [str(each.layer.digest) for each in found] == [each.digest for each in image.layers]
    assert [str(each.diff_id) for each in found] == [f"sha256:{sha256(tar)}" for tar in TARS]


def test_given_ids_are_used_in_the_json_too() -> None:
    ids = [v1_id(number) for number in range(3)]
    found = chain(TARS, *ids)
    assert [json.loads(each.json)["id"] for each in found] == ids
    assert [json.loads(each.json).get("parent", "") for each in found] == ["", *ids[:2]]


def test_an_image_without_layers_has_an_empty_one() -> None:
    (found,) = chain([])
    assert found.layer == EMPTY_LAYER
    assert found.layer.data == EMPTY_LAYER.data
    assert found.parent == ""
    assert found.id == sha256(build_image([]).config.data)


def test_the_history_does_not_add_images() -> None:
    history = [{"created_by": "ENV", "empty_layer": True}, {"created_by": "RUN"}]
    assert len(chain(TARS[:1], history=history)) == 1


def test_a_config_for_another_number_of_layers_is_refused() -> None:
    image = build_image(TARS)
    with pytest.raises(InvalidDocument, match="3 DiffIDs, the manifest 1 layer"):
        chain_of_config(image.config.data, [EMPTY_LAYER])


def test_a_schema1_image_keeps_its_ids_and_the_bytes_of_its_json() -> None:
    entries = [
        Schema1Entry(b"lowest", {"id": v1_id(1), "odd": "<kept>"}),
        Schema1Entry(b"ignored", {"id": v1_id(2), "parent": v1_id(1), "throwaway": True}),
        Schema1Entry(b"top", {"id": v1_id(3), "parent": v1_id(2)}),
    ]
    built = schema1_of(entries)
    manifest = parse(built.manifest.data, built.manifest.media_type)
    assert isinstance(manifest, Schema1)
    found = chain_of_schema1(manifest)
    assert [each.id for each in found] == [v1_id(1), v1_id(2), v1_id(3)]
    assert [each.json for each in found] == [json.dumps(each.v1).encode() for each in entries]
    layers = [each.layer.digest for each in found]
    assert layers == [Digest.of(b"lowest"), EMPTY_LAYER.digest, Digest.of(b"top")]
    assert found[0].layer.data is None
