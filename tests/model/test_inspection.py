"""What skopeo says about an image, made from its documents; skopeo itself is asked in peers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidDocument
from wherry.model import gojson
from wherry.model.config import parse_config
from wherry.model.digest import Digest
from wherry.model.inspection import Inspection, inspection
from wherry.model.manifest import Index, Manifest, parse
from wherry.testing import build_image, build_schema1, compress, tar_layer

TAR = tar_layer({"a": b"1"})
_KEYS = st.text(alphabet="ab<é", max_size=3)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=10,
)


def inspected(**built: object) -> Inspection:
    image = build_image([TAR], **built)  # type: ignore[arg-type]
    manifest = parse(image.manifest.data, image.manifest.media_type)
    assert isinstance(manifest, Manifest)
    return inspection("r/app", Digest.parse(image.digest), manifest, image.config.data, ("t",))


def test_an_oci_image_may_have_no_time_a_docker_one_has_the_first() -> None:
    assert inspected(config_extra={"created": None}).created is None
    assert inspected(style="docker", config_extra={"created": None}).created == (
        "0001-01-01T00:00:00Z"
    )


def test_missing_fields_of_a_config_are_null() -> None:
    found = inspected(config_extra={"config": None})
    assert (found.raw_labels, found.raw_env) == (None, None)
    assert '"Labels": null' in found.json()
    empty = inspected(config_extra={"config": {"Env": [], "Labels": {}}})
    assert (empty.raw_labels, empty.raw_env) == ({}, ())
    assert '"Labels": {},' in empty.json()
    assert '"Env": []' in empty.json()


def test_layers_are_described_as_newer_skopeos_do() -> None:
    found = inspected()
    (layer,) = found.fields()["LayersData"]
    assert layer == {
        "MIMEType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "Digest": str(found.layers[0].digest),
        "Size": found.layers[0].size,
        "Annotations": None,
    }


def test_keys_of_maps_are_sorted_by_their_bytes_and_markup_is_escaped() -> None:
    text = inspected(labels={"é": "1", "z": "<&>", "\U0001f600": "2", "\ufffd": "3"}).json()
    assert list(json.loads(text)["Labels"]) == ["z", "é", "\ufffd", "\U0001f600"]
    assert '"\\u003c\\u0026\\u003e"' in text


def test_schema1_speaks_of_sizes_that_it_does_not_know() -> None:
    built = build_schema1([compress(TAR, "gzip")], tag="old")
    manifest = parse(built.manifest.data, built.manifest.media_type)
    assert not isinstance(manifest, Manifest)
    found = inspection("r", Digest.parse(built.digest), manifest, b"")  # type: ignore[arg-type]
    assert found.fields()["LayersData"][0]["Size"] == -1
    assert (found.fields()["Tag"], found.fields()["RepoTags"], found.size) == ("old", (), None)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"config": {"Env": "A=b"}}, "config.Env"),
        ({"created": "yesterday"}, "created"),
        ({"architecture": 1}, "architecture"),
        ({"config": {"Labels": {"a": 1}}}, "config.Labels.a"),
        ({"history": [{"created_by": 1}]}, "history[0].created_by"),
    ],
)
def test_values_that_go_does_not_decode_are_problems(config: dict[str, object], path: str) -> None:
    found = inspected(config_extra=config)
    assert [problem.path for problem in found.problems] == [path]
    assert found.oci_config()["os"] == "linux"


@given(_DOCUMENTS)
def test_indented_json_means_the_same_and_is_laid_out_as_go_does(document: object) -> None:
    text = gojson.indented(document)
    assert json.loads(text) == document
    laid_out = json.dumps(document, indent=4, ensure_ascii=False)
    assert [len(line) - len(line.lstrip(" ")) for line in text.split("\n")] == [
        len(line) - len(line.lstrip(" ")) for line in laid_out.split("\n")
    ]


@pytest.mark.parametrize("style", ["oci", "docker"])
@pytest.mark.parametrize(
    ("env", "labels"),
    [
        ([], {}),
        (["A=1", "B=x=y", "C", "A=2", "="], {"b": "1", "a": ""}),
    ],
)
def test_an_inspection_and_a_config_agree(
    style: str, env: list[str], labels: dict[str, str]
) -> None:
    found = inspected(style=style, env=env, labels=labels, entrypoint=["sh"])
    assert found.config == parse_config(found.raw_config)
    assert (found.env, found.labels) == (found.config.env, found.config.labels)
    assert found.labels == labels
    assert found.config.entrypoint == ("sh",)
    assert found.config.id == found.manifest.config.digest  # type: ignore[union-attr]
    assert json.loads(found.json())["Env"] == (env or None)


def test_an_inspection_of_schema1_has_the_config_that_is_made() -> None:
    layers = [compress(TAR, "gzip")]
    top = {"config": {"Env": ["A=1"], "Labels": {"b": "2"}}}
    built = build_schema1(layers, top=top)
    manifest = parse(built.manifest.data, built.manifest.media_type)
    assert not isinstance(manifest, Manifest | Index)
    found = inspection("r/app", manifest.digest, manifest, b"")
    assert (found.env, found.labels) == ({"A": "1"}, {"b": "2"})
    assert (found.config.env, found.config.labels) == ({"A": "1"}, {"b": "2"})
    assert found.config.diff_ids == ()
    assert found.raw_config == b""


def test_a_config_that_cannot_be_parsed_is_shown_all_the_same() -> None:
    found = inspected(config_extra={"rootfs": None, "config": {"Env": ["A=1"]}})
    assert found.env == {"A": "1"}
    with pytest.raises(InvalidDocument):
        _ = found.config
