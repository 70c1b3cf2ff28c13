"""Images that tests put into sinks, and helpers that put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.streams import blob_of
from wherry.model.address import Address
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.ops.open_archive_sink import open_archive_sink
from wherry.testing import build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.archive.archive_sink import ArchiveSink
    from wherry.testing import BuiltImage
    from wherry.testing.images import Piece

BASE = tar_layer({"etc/os-release": b"ID=base\n"})
# Uncompressed layers have their DiffIDs as digests, so docker archives take them too.
ONE, TWO = (
    build_image([BASE, tar_layer({name: b"data" * 1000})], compression="none")
    for name in ("one", "two")
)


def open_sink(address: str) -> ArchiveSink:
    """Open an archive or layout to write to."""
    return open_archive_sink(Address.parse(address), CancelToken())


def put(sink: ArchiveSink, *pieces: Piece) -> None:
    """Put blobs into a sink."""
    for piece in pieces:
        blob = blob_of(descriptor_of(piece), piece.data)
        sink.put(blob, cancel=CancelToken(), on_bytes=lambda _: None)


def put_image(sink: ArchiveSink, image: BuiltImage) -> Descriptor:
    """Put an image into a sink; return its root, which has no name yet."""
    put(sink, image.config, *image.layers)
    return put_manifest(sink, image)


def put_manifest(sink: ArchiveSink, image: BuiltImage) -> Descriptor:
    """Put the manifest of an image into a sink; return its descriptor."""
    root = descriptor_of(image.manifest)
    children = [(Digest.parse(piece.digest), True) for piece in image.blobs()]
    sink.put_document(root, image.manifest.data, children, CancelToken())
    return root


def copy_to(address: str, image: BuiltImage, *names: str) -> None:
    """Put an image into an archive or layout and give it names."""
    with open_sink(address) as sink:
        root = put_image(sink, image)
        for name in names or ("",):
            sink.name(name, root)


def descriptor_of(piece: Piece) -> Descriptor:
    """Return the descriptor of a blob or document."""
    return Descriptor(piece.media_type, Digest.parse(piece.digest), piece.size)


def tree(path: Path) -> dict[str, bytes]:
    """Return the content of all files at or below a path."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
