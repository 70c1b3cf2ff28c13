from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.protocols import Receipt
from wherry.errors import InvalidDocument, Unsupported
from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Manifest, parse, parse_verified
from wherry.model.schema1_signatures import verify_signatures
from wherry.model.schema1_writer import EMPTY_LAYER, to_schema1
from wherry.testing import BuiltImage, build_image, tar_layer
from wherry.transfer.derive import from_schema1

if TYPE_CHECKING:
    from wherry.model.schema1 import Schema1

TARS = [tar_layer({"a": b"x"}), tar_layer({"b": b"y"})]
HISTORY: list[dict[str, object]] = [
    {"created": "2024-01-02T03:04:05.1200Z", "created_by": "ADD <x> & y", "author": "me"},
    {"created": "2024-01-02T03:04:05+02:00", "created_by": "ENV A=b", "empty_layer": True},
    {"created_by": "RUN make", "comment": "buildkit"},
    {"created": "2024-01-02T03:04:05Z", "created_by": 'CMD ["sh"]', "empty_layer": True},
]


def image(history: list[dict[str, object]] = HISTORY, **options: Any) -> BuiltImage:
    return build_image(
        TARS,
        history=history,
        env=["A=<b>"],
        cmd=["sh", "-c", "a & b"],
        labels={"l": "1"},
        **options,
    )


def manifest_of(built: BuiltImage) -> Manifest:
    found = parse(built.manifest.data, "")
    assert isinstance(found, Manifest)
    return found


def convert(built: BuiltImage) -> Schema1:
    return to_schema1(manifest_of(built), built.config.data, name="acme/app", tag="1")


def pulled(found: Schema1, built: BuiltImage) -> bytes:
    """Return the config that a pull of the manifest makes."""
    layers = [
        Receipt(Descriptor(layer.media_type, Digest(layer.digest), layer.size), Digest(diff_id))
        for layer, diff_id in zip(built.layers, built.diff_ids, strict=True)
    ]
    return from_schema1(found, layers).config


def test_it_has_a_valid_signature() -> None:
    found = convert(image())
    assert found.signatures[0].algorithm == "ES256"
    (key,) = verify_signatures(found.signatures, found.payload)
    assert found.signatures[0].key["kid"] == key
    again = parse_verified(found.digest, found.raw, found.media_type)
    assert again == found


def test_the_digest_does_not_depend_on_the_key() -> None:
    first, second = convert(image()), convert(image())
    assert first.signatures != second.signatures
    assert first.digest == second.digest


def test_the_layers_are_in_reverse_order_with_an_empty_one_for_each_other_step() -> None:
    built = image()
    found = convert(built)
    lower, upper = (layer.digest for layer in built.layers)
    expected = [EMPTY_LAYER.digest, upper, EMPTY_LAYER.digest, lower]
    assert [layer.blob_sum for layer in found.layers] == expected
    assert [layer.throwaway for layer in found.layers] == [True, False, True, False]
    assert (found.name, found.tag, found.architecture) == ("acme/app", "1", "amd64")


def test_the_empty_layer_is_docker_s() -> None:
    assert EMPTY_LAYER.data is not None
    assert Digest.of(EMPTY_LAYER.data) == EMPTY_LAYER.digest
    assert EMPTY_LAYER.digest.short == "a3ed95caeb02"


def test_the_ids_are_docker_s() -> None:
    """distribution, manifest/schema1/config_builder.go: blob, parent, and the config on top."""
    built = image()
    parent = ""
    expected: list[str] = []
    for blob in reversed(convert(built).layers):
        parts = [blob.blob_sum.hex, parent]
        if len(expected) == 3:
            parts.append(built.config.data.decode())
        parent = hashlib.sha256(" ".join(parts).encode()).hexdigest()
        expected.append(parent)
    assert [layer.id for layer in reversed(convert(built).layers)] == expected


@pytest.mark.parametrize(
    "extra",
    [
        {"docker_version": "20.10.7", "container_config": {"Cmd": ["sh", "x"]}, "author": "a"},
        {"docker_version": "20.10.7"},
        {"created": None},
        {},
    ],
    ids=["docker", "buildah", "without a date", "buildkit"],
)
def test_a_pull_gives_the_same_history_and_settings(extra: dict[str, object]) -> None:
    built = image(config_extra=extra)
    before, after = parse_config(built.config.data), parse_config(pulled(convert(built), built))
    assert after.diff_ids == before.diff_ids
    assert (after.env, after.cmd, after.labels) == (before.env, before.cmd, before.labels)
    assert after.platform == before.platform
    lower = ["2024-01-02T03:04:05.12Z", "2024-01-02T03:04:05+02:00", "0001-01-01T00:00:00Z"]
    assert [step.created for step in after.history[:3]] == lower
    for old, new in zip(before.history, after.history, strict=True):
        assert new.empty_layer == old.empty_layer
        if old is before.history[-1] and "container_config" in extra:
            assert (new.created_by, new.author) == ("sh x", "a"), "the config has other values"
        else:
            assert (new.created_by, new.author, new.comment) == (
                old.created_by,
                old.author,
                old.comment,
            )


def test_the_last_step_is_completed_only_where_the_config_is_silent() -> None:
    built = image(config_extra={"author": "config", "comment": "config"})
    top = json.loads(convert(built).layers[0].v1_json)
    assert (top["author"], top["comment"]) == ("config", "config")
    assert top["container_config"] == {"Cmd": ['CMD ["sh"]']}
    assert not {"rootfs", "history"} & top.keys()


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (image(history=[]), "no history"),
        (image(history=HISTORY[:2]), "1 step with a layer, the image has 2 layers"),
        (image(compression="zstd"), "zstd"),
        (image(config_media_type="application/vnd.acme.x"), "an artifact"),
    ],
    ids=["none", "short", "zstd", "artifact"],
)
def test_what_schema1_cannot_express_is_refused(built: BuiltImage, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        convert(built)


def test_an_invalid_config_is_refused() -> None:
    with pytest.raises(InvalidDocument):
        to_schema1(manifest_of(image()), b"[]", name="a", tag="b")
