"""The store as a destination: which images a name records, and which it refuses."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from sink_images import BASE, ONE, TWO, descriptor_of
from wherry import Digest, Store
from wherry.content.cancel import CancelToken
from wherry.content.streams import blob_of
from wherry.errors import IntegrityError, InvalidReference, NotFound, Unsupported
from wherry.image_store import local_store
from wherry.model.descriptor import Descriptor
from wherry.model.platform import Platform
from wherry.ops.store_sink import StoreSink
from wherry.testing import build_image, build_index, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing import BuiltImage
    from wherry.testing.images import Piece

AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
ARM = build_image([BASE], architecture="arm64")
INDEX = build_index([(ONE, AMD64), (ARM, ARM64)])


@pytest.fixture
def sink(store: Store) -> Iterator[StoreSink]:
    """A sink that adds to `store`."""
    local = local_store(store)
    with local.ingest() as ingest:
        yield StoreSink(local, ingest, Platform("linux", "arm64"))


def put(sink: StoreSink, *pieces: Piece, follow: bool = False) -> None:
    for piece in pieces:
        blob = blob_of(descriptor_of(piece), piece.data)
        sink.put(blob, follow=follow, cancel=CancelToken(), on_bytes=lambda _: None)


def put_document(sink: StoreSink, piece: Piece, *children: str) -> Descriptor:
    listed = [(Digest.parse(child), True) for child in children]
    sink.put_document(descriptor_of(piece), piece.data, listed, CancelToken())
    return descriptor_of(piece)


def put_image(sink: StoreSink, image: BuiltImage, *, follow: bool = False) -> Descriptor:
    put(sink, image.config)
    put(sink, *image.layers, follow=follow)
    return put_document(sink, image.manifest, *(piece.digest for piece in image.blobs()))


def test_a_whole_index_shows_the_image_of_this_machine(sink: StoreSink, store: Store) -> None:
    for image in (ONE, ARM):
        put_image(sink, image)
    sink.name("app:1", put_document(sink, INDEX.index, ONE.digest, ARM.digest))
    assert str(store.get("app:1").id) == ARM.id
    assert {str(each.id) for each in store.images()} == {ARM.id}
    assert str(store.get(ONE.digest).id) == ONE.id
    assert sink.resolve("app:1") == INDEX.digest


def test_images_of_an_index_that_are_not_there(sink: StoreSink, store: Store) -> None:
    root = put_document(sink, INDEX.index, ONE.digest, ARM.digest)
    with pytest.raises((NotFound, Unsupported)):
        sink.name("app:1", root)
    assert sink.resolve("app:1") is None
    put_document(sink, ARM.manifest, *(piece.digest for piece in ARM.blobs()))
    with pytest.raises(NotFound, match="no image below this name is complete"):
        sink.name("app:1", root)
    put_image(sink, ONE)
    sink.name("app:1", root)
    assert str(store.get("app:1").id) == ONE.id


def test_layers_that_are_not_those_of_the_config(sink: StoreSink) -> None:
    wrong = build_image([BASE], compression="none", diff_ids=[sha256(b"another")])
    with pytest.raises(IntegrityError, match="don't match image configuration"):
        put_image(sink, wrong, follow=True)
    manifest = descriptor_of(wrong.manifest)
    assert not sink.has(manifest)
    assert not sink.has_image(manifest)


def test_an_image_that_lost_a_layer(sink: StoreSink, store: Store) -> None:
    put(sink, *ONE.blobs())
    layer = ONE.layers[0].digest
    (store.path / "blobs/sha256" / layer.removeprefix("sha256:")).unlink()
    manifest = put_document(sink, ONE.manifest, *(piece.digest for piece in ONE.blobs()))
    assert not sink.has_image(manifest)
    with pytest.raises(NotFound, match="is missing from the store"):
        sink.image(manifest.digest)


def test_an_artifact_is_no_image(sink: StoreSink) -> None:
    chart = json.loads(ONE.manifest.data)
    chart["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    raw = json.dumps(chart).encode()
    put(sink, *ONE.blobs())
    root = Descriptor.of(raw, ONE.manifest.media_type)
    sink.put_document(root, raw, [], CancelToken())
    with pytest.raises(Unsupported, match="a helm chart"):
        sink.name("app:1", root)


@pytest.mark.parametrize("name", ["", "UPPER", f"app@{ONE.digest}"])
def test_names_that_an_image_cannot_have(sink: StoreSink, name: str) -> None:
    root = put_image(sink, ONE)
    with pytest.raises(InvalidReference):
        sink.name(name, root)


def test_nothing_stays_of_an_image_without_a_name(store: Store) -> None:
    local = local_store(store)
    with contextlib.suppress(KeyError), local.ingest() as ingest:
        put_image(StoreSink(local, ingest, Platform("linux", "amd64")), TWO)
        raise KeyError
    assert store.images() == []
    assert Digest.parse(TWO.layers[1].digest) in store.gc().digests
