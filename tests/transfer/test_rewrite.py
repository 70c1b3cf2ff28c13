from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry.errors import Unsupported
from wherry.model import mediatype
from wherry.model.compression import GZIP, Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.schema1_writer import EMPTY_LAYER
from wherry.testing import build_image, build_index, build_schema1, compress, tar_layer
from wherry.transfer.collect import Node, node_of
from wherry.transfer.plan_values import Rewrite
from wherry.transfer.rewrite import added_blobs, check_rewrite, describe_losses, rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.testing import BuiltImage, BuiltIndex

TARS = [tar_layer({"a": b"x"}), tar_layer({"b": b"y"})]
ZSTD = Compression.parse("zstd").layer_type(docker=False)
NEW = Descriptor.of(b"packed anew", ZSTD)
LINUX = {"os": "linux", "architecture": "amd64"}


def node(built: BuiltImage | BuiltIndex) -> Node:
    piece = built.index if hasattr(built, "index") else built.manifest
    return node_of(Digest(piece.digest), parse(piece.data, piece.media_type))


def read_none(descriptor: Descriptor) -> bytes:
    raise AssertionError(f"{descriptor} is read")


def done(
    nodes: list[Node],
    layers: Mapping[Digest, Descriptor] | None = None,
    changes: Rewrite = Rewrite(),  # noqa: B008 - immutable
) -> list[Node]:
    return rewrite(nodes, layers or {}, changes, read_none)


IMAGES = [build_image([tar], architecture=name) for tar, name in zip(TARS, "ab", strict=True)]
INNER = build_index([(IMAGES[0], LINUX)])
INDEX = build_index([(INNER, None), (IMAGES[1], LINUX)])
NODES = [node(IMAGES[0]), node(INNER), node(IMAGES[1]), node(INDEX)]


def test_documents_without_changes_are_returned_themselves() -> None:
    found = done(NODES, {NEW.digest: NEW}, Rewrite(kept=frozenset(each.digest for each in NODES)))
    assert all(new is old for new, old in zip(found, NODES, strict=True))
    assert done(NODES, {}, Rewrite(format="oci")) == NODES


def test_a_new_layer_changes_the_documents_above_it_and_no_others() -> None:
    found = done(NODES, {Digest(IMAGES[0].layers[0].digest): NEW})
    image, inner, other, root = found
    assert isinstance(image.document, Manifest)
    assert image.document.layers == (NEW,)
    for above, below in ((inner, image), (root, inner)):
        assert isinstance(above.document, Index)
        assert above.document.manifests[0]._replace(platform=None) == below.descriptor
    assert other is NODES[2]
    for each in found:
        assert each.descriptor == Descriptor.of(each.document.raw, each.document.media_type)


def test_entries_are_left_out_at_every_level() -> None:
    kept = frozenset(each.digest for each in (NODES[0], NODES[1], NODES[3]))
    found = done([NODES[0], NODES[1], NODES[3]], {}, Rewrite(kept=kept))
    assert found[:2] == NODES[:2]
    root = found[2].document
    assert isinstance(root, Index)
    assert [entry.digest for entry in root.manifests] == [NODES[1].digest]


@pytest.mark.parametrize(
    ("source", "target", "manifest", "index"),
    [
        ("oci", "docker", mediatype.DOCKER_MANIFEST, mediatype.DOCKER_LIST),
        ("docker", "oci", mediatype.OCI_MANIFEST, mediatype.OCI_INDEX),
    ],
)
def test_a_format_is_for_all_documents(source: Any, target: str, manifest: str, index: str) -> None:
    image = build_image(TARS, style=source)
    nodes = [node(image), node(build_index([(image, LINUX)], style=source))]
    found = done(nodes, {}, Rewrite(format=target))
    assert [each.document.media_type for each in found] == [manifest, index]
    assert isinstance(found[1].document, Index)
    assert found[1].document.manifests[0].digest == found[0].digest
    back = done(found, {}, Rewrite(format=source))
    assert isinstance(back[0].document, Manifest)
    assert isinstance(nodes[0].document, Manifest)
    assert back[0].document.layers == nodes[0].document.layers
    assert back[0].document.config == nodes[0].document.config


def test_referrers_follow_their_subject() -> None:
    image = build_image(TARS)
    extra = {"subject": image.manifest.descriptor(), "artifactType": "application/spdx+json"}
    signature = build_image([b"sbom"], compression="none", manifest_extra=extra)
    found = done([node(image), node(signature)], {Digest(image.layers[0].digest): NEW})
    assert isinstance(found[1].document, Manifest)
    assert found[1].document.subject == found[0].descriptor


def test_errors_name_the_document() -> None:
    nodes = [node(build_image(TARS, compression="zstd"))]
    with pytest.raises(Unsupported, match="zstd") as caught:
        done(nodes, {}, Rewrite(format="docker"))
    assert caught.value.where == (f"manifest {nodes[0].digest}",)


def test_what_cannot_be_written_is_found_before_layers_are_packed() -> None:
    image = build_image(TARS, style="docker")
    layer = Digest(image.layers[0].digest)
    zstd = {layer: Compression.parse("zstd:9")}
    with pytest.raises(Unsupported, match="zstd"):
        check_rewrite([node(image)], {}, zstd, Rewrite(), read_none)
    check_rewrite([node(image)], {}, zstd, Rewrite(format="oci"), read_none)
    check_rewrite([node(image)], {}, {layer: GZIP}, Rewrite(), read_none)
    check_rewrite([node(image)], {layer: NEW}, {}, Rewrite(), read_none)


def test_losses_are_told_for_docker_s_formats_only() -> None:
    built = build_image(TARS, manifest_extra={"annotations": {"a": "1"}})
    nodes = [node(built), *NODES]
    short = nodes[0].digest.short
    assert list(describe_losses(nodes, Rewrite(format="docker"))) == [
        f"manifest {short}… loses 1 annotation in docker's format"
    ]
    assert "in schema1" in next(describe_losses(nodes, Rewrite(format="v2s1")))
    assert not list(describe_losses(nodes, Rewrite(format="oci")))
    assert not list(describe_losses(nodes, Rewrite()))


# Schema1


def test_an_image_becomes_schema1() -> None:
    image = build_image(TARS)
    changes = Rewrite(format="v2s1", repository="acme/app", tag="1")
    (found,) = rewrite([node(image)], {}, changes, lambda _: image.config.data)
    fields = json.loads(found.document.raw)
    assert (fields["name"], fields["tag"]) == ("acme/app", "1")
    assert found.descriptor.media_type == mediatype.DOCKER_SCHEMA1_SIGNED
    assert found.descriptor.size == len(found.document.raw)
    (again,) = rewrite([node(image)], {}, changes, lambda _: image.config.data)
    assert again.digest == found.digest
    assert set(found.children) == {Digest(layer.digest) for layer in image.layers}


def test_schema1_has_packed_layers() -> None:
    image = build_image(TARS, compression="zstd")
    packed = {
        Digest(layer.digest): Descriptor.of(b"%d" % number, GZIP.layer_type(docker=False))
        for number, layer in enumerate(image.layers)
    }
    changes = Rewrite(format="v2s1", repository="a", tag="1")
    (found,) = rewrite([node(image)], packed, changes, lambda _: image.config.data)
    assert set(found.children) == {layer.digest for layer in packed.values()}


def test_a_list_may_have_schema1_manifests() -> None:
    image = build_image(TARS)
    nodes = [node(image), node(build_index([(image, LINUX)]))]
    changes = Rewrite(format="v2s1", repository="a", tag="1")
    found = rewrite(nodes, {}, changes, lambda _: image.config.data)
    assert isinstance(found[1].document, Index)
    assert found[1].document.media_type == mediatype.DOCKER_LIST
    assert found[1].document.manifests[0]._replace(platform=None) == found[0].descriptor


def test_a_schema1_manifest_is_copied_only_as_it_is() -> None:
    built = build_schema1([compress(TARS[0], "gzip")])
    nodes = [node_of(Digest(built.digest), parse(built.manifest.data, built.manifest.media_type))]
    assert done(nodes, {}, Rewrite(format="v2s1")) == done(nodes) == nodes
    with pytest.raises(Unsupported, match="only as it is"):
        done(nodes, {}, Rewrite(format="docker"))
    with pytest.raises(Unsupported, match="only as it is"):
        done(nodes, {nodes[0].children[0]: NEW})


def test_schema1_needs_one_more_blob() -> None:
    assert added_blobs(Rewrite(format="v2s1")) == (EMPTY_LAYER,)
    assert added_blobs(Rewrite(format="docker")) == added_blobs(Rewrite()) == ()
