from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry.errors import Unsupported
from wherry.model import mediatype
from wherry.model.compression import GZIP, Compression
from wherry.model.convert import docker_layer_type, oci_layer_type
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.document_edits import edit_index, edit_manifest, losses
from wherry.model.manifest import Index, Manifest, parse
from wherry.testing import BuiltImage, BuiltIndex, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

TARS = [tar_layer({"a": b"x"}), tar_layer({"b": b"y"})]
OCI_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
NEW = Descriptor.of(b"packed anew", OCI_ZSTD)
LINUX = {"os": "linux", "architecture": "amd64"}


def manifest_of(built: BuiltImage) -> Manifest:
    found = parse(built.manifest.data, built.manifest.media_type)
    assert isinstance(found, Manifest)
    return found


def index_of(built: BuiltIndex) -> Index:
    found = parse(built.index.data, built.index.media_type)
    assert isinstance(found, Index)
    return found


def described(document: Manifest | Index) -> Descriptor:
    return Descriptor.of(document.raw, document.media_type)


def edited(raw: bytes, changes: Mapping[str, Any]) -> Manifest:
    """Return a manifest from changed JSON, indented."""
    found = parse(json.dumps(json.loads(raw) | changes, indent=3).encode(), "")
    assert isinstance(found, Manifest)
    return found


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_a_manifest_without_changes_is_returned_itself(style: Any) -> None:
    manifest = manifest_of(build_image(TARS, style=style))
    same = mediatype.OCI_MANIFEST if style == "oci" else mediatype.DOCKER_MANIFEST
    other = {NEW.digest: NEW}
    assert edit_manifest(manifest, {}, {}) is manifest
    assert edit_manifest(manifest, other, other, same) is manifest


def test_a_replaced_layer_changes_nothing_else() -> None:
    built = build_image(TARS, manifest_extra={"annotations": {"k": "<&>"}, "odd": [1, None, True]})
    before = json.loads(built.manifest.data)
    before["layers"][1]["annotations"] = {"kept": "1", "org.opencontainers.image.title": "t"}
    manifest = edited(built.manifest.data, {"layers": before["layers"]})
    after = edit_manifest(manifest, {Digest(built.layers[1].digest): NEW}, {})
    before["layers"][1] |= {"mediaType": OCI_ZSTD, "digest": str(NEW.digest), "size": NEW.size}
    assert json.loads(after.raw) == before
    assert list(json.loads(after.raw)) == list(before), "the order of the fields"
    assert list(json.loads(after.raw)["layers"][1]) == list(before["layers"][1])
    assert after.layers == (manifest.layers[0], after.layers[1])
    assert after.layers[1].digest == NEW.digest


def test_numbers_keep_their_spelling() -> None:
    built = build_image(TARS)
    raw = built.manifest.data.replace(
        b'{"schema', b'{"odd":[1.50,1E400,123456789012345678901],"schema'
    )
    found = parse(raw, "")
    assert isinstance(found, Manifest)
    after = edit_manifest(found, {Digest(built.layers[0].digest): NEW}, {})
    assert b'"odd":[1.50,1E400,123456789012345678901]' in after.raw


def test_what_was_true_of_the_old_bytes_is_removed() -> None:
    """Embedded content, addresses, and annotations of estargz and zstd:chunked."""
    built = build_image(TARS)
    layers = json.loads(built.manifest.data)["layers"]
    layers[0] |= {
        "urls": ["https://x.example/layer"],
        "annotations": {
            "containerd.io/snapshot/stargz/toc.digest": "sha256:1",
            "io.github.containers.zstd-chunked.manifest-checksum": "sha256:2",
            "kept": "yes",
        },
    }
    manifest = edited(built.manifest.data, {"layers": layers})
    after = edit_manifest(manifest, {manifest.layers[0].digest: NEW}, {}).layers[0]
    assert (after.urls, after.annotations, after.data) == ((), {"kept": "yes"}, None)


def test_a_repeated_layer_is_replaced_everywhere() -> None:
    built = build_image([TARS[0], TARS[1], TARS[0]])
    after = edit_manifest(manifest_of(built), {Digest(built.layers[0].digest): NEW}, {})
    assert [layer.digest for layer in after.layers] == [
        NEW.digest,
        built.layers[1].digest,
        NEW.digest,
    ]


@pytest.mark.parametrize("layers", [{}, {"layers": None}], ids=["absent", "null"])
def test_a_manifest_may_have_no_list_of_layers(layers: dict[str, None]) -> None:
    raw = json.loads(build_image([], style="docker").manifest.data)
    del raw["layers"]
    found = parse(json.dumps(raw | layers).encode(), "")
    assert isinstance(found, Manifest)
    after = edit_manifest(found, {}, {}, mediatype.OCI_MANIFEST)
    assert (after.media_type, after.layers) == (mediatype.OCI_MANIFEST, ())


@pytest.mark.parametrize("style", ["oci", "docker"])
@pytest.mark.parametrize("text", ["gzip", "none"])
def test_a_replaced_layer_gets_the_type_of_its_manifest(style: Any, text: str) -> None:
    built = build_image(TARS, style=style)
    kind = Compression.parse(text).layer_type(docker=False)
    new = NEW._replace(media_type=kind)
    after = edit_manifest(manifest_of(built), {Digest(built.layers[0].digest): new}, {})
    expected = Compression.parse(text).layer_type(docker=style == "docker")
    assert after.layers[0].media_type == expected
    assert after.media_type == built.manifest.media_type


def test_docker_s_manifests_have_no_zstd() -> None:
    built = build_image(TARS, style="docker")
    with pytest.raises(Unsupported, match="zstd") as caught:
        edit_manifest(manifest_of(built), {Digest(built.layers[0].digest): NEW}, {})
    assert "--format oci" in caught.value.hint
    to_oci = edit_manifest(
        manifest_of(built), {Digest(built.layers[0].digest): NEW}, {}, mediatype.OCI_MANIFEST
    )
    assert [layer.media_type for layer in to_oci.layers] == [OCI_ZSTD, OCI_GZIP]
    zstd = manifest_of(build_image(TARS, compression="zstd"))
    with pytest.raises(Unsupported, match="zstd") as caught:
        edit_manifest(zstd, {}, {}, mediatype.DOCKER_MANIFEST)
    assert "--compression gzip" in caught.value.hint
    packed = {
        layer.digest: Descriptor.of(b"%d" % number, GZIP.layer_type(docker=False))
        for number, layer in enumerate(zstd.layers)
    }
    found = edit_manifest(zstd, packed, {}, mediatype.DOCKER_MANIFEST)
    assert {layer.media_type for layer in found.layers} == {mediatype.DOCKER_LAYER}


def test_docker_to_oci_and_back_gives_the_same_digest() -> None:
    docker = manifest_of(build_image(TARS, style="docker", compression=["gzip", "none"]))
    oci = edit_manifest(docker, {}, {}, mediatype.OCI_MANIFEST)
    assert oci.media_type == mediatype.OCI_MANIFEST
    assert oci.config == docker.config._replace(media_type=mediatype.OCI_CONFIG)
    assert [layer.media_type for layer in oci.layers] == [OCI_GZIP, mediatype.OCI_PLAIN_LAYER]
    assert [layer.digest for layer in oci.layers] == [layer.digest for layer in docker.layers]
    back = edit_manifest(oci, {}, {}, mediatype.DOCKER_MANIFEST)
    assert (back.config, back.layers) == (docker.config, docker.layers)


@pytest.mark.parametrize("removed", ["mediaType", ""])
def test_a_converted_manifest_states_its_type_second(removed: str) -> None:
    built = build_image(TARS, style="docker", manifest_extra={removed: None})
    after = edit_manifest(manifest_of(built), {}, {}, mediatype.OCI_MANIFEST)
    fields = json.loads(after.raw)
    assert list(fields)[:2] == ["schemaVersion", "mediaType"]
    assert fields["mediaType"] == mediatype.OCI_MANIFEST


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("application/vnd.oci.image.layer.v1.tar", mediatype.DOCKER_PLAIN_LAYER),
        ("application/vnd.OCI.image.layer.v1.tar+gzip", mediatype.DOCKER_LAYER),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ),
        (mediatype.DOCKER_LAYER, mediatype.DOCKER_LAYER),
    ],
)
def test_layers_have_a_type_in_both_formats(layer: str, expected: str) -> None:
    assert docker_layer_type(layer) == expected
    assert oci_layer_type(expected) in {layer.lower(), OCI_GZIP}


@pytest.mark.parametrize(
    ("layer", "message", "hint"),
    [
        (OCI_ZSTD, "packed with zstd", "--compression gzip"),
        (f"{OCI_GZIP}+encrypted", "that are encrypted", "decryption-key"),
        ("application/octet-stream", "of type application/octet-stream", "--format oci"),
        ("", "of type none", "--format oci"),
    ],
)
def test_other_layers_have_none_in_docker_s(layer: str, message: str, hint: str) -> None:
    with pytest.raises(Unsupported, match=message) as caught:
        docker_layer_type(layer)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "extra",
    [{"artifactType": "application/spdx+json"}, {}],
    ids=["artifact type", "config type"],
)
def test_an_artifact_is_no_schema2_image(extra: dict[str, object]) -> None:
    built = build_image(TARS, config_media_type="application/vnd.acme.thing", manifest_extra=extra)
    with pytest.raises(Unsupported, match=r"artifact|SBOM") as caught:
        edit_manifest(manifest_of(built), {}, {}, mediatype.DOCKER_MANIFEST)
    assert "--without-attestations" in caught.value.hint


def test_a_subject_follows_its_document() -> None:
    subject = Descriptor.of(b"old", mediatype.OCI_MANIFEST)
    stated = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size}
    manifest = manifest_of(build_image(TARS, manifest_extra={"subject": stated}))
    assert edit_manifest(manifest, {}, {subject.digest: subject}) is manifest
    after = edit_manifest(manifest, {}, {subject.digest: NEW})
    assert after.subject == NEW
    assert after.layers == manifest.layers


# Indexes


def index(style: Any = "oci", **extra: Any) -> BuiltIndex:
    images = [build_image([tar], style=style) for tar in TARS]
    entries = [(image, LINUX | {"variant": f"v{at}"}) for at, image in enumerate(images)]
    return build_index(entries, style=style, **extra)


def test_an_index_without_changes_is_returned_itself() -> None:
    found = index_of(index())
    children = {entry.digest: entry for entry in found.manifests}
    assert edit_index(found, {}) is found
    assert edit_index(found, children, set(children), mediatype.OCI_INDEX) is found


def test_an_entry_follows_its_document() -> None:
    built = index(extra={"annotations": {"i": "1"}}, entry_extra={"annotations": {"e": "2"}})
    found, before = index_of(built), json.loads(built.index.data)
    new = NEW._replace(media_type=mediatype.OCI_MANIFEST)
    after = json.loads(edit_index(found, {found.manifests[1].digest: new}).raw)
    before["manifests"][1] |= {"digest": str(new.digest), "size": new.size}
    assert after == before


def test_entries_are_left_out() -> None:
    built = index(extra={"annotations": {"i": "1"}})
    found, before = index_of(built), json.loads(built.index.data)
    after = edit_index(found, {}, {found.manifests[1].digest})
    del before["manifests"][0]
    assert json.loads(after.raw) == before
    assert edit_index(found, {}, ()).manifests == ()


def test_an_attestation_follows_its_image() -> None:
    """BuildKit, attestation-storage.md: an annotation has the digest of the image."""
    image, attestation = build_image(TARS), build_image(TARS[:1])
    notes = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest,
    }
    unknown = {"os": "unknown", "architecture": "unknown"}
    built = build_index([(image, LINUX), (attestation, unknown)])
    raw = json.loads(built.index.data)
    raw["manifests"][1]["annotations"] = notes
    found = parse(json.dumps(raw).encode(), "")
    assert isinstance(found, Index)
    children = {
        Digest(image.digest): NEW._replace(media_type=mediatype.OCI_MANIFEST),
        Digest(attestation.digest): found.manifests[1],
    }
    after = edit_index(found, children).manifests
    assert after[0].digest == NEW.digest
    assert after[1].annotations == notes | {"vnd.docker.reference.digest": str(NEW.digest)}
    assert after[1].digest == attestation.digest


def test_an_index_becomes_a_manifest_list() -> None:
    built = index(
        extra={"annotations": {"i": "1"}, "artifactType": "a/b"},
        entry_extra={"annotations": {"e": "2"}, "artifactType": "a/b"},
    )
    found = index_of(built)
    children = {
        image.digest: edit_manifest(manifest_of(image), {}, {}, mediatype.DOCKER_MANIFEST)
        for image in built.images
    }
    made = {Digest(digest): described(manifest) for digest, manifest in children.items()}
    after = edit_index(found, made, None, mediatype.DOCKER_LIST)
    assert [entry.digest for entry in after.manifests] == [new.digest for new in made.values()]
    fields = json.loads(after.raw)
    assert fields["mediaType"] == mediatype.DOCKER_LIST
    assert fields.keys() == {"schemaVersion", "mediaType", "manifests"}
    for entry in fields["manifests"]:
        assert entry.keys() == {"mediaType", "digest", "size", "platform"}
        assert entry["mediaType"] == mediatype.DOCKER_MANIFEST
    assert [e.platform for e in after.manifests] == [e.platform for e in found.manifests]


def test_an_index_of_docker_s_manifests_becomes_a_list() -> None:
    """Its entries need not have a type, nor change."""
    images = [build_image([tar], style="docker") for tar in TARS]
    built = build_index([(image, LINUX) for image in images], entry_extra={"mediaType": None})
    made = {Digest(image.digest): described(manifest_of(image)) for image in images}
    after = edit_index(index_of(built), made, None, mediatype.DOCKER_LIST)
    assert {entry.media_type for entry in after.manifests} == {mediatype.DOCKER_MANIFEST}
    assert [entry.digest for entry in after.manifests] == list(made)


def test_a_manifest_list_becomes_an_index() -> None:
    built = index("docker")
    children = {
        Digest(image.digest): described(
            edit_manifest(manifest_of(image), {}, {}, mediatype.OCI_MANIFEST)
        )
        for image in built.images
    }
    after = edit_index(index_of(built), children, None, mediatype.OCI_INDEX)
    assert after.media_type == mediatype.OCI_INDEX
    assert {entry.media_type for entry in after.manifests} == {mediatype.OCI_MANIFEST}
    assert [entry.digest for entry in after.manifests] == [new.digest for new in children.values()]


def test_an_index_with_missing_images_is_not_converted() -> None:
    found = index_of(index())
    made = {found.manifests[0].digest: NEW._replace(media_type=mediatype.DOCKER_MANIFEST)}
    with pytest.raises(Unsupported, match="not converted") as caught:
        edit_index(found, made, None, mediatype.DOCKER_LIST)
    assert "--sparse" in caught.value.hint
    kept = edit_index(found, made, set(made), mediatype.DOCKER_LIST)
    assert [entry.digest for entry in kept.manifests] == [NEW.digest]


def test_losses_are_named() -> None:
    subject = {"mediaType": "a/b", "digest": str(NEW.digest), "size": 1}
    extra = {"annotations": {"a": "1", "b": "2"}, "subject": subject, "artifactType": "a/c"}
    manifest = manifest_of(build_image(TARS, manifest_extra=extra))
    assert list(losses(manifest)) == ["2 annotations", "the subject", "the artifact type a/c"]
    found = index_of(index(entry_extra={"annotations": {"e": "2"}}))
    assert list(losses(found)) == ["2 annotations"]
    one = manifest_of(build_image(TARS, manifest_extra={"annotations": {"a": "1"}}))
    assert list(losses(one)) == ["1 annotation"]
    assert not list(losses(manifest_of(build_image(TARS))))
