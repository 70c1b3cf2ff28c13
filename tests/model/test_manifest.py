import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import InvalidDocument, Unsupported, WherryError
from wherry.model import mediatype
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.platform import Platform
from wherry.model.schema1 import Schema1
from wherry.testing import build_image, build_index, build_schema1, document, make_key, tar_layer

QUICK = settings(max_examples=250, deadline=None)
DIGEST = "sha256:" + "a" * 64
ENTRY = {"mediaType": mediatype.OCI_MANIFEST, "digest": DIGEST, "size": 2}
CONFIG = {"mediaType": mediatype.OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 9}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": mediatype.OCI_MANIFEST,
    "config": CONFIG,
    "layers": [
        LAYER
        | {"urls": ["https://a/b"], "annotations": {"k": "v"}}
        | {"digest": str(Digest.of(b"{}")), "size": 2, "data": "e30="},
        LAYER,
    ],
    "subject": ENTRY | {"artifactType": "application/x"},
    "annotations": {"a": "b"},
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": mediatype.OCI_INDEX,
    "manifests": [
        ENTRY
        | {
            "platform": {
                "os": "windows",
                "architecture": "arm64",
                "variant": "v8",
                "os.version": "10.0",
                "os.features": ["win32k"],
            }
        },
        ENTRY,
    ],
    "annotations": {"a": "b"},
}
V1 = {"id": "1" * 64, "created": "2024-01-02T03:04:05Z", "config": {"Cmd": ["sh"]}}
SCHEMA1: dict[str, Any] = {
    "schemaVersion": 1,
    "name": "a/b",
    "tag": "c",
    "architecture": "amd64",
    "fsLayers": [{"blobSum": DIGEST}],
    "history": [{"v1Compatibility": json.dumps(V1)}],
}


def without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}


def refused(value: object, served: str = "") -> InvalidDocument:
    """Parse what must be refused and return the error."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidDocument) as caught:
        parse(raw, served)
    assert caught.value.path in str(caught.value)
    return caught.value


def test_a_manifest_is_read() -> None:
    raw = document(MANIFEST)
    found = parse(raw, mediatype.OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert found.raw is raw
    assert found.media_type == mediatype.OCI_MANIFEST
    assert found.config.digest == Digest.parse(DIGEST)
    first, second = found.layers
    assert (first.urls, first.annotations, first.data) == (("https://a/b",), {"k": "v"}, b"{}")
    assert (second.size, second.data, second.platform) == (9, None, None)
    assert found.subject is not None
    assert found.subject.artifact_type == "application/x"
    assert found.annotations == {"a": "b"}
    assert found.artifact is None


def test_an_index_is_read() -> None:
    found = parse(document(INDEX), mediatype.OCI_INDEX)
    assert isinstance(found, Index)
    assert found.manifests[0].platform == Platform("windows", "arm64", "v8", "10.0", ("win32k",))
    assert found.manifests[1].platform is None
    assert found.annotations == {"a": "b"}


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_documents_of_the_builders_are_read(style: Any) -> None:
    image = build_image([tar_layer({"a": b"a"})], style=style)
    index = build_index([(image, {"os": "linux", "architecture": "amd64"})], style=style)
    manifest = parse(image.manifest.data, image.manifest.media_type)
    assert isinstance(manifest, Manifest)
    assert str(manifest.config.digest) == image.id
    assert manifest.artifact is None
    found = parse(index.index.data, index.index.media_type)
    assert isinstance(found, Index)
    assert str(found.manifests[0].digest) == image.digest


NO_TYPE = without(MANIFEST, "mediaType")
NO_IMAGE = MANIFEST | {"config": CONFIG | {"mediaType": mediatype.OCI_EMPTY}}
DOCKER_TYPE = NO_TYPE | {"config": CONFIG | {"mediaType": mediatype.DOCKER_CONFIG}}


@pytest.mark.parametrize(
    ("value", "served", "media_type"),
    [
        (NO_TYPE, "", mediatype.OCI_MANIFEST),
        (NO_TYPE, "text/plain; charset=utf-8", mediatype.OCI_MANIFEST),
        (NO_TYPE, "application/json", mediatype.OCI_MANIFEST),
        (NO_TYPE, "application/octet-stream", mediatype.OCI_MANIFEST),
        (DOCKER_TYPE, "application/json", mediatype.DOCKER_MANIFEST),
        (DOCKER_TYPE, mediatype.OCI_MANIFEST, mediatype.OCI_MANIFEST),
        (NO_TYPE, mediatype.DOCKER_MANIFEST, mediatype.DOCKER_MANIFEST),
        (NO_TYPE, mediatype.OCI_MANIFEST.upper() + ";q=1", mediatype.OCI_MANIFEST),
        (MANIFEST, "text/plain", mediatype.OCI_MANIFEST),
        (MANIFEST, "text/html", mediatype.OCI_MANIFEST),
        (
            MANIFEST | {"mediaType": mediatype.DOCKER_MANIFEST.upper()},
            "",
            mediatype.DOCKER_MANIFEST,
        ),
        (MANIFEST | {"mediaType": "application/x-other"}, mediatype.OCI_MANIFEST, None),
        (MANIFEST | {"mediaType": None}, "", mediatype.OCI_MANIFEST),
        (without(INDEX, "mediaType"), "", mediatype.OCI_INDEX),
        (without(INDEX, "mediaType"), mediatype.DOCKER_LIST, mediatype.DOCKER_LIST),
        (INDEX, "application/json", mediatype.OCI_INDEX),
    ],
)
def test_the_known_type_decides(value: object, served: str, media_type: str) -> None:
    """The body decides if the ``Content-Type`` is missing or generic.

    Only two known manifest types can disagree.
    """
    found = parse(document(value), served)
    assert found.media_type == (media_type or mediatype.OCI_MANIFEST)


@pytest.mark.parametrize(
    ("value", "served"),
    [
        (MANIFEST, mediatype.OCI_INDEX),
        (MANIFEST, mediatype.DOCKER_LIST),
        (INDEX, mediatype.OCI_MANIFEST),
        (INDEX, mediatype.DOCKER_MANIFEST),
        (MANIFEST, mediatype.DOCKER_SCHEMA1),
        (INDEX, mediatype.DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_a_type_of_another_kind_than_the_served_one_is_refused(value: object, served: str) -> None:
    """CVE-2021-41190: one document is of one kind."""
    assert refused(value, served).path == "mediaType"


@pytest.mark.parametrize(
    ("value", "served"),
    [
        (MANIFEST, mediatype.DOCKER_MANIFEST),
        (MANIFEST, mediatype.DOCKER_MANIFEST.upper() + "; charset=utf-8"),
        (INDEX, mediatype.DOCKER_LIST),
        (MANIFEST | {"mediaType": mediatype.DOCKER_MANIFEST}, mediatype.OCI_MANIFEST),
        (INDEX | {"mediaType": mediatype.DOCKER_LIST}, mediatype.OCI_INDEX),
    ],
)
def test_another_type_of_the_same_kind_is_a_problem(value: dict[str, object], served: str) -> None:
    """Registries that convert headers, or not, serve docker's types as OCI's and the reverse."""
    found = parse(document(value), served)
    assert isinstance(found, Manifest | Index)
    assert found.media_type == value["mediaType"]
    (problem,) = found.problems
    assert problem.path == "mediaType"
    assert problem.error


@pytest.mark.parametrize("version", [0, 1, None])
@pytest.mark.parametrize(
    ("value", "served"),
    [
        (MANIFEST, ""),
        (NO_TYPE, mediatype.OCI_MANIFEST),
        (INDEX, "application/json"),
        (without(INDEX, "mediaType"), mediatype.DOCKER_LIST),
    ],
)
def test_a_wrong_version_is_a_problem_where_a_type_says_what_it_is(
    value: dict[str, object], served: str, version: int | None
) -> None:
    found = parse(document(value | {"schemaVersion": version}), served)
    assert isinstance(found, Manifest | Index)
    assert [problem.path for problem in found.problems] == ["schemaVersion"]


@pytest.mark.parametrize("version", [0, 1, None])
@pytest.mark.parametrize("value", [NO_TYPE, without(INDEX, "mediaType")])
def test_a_wrong_version_without_a_type_is_refused(
    value: dict[str, object], version: int | None
) -> None:
    """Such a document may be a schema1 manifest to one reader and an image to another."""
    assert refused(value | {"schemaVersion": version}).path == "schemaVersion"
    assert refused(value | {"schemaVersion": version}, "text/plain").path == "schemaVersion"


@pytest.mark.parametrize("size", [0, -1, -(2**40), None])
def test_a_layers_size_of_0_or_less_or_none_is_unknown(size: int | None) -> None:
    found = parse(document(MANIFEST | {"layers": [LAYER, LAYER | {"size": size}]}), "")
    assert isinstance(found, Manifest)
    assert [layer.size for layer in found.layers] == [9, None]
    assert [problem.path for problem in found.problems] == ["layers[1].size"]


def test_an_empty_layers_size_of_0_is_right() -> None:
    layer = LAYER | {"size": 0, "digest": str(Digest.of(b""))}
    found = parse(document(MANIFEST | {"layers": [layer]}), "")
    assert isinstance(found, Manifest)
    assert found.problems == ()


@pytest.mark.parametrize("version", [0, None, 3])
def test_the_version_of_schema1_stays_exact(version: int | None) -> None:
    assert refused(SCHEMA1 | {"schemaVersion": version}).path == "schemaVersion"


@pytest.mark.parametrize(
    ("value", "served"),
    [
        (NO_TYPE, mediatype.OCI_INDEX),
        (NO_TYPE, mediatype.DOCKER_LIST),
        (without(INDEX, "mediaType"), mediatype.OCI_MANIFEST),
        (MANIFEST | {"mediaType": mediatype.OCI_INDEX}, ""),
        (INDEX | {"mediaType": mediatype.OCI_MANIFEST}, "application/json"),
        (NO_TYPE, mediatype.DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_a_body_of_another_kind_than_its_type_is_refused(value: object, served: str) -> None:
    assert refused(value, served).path in {"layers", "manifests"}


@pytest.mark.parametrize(
    "value",
    [
        NO_TYPE | {"manifests": [ENTRY]},
        MANIFEST | {"manifests": []},
        MANIFEST | {"manifests": None},
        MANIFEST | {"fsLayers": []},
        INDEX | {"layers": []},
        INDEX | {"config": CONFIG},
        INDEX | {"fsLayers": [], "schemaVersion": 1},
    ],
)
def test_two_documents_in_one_are_refused(value: object) -> None:
    """A document of two kinds, by its fields, is refused (CVE-2021-41190)."""
    for served in ("", mediatype.OCI_MANIFEST, mediatype.OCI_INDEX):
        with pytest.raises(InvalidDocument):
            parse(document(value), served)
    assert "one kind" in str(refused(without(dict(value), "mediaType")))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("served", "media_type"),
    [
        ("", mediatype.DOCKER_SCHEMA1),
        ("application/json", mediatype.DOCKER_SCHEMA1),
        (mediatype.DOCKER_SCHEMA1, mediatype.DOCKER_SCHEMA1),
    ],
)
def test_schema1_is_known_by_its_layers(served: str, media_type: str) -> None:
    found = parse(document(SCHEMA1), served)
    assert isinstance(found, Schema1)
    assert found.media_type == media_type


@pytest.mark.parametrize(
    ("value", "served", "word"),
    [
        ({"schemaVersion": 2, "mediaType": "application/vnd.acme.thing"}, "", "acme"),
        (NO_TYPE, "text/html", "text/html"),
        (NO_TYPE, "application/vnd.cncf.helm.chart.v1", "helm chart"),
    ],
)
def test_types_of_other_things_are_named(value: object, served: str, word: str) -> None:
    with pytest.raises(Unsupported, match=word):
        parse(document(value), served)


def nested(levels: int) -> dict[str, Any]:
    """Return a manifest in which objects stand ``levels`` deep, itself included."""
    value: dict[str, Any] = {}
    for _ in range(levels - 2):
        value = {"x": value}
    return MANIFEST | {"x": value}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schemaVersion": 3}, "schemaVersion"),
        ({"schemaVersion": -1}, "schemaVersion"),
        ({"schemaVersion": "2"}, "schemaVersion"),
        ({"schemaVersion": 2.0}, "schemaVersion"),
        ({"schemaVersion": True}, "schemaVersion"),
        ({"mediaType": 1}, "mediaType"),
        ({"config": None}, "config"),
        ({"config": []}, "config"),
        ({"config": without(CONFIG, "digest")}, "config.digest"),
        ({"config": without(CONFIG, "size")}, "config.size"),
        ({"config": CONFIG | {"size": -1}}, "config.size"),
        ({"config": CONFIG | {"size": 1.5}}, "config.size"),
        ({"config": CONFIG | {"size": "2"}}, "config.size"),
        ({"config": CONFIG | {"size": True}}, "config.size"),
        ({"config": CONFIG | {"mediaType": []}}, "config.mediaType"),
        ({"layers": {}}, "layers"),
        ({"layers": "x"}, "layers"),
        ({"layers": [LAYER, None]}, "layers[1]"),
        ({"layers": [[]]}, "layers[0]"),
        ({"layers": [LAYER, LAYER | {"size": "5"}]}, "layers[1].size"),
        ({"layers": [LAYER | {"size": 1.5}]}, "layers[0].size"),
        ({"layers": [LAYER | {"digest": "sha256:abc"}]}, "layers[0].digest"),
        ({"layers": [LAYER | {"digest": "md5:" + "a" * 32}]}, "layers[0].digest"),
        ({"layers": [LAYER | {"digest": DIGEST.upper()}]}, "layers[0].digest"),
        ({"layers": [LAYER | {"digest": DIGEST + "\0"}]}, "layers[0].digest"),
        ({"layers": [LAYER | {"digest": {}}]}, "layers[0].digest"),
        ({"layers": [LAYER | {"urls": "https://a"}]}, "layers[0].urls"),
        ({"layers": [LAYER | {"urls": ["a", 1]}]}, "layers[0].urls[1]"),
        ({"layers": [LAYER | {"annotations": {"k": 1}}]}, "layers[0].annotations.k"),
        ({"layers": [LAYER | {"annotations": []}]}, "layers[0].annotations"),
        ({"layers": [LAYER | {"data": "!"}]}, "layers[0].data"),
        ({"layers": [LAYER | {"data": "e30="}]}, "layers[0].data"),
        ({"layers": [LAYER] * 10_001}, "layers"),
        ({"subject": ENTRY | {"size": -1}}, "subject.size"),
        ({"subject": "x"}, "subject"),
        ({"annotations": {"k": ["v"]}}, "annotations.k"),
        ({"artifactType": 1}, "artifactType"),
    ],
)
def test_a_bad_field_is_named_by_its_path(change: dict[str, object], path: str) -> None:
    """Negative sizes and bad digests are refused, with their path in the error."""
    assert refused(MANIFEST | change).path == path


@pytest.mark.parametrize(
    ("platform", "path"),
    [
        ("linux/amd64", "manifests[0].platform"),
        ({"os": 1}, "manifests[0].platform.os"),
        ({"os": "linux", "architecture": []}, "manifests[0].platform.architecture"),
        ({"os.features": "x"}, "manifests[0].platform.os.features"),
        ({"os.features": [1]}, "manifests[0].platform.os.features[0]"),
    ],
)
def test_a_bad_platform_is_named_by_its_path(platform: object, path: str) -> None:
    assert refused(INDEX | {"manifests": [ENTRY | {"platform": platform}]}).path == path


def test_nesting_is_bounded() -> None:
    """Deeper nesting than 8 levels is refused, with its path in the error."""
    parse(document(nested(8)), "")
    assert refused(nested(9)).path == "x.x.x.x.x.x.x.x"
    assert refused(nested(50)).path.startswith("x.x")
    deep_list: list[Any] = []
    for _ in range(7):
        deep_list = [deep_list]
    assert refused(MANIFEST | {"x": deep_list}).path == "x" + "[0]" * 7


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 3_000_000,
        b'{"a":' * 700_000,
        b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
        b"[" * 2_000_000 + b"]" * 2_000_000,
        b'{"layers":' + b"[" * 1_900_000 + b"]" * 1_900_000 + b"}",
        b'{"schemaVersion":' + b"9" * 4_000_000 + b"}",
        b'{"schemaVersion":0.' + b"9" * 4_000_000 + b"}",
        b'{"schemaVersion":1e' + b"9" * 4_000_000 + b"}",
        b'{"' + b"k" * 4_000_000 + b'":1,"layers":1}',
        b'{"layers":[' + b"{}," * 400_000 + b"{}]}",
        b'{"layers":[' + b"0," * 1_000_000 + b"0]}",
        b"{" + b",".join(b'"%d":[]' % n for n in range(120_000)) + b"}",
        b'{"a":"' + b"\\ud800" * 600_000 + b'"}',
        b"\xff" * 4_000_000,
    ],
    ids=range(14),
)
@pytest.mark.timeout(60)  # it takes well below a second
def test_large_nonsense_is_refused_in_bounded_time(raw: bytes) -> None:
    """Values of any size make a short error message."""
    error = refused(raw)
    assert len(str(error)) < 1000


def test_a_document_has_at_most_4_mib() -> None:
    """A document has at most 4 MiB (OCI distribution spec, Pushing Manifests)."""
    raw = document(MANIFEST)
    padded = raw + b" " * (4 * 2**20 - len(raw))
    assert isinstance(parse(padded, ""), Manifest)
    assert "4 MiB" in str(refused(padded + b" "))


def inserted(text: str) -> bytes:
    """Return a good manifest with ``text`` as one more member."""
    return document(MANIFEST)[:-1] + f",{text}}}".encode()


@pytest.mark.parametrize(
    "text",
    [
        '"x":NaN',
        '"x":Infinity',
        '"x":-Infinity',
        r'"x":"\ud800"',
        r'"x":"\udc00\ud800"',
        r'"\udfff":1',
        r'"x":["a",{"b":"\udead"}]',
        '"x":nan',
        '"x":01',
        '"x":+1',
        '"x":.5',
        '"x":0x10',
        "\"x\":'y'",
        "x:1",
        '"x":1,',
        '"x":"\0"',
        '"x":"\n"',
        '"x":"\t"',
        '"x":1}\0',
        '"x":1//',
        '"x":undefined',
    ],
)
def test_json_that_is_not_strict_is_refused(text: str) -> None:
    """Engines written in Go and this one must read the same: RFC 8259, and RFC 7493, 2."""
    refused(inserted(text))


@pytest.mark.parametrize(
    "number",
    ["1e999999", "-1e999999", "1e309", "9223372036854775808", "-9223372036854775809", "1" * 5000],
)
def test_a_number_out_of_range_is_refused_when_it_is_read(number: str) -> None:
    parse(inserted(f'"x":{number},"y":[{{"z":{number}}}]'), "")
    raw = document(MANIFEST).replace(b'"size":2', f'"size":{number}'.encode(), 1)
    assert refused(raw).path == "config.size"
    shown = number if len(number) <= 24 else f"{number[:24]}…"
    assert f"the number {shown}, which is out of range" in str(refused(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"1",
        b'"x"',
        b"[]",
        b"true",
        b"{",
        b"{}{}",
        b"\0",
        b"{}\0",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b"{}",
        b'{"schemaVersion":2}',
        b"<html></html>",
    ],
)
def test_bytes_that_are_not_a_document_are_refused(raw: bytes) -> None:
    refused(raw)


def test_escaped_pairs_of_surrogates_and_nul_are_text() -> None:
    found = parse(inserted(r'"x":"\ud83d\ude00 \u0000"'), "")
    assert isinstance(found, Manifest)


def test_a_duplicate_key_is_refused() -> None:
    """Duplicate keys are refused, with their path in the error."""
    assert refused(inserted('"layers":[]')).path == "layers"
    assert refused(inserted('"x":1,"x":1')).path == "x"
    assert refused(inserted(r'"x":1,"\u0078":1')).path == "x"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('"x":{"y":1,"y":2}', "x.y"),
        ('"x":[0,{"y":{"z":1,"z":1}}]', "x[1].y.z"),
    ],
)
def test_a_duplicate_key_deep_inside_is_named_by_its_whole_path(text: str, path: str) -> None:
    """Duplicate keys are refused, with their path in the error."""
    assert refused(inserted(text)).path == path


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (NO_IMAGE | {"artifactType": "application/vnd.cncf.helm.x"}, "helm chart"),
        (NO_IMAGE | {"artifactType": "application/vnd.acme.x"}, "application/vnd.acme.x"),
        (
            MANIFEST
            | {"artifactType": "application/vnd.acme.x"}
            | {"config": CONFIG | {"mediaType": "application/json"}},
            "application/vnd.acme.x",
        ),
        (
            MANIFEST | {"config": CONFIG | {"mediaType": "application/vnd.docker.ai.model.v1"}},
            "AI model",
        ),
        (
            MANIFEST | {"config": CONFIG | {"mediaType": "application/vnd.oci.images_are_fun"}},
            "images_are_fun",
        ),
        (
            MANIFEST | {"config": CONFIG | {"mediaType": "application/vnd.docker.plugin.v1+json"}},
            "docker plugin",
        ),
        (
            MANIFEST | {"config": CONFIG | {"mediaType": "application/vnd.cncf.helm.config.v1"}},
            "helm chart",
        ),
        (
            MANIFEST | {"config": CONFIG | {"mediaType": mediatype.OCI_EMPTY}},
            mediatype.OCI_EMPTY,
        ),
        (
            MANIFEST
            | {
                "layers": [
                    LAYER | {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json"}
                ]
            },
            "cosign signature",
        ),
    ],
)
def test_artifacts_are_named(value: object, word: str) -> None:
    """The error names the kind of an artifact."""
    found = parse(document(value), "")
    assert isinstance(found, Manifest)
    assert word in (found.artifact or "")


@pytest.mark.parametrize(
    "kind",
    [
        mediatype.OCI_CONFIG,
        mediatype.DOCKER_CONFIG,
        mediatype.DOCKER_CONFIG.upper(),
        "application/octet-stream",
        "application/json",
        "text/html",
        "Text/HTML",
        "",
        None,
        "application/vnd.oci.image.config.v2+json",
        "application/vnd.oci.image",
        "application/vnd.Docker.container.image.v1",
    ],
)
def test_config_types_that_count_as_images(kind: str | None) -> None:
    """Types of image configs: Docker's, OCI's, ``application/octet-stream`` and none."""
    found = parse(document(MANIFEST | {"config": CONFIG | {"mediaType": kind}}), "")
    assert isinstance(found, Manifest)
    assert found.artifact is None


def test_an_artifact_type_beside_an_image_config_is_still_an_image() -> None:
    found = parse(document(MANIFEST | {"artifactType": "application/vnd.acme.x"}), "")
    assert isinstance(found, Manifest)
    assert found.artifact is None
    assert [(problem.path, problem.error) for problem in found.problems] == [
        ("artifactType", False)
    ]


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything inside ``value``."""
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            found += places(item, (*path, place))
    return found


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([DIGEST, "", mediatype.OCI_INDEX, mediatype.DOCKER_SCHEMA1, "a" * 70_000]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid document with other values at some of its places, or members more or less."""
    value: Any = copy.deepcopy(draw(st.sampled_from([MANIFEST, INDEX, SCHEMA1])))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(value)[1:]))
        parent = value
        for step in above:
            parent = parent[step]
        match draw(st.integers(0, 3)):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[
                    draw(st.sampled_from(["layers", "manifests", "fsLayers", "size", "digest"]))
                ] = draw(json_values)
            case _:
                parent[last] = draw(json_values)
        if len(places(value)) < 2:
            break
    return json.dumps(value).encode()


def outcome(raw: bytes, served: str) -> Manifest | Index | Schema1 | WherryError:
    """Return the document or the error; anything else that is raised fails the test."""
    try:
        return parse(raw, served)
    except WherryError as error:
        return error


served_types = st.sampled_from(["", "text/plain", "x", *sorted(mediatype.KNOWN)])


@QUICK
@given(mutated(), served_types)
def test_any_document_is_good_or_refused(raw: bytes, served: str) -> None:
    """OCI image spec, manifest.md and image-index.md: what these require of each property."""
    found = outcome(raw, served)
    if isinstance(found, WherryError):
        assert isinstance(found, InvalidDocument | Unsupported)
        return
    assert found.raw == raw
    kinds = {key for key in ("layers", "manifests", "fsLayers") if key in json.loads(raw)}
    assert len(kinds) <= 1
    if isinstance(found, Schema1):
        assert found.layers
        return
    entries = found.manifests if isinstance(found, Index) else (found.config, *found.layers)
    layers = () if isinstance(found, Index) else found.layers
    assert all(
        entry.size is not None and entry.size >= 0 for entry in entries if entry not in layers
    )
    assert all(entry.size is None or entry.size > 0 for entry in layers)
    assert all(Digest.parse(str(entry.digest)) == entry.digest for entry in entries)


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "parent", "created", "config", "throwaway", "os", "container_config", "history"]
        ),
        json_values,
        min_size=1,
        max_size=3,
    )
)
def test_any_version_1_json_is_good_or_refused(change: dict[str, Any]) -> None:
    """Ids in ``v1Compatibility`` have 64 hex digits; the base layer has no parent."""
    text = json.dumps(V1 | change)
    found = outcome(document(SCHEMA1 | {"history": [{"v1Compatibility": text}]}), "")
    if not isinstance(found, WherryError):
        assert isinstance(found, Schema1)
        assert found.layers[0].id == V1["id"]


@QUICK
@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda raw, at, byte: raw[: at % len(raw)] + byte + raw[at % len(raw) + 1 :],
            st.sampled_from([document(MANIFEST), document(INDEX), document(SCHEMA1)]),
            st.integers(0, 5000),
            st.binary(max_size=2),
        ),
    ),
    served_types,
)
def test_any_bytes_are_a_document_or_refused(raw: bytes, served: str) -> None:
    """OCI image spec, considerations.md: documents are JSON; all else is refused as ours."""
    found = outcome(raw, served)
    assert not isinstance(found, WherryError) or isinstance(found, InvalidDocument | Unsupported)


def test_data_of_a_descriptor_must_be_the_content_it_names() -> None:
    """OCI image spec, descriptor.md, "Embedded Content": size and digest are verified."""
    content = b"hello"
    good = CONFIG | {
        "digest": str(Digest.of(content)),
        "size": len(content),
        "data": base64.b64encode(content).decode(),
    }
    found = parse(document(MANIFEST | {"config": good}), "")
    assert isinstance(found, Manifest)
    assert found.config.data == content
    assert refused(MANIFEST | {"config": good | {"size": 4}}).path == "config.data"
    assert refused(MANIFEST | {"config": good | {"digest": DIGEST}}).path == "config.data"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (MANIFEST, mediatype.OCI_MANIFEST),
        (INDEX, mediatype.OCI_INDEX),
    ],
)
def test_documents_are_hashed_by_their_bytes(value: dict[str, Any], kind: str) -> None:
    found, same = parse(document(value), kind), parse(document(value), kind)
    other = parse(document(value | {"annotations": {"another": "b"}}), kind)
    assert {found: 1}[same] == 1
    assert len({found, same, other}) == 2
    assert found != other


def test_a_signed_schema1_manifest_can_be_hashed() -> None:
    signed = build_schema1([tar_layer({"a": b"1"})], keys=[("ES256", make_key("ES256"))]).manifest
    found, same = (parse(signed.data, signed.media_type) for _ in range(2))
    assert {found: 1}[same] == 1
