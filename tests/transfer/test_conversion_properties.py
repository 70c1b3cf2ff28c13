"""Properties of rewritten documents and packed layers, for generated ones."""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from wherry.content.cancel import CancelToken
from wherry.content.codec import detect
from wherry.content.protocols import Blob, Opened
from wherry.errors import Unsupported
from wherry.model.compression import Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.testing import BuiltImage, BuiltIndex, build_image, build_index, compress, tar_layer
from wherry.transfer.collect import Node, node_of
from wherry.transfer.pack import Packed, pack_layer
from wherry.transfer.plan_values import Rewrite
from wherry.transfer.rewrite import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TARS = [tar_layer({f"f{number}": b"x" * number}) for number in range(4)]
ANNOTATIONS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=2)
PACKED = [
    Descriptor.of(b"%d" % n, Compression.parse("gzip").layer_type(docker=False)) for n in range(4)
]


@st.composite
def images(draw: Any) -> BuiltImage:
    style = draw(st.sampled_from(["oci", "docker"]))
    forms = ["gzip", "none", *(["zstd"] if style == "oci" else [])]
    layers = draw(st.lists(st.tuples(st.sampled_from(TARS), st.sampled_from(forms)), max_size=4))
    extra = {"odd": draw(st.sampled_from([None, 1.5, [1, {"a": None}], "<&>\u2028"]))}
    if style == "oci":
        extra["annotations"] = draw(st.none() | ANNOTATIONS)
    return build_image(
        [tar for tar, _ in layers],
        style=style,
        compression=[form for _, form in layers],
        architecture=draw(st.sampled_from(["amd64", "arm64", "386"])),
        manifest_extra=extra,
    )


def node(built: BuiltImage | BuiltIndex) -> Node:
    piece = built.manifest if isinstance(built, BuiltImage) else built.index
    return node_of(Digest(piece.digest), parse(piece.data, piece.media_type))


def written(
    nodes: Sequence[Node], layers: Mapping[Digest, Descriptor], changes: Rewrite
) -> list[Node]:
    return rewrite(nodes, layers, changes, lambda _: b"")


@FEW
@given(images(), st.sampled_from(["", "oci", "docker"]), st.lists(st.integers(0, 3)))
def test_a_manifest_names_what_its_layers_have_become(
    built: BuiltImage, target: str, replaced: list[int]
) -> None:
    old = node(built)
    assert isinstance(old.document, Manifest)
    digests = [layer.digest for layer in old.document.layers]
    layers = {digests[at]: PACKED[at] for at in replaced if at < len(digests)}
    try:
        (new,) = written([old], layers, Rewrite(target))
    except Unsupported:
        kept = {layer.media_type for layer in old.document.layers if layer.digest not in layers}
        assert target == "docker"
        assert any(kind.endswith("zstd") for kind in kept)
        return
    assert isinstance(new.document, Manifest)
    expected = [
        layers.get(digest, layer)
        for digest, layer in zip(digests, old.document.layers, strict=True)
    ]
    assert [(each.digest, each.size) for each in new.document.layers] == [
        (each.digest, each.size) for each in expected
    ]
    assert new.document.config.digest == old.document.config.digest
    kinds = {each.media_type.split("/")[1].split(".")[1] for each in new.document.layers}
    wanted = target or ("docker" if "docker" in old.document.media_type else "oci")
    assert kinds <= {wanted}
    assert (new is old) == (not layers and wanted in old.document.media_type)


@FEW
@given(images(), st.sampled_from(["oci", "docker"]))
def test_writing_a_document_twice_changes_nothing_more(built: BuiltImage, target: str) -> None:
    packed = {Digest(layer.digest): PACKED[at] for at, layer in enumerate(built.layers)}
    once = written([node(built)], packed, Rewrite(target))
    twice = written(once, {}, Rewrite(target))
    assert twice[0] is once[0]


@FEW
@given(
    st.lists(images(), min_size=1, max_size=4), st.sampled_from(["", "oci", "docker"]), st.data()
)
def test_an_index_names_what_its_images_have_become(
    built: list[BuiltImage], target: str, data: st.DataObject
) -> None:
    unique = list({image.digest: image for image in built}.values())
    platforms = [{"os": "linux", "architecture": "amd64", "variant": f"v{at}"} for at in range(4)]
    root = node(build_index(list(zip(unique, platforms, strict=False))))
    nodes = [*map(node, unique), root]
    kept = frozenset(data.draw(st.sets(st.sampled_from([each.digest for each in nodes]))))
    packed = {Digest(layer.digest): PACKED[0] for image in unique for layer in image.layers}
    found = written(nodes, packed, Rewrite(target, kept))
    index = found[-1].document
    assert isinstance(index, Index)
    assert isinstance(root.document, Index)
    expected = [new for old, new in zip(nodes[:-1], found[:-1], strict=True) if old.digest in kept]
    named = [each._replace(platform=None) for each in index.manifests]
    assert [(each.digest, each.size) for each in named] == [
        (each.descriptor.digest, each.descriptor.size) for each in expected
    ]
    before = {entry.digest: entry.platform for entry in root.document.manifests}
    assert [each.platform for each in index.manifests] == [
        before[old.digest] for old in nodes[:-1] if old.digest in kept
    ]


# Layers


class _Pieces:
    """A stream that ends its reads anywhere, as a network does."""

    def __init__(self, raw: bytes, sizes: Iterator[int]) -> None:
        self._raw, self._sizes = raw, sizes

    def read1(self, size: int) -> bytes:
        size = min(size, next(self._sizes))
        found, self._raw = self._raw[:size], self._raw[size:]
        return found

    def close(self) -> None:
        pass


def pack(raw: bytes, sizes: Sequence[int], text: str) -> Packed:
    def opened(offset: int, _: object) -> Opened:
        return Opened(_Pieces(raw[offset:], itertools.cycle(sizes)), offset)

    layer = Blob(Descriptor.of(raw, ""), opened)
    with tempfile.TemporaryFile() as spool:
        return pack_layer(
            layer, Compression.parse(text), None, spool, CancelToken(), lambda _: None
        )


# Pieces of the content, each with how often it is repeated.
PIECES = st.lists(st.tuples(st.binary(max_size=50), st.integers(1, 8_000)), max_size=4)


@FEW
@given(PIECES, st.lists(st.integers(1_000, 300_000), min_size=1, max_size=5))
@pytest.mark.parametrize("text", ["gzip:1", "gzip:2", "gzip:3", "gzip:4", "zstd:3", "none"])
def test_packed_bytes_depend_only_on_the_content(
    text: str, pieces: list[tuple[bytes, int]], sizes: list[int]
) -> None:
    content = b"".join(piece * count for piece, count in pieces)
    assume(detect(content) is None)  # a plain layer, and no compressed one
    plain = pack(content, [2**20], text)
    assert plain.diff_id == Digest.of(content)
    assert plain.raw_size == len(content)
    for form in ("none", "gzip", "zstd"):
        assert pack(compress(content, form), sizes, text) == plain
