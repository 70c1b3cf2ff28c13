"""The entries of the archive that holds a set of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive import formats
from wherry.archive.layout_roots import list_root
from wherry.content.protocols import Receipt
from wherry.content.verify import check_rootfs
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest
from wherry.model.v1 import saved_chain
from wherry.ops.blob_writers import BlobWriter, LayerWriter, find_raw_size, find_size, read_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.archive.entry import Entry
    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.ops.blob_writers import SaveProgress
    from wherry.ops.image_to_save import ImageToSave
    from wherry.ops.save_options import Format


class ArchiveEntries:
    """List the entries of an archive; blobs are read when the entries are written."""

    def __init__(self, progress: SaveProgress, cancel: CancelToken) -> None:
        self._progress = progress
        self._cancel = cancel

    def of(self, images: Sequence[ImageToSave], form: Format) -> Iterator[Entry]:
        """Return the entries for ``images``, in the order in which they are written."""
        if form == "docker":
            return formats.docker_entries([self._docker_image(each) for each in images])
        contents: dict[Digest, formats.LayoutBlob] = {}
        for each in images:
            for content in self._contents(each, each.root.digest):
                contents.setdefault(content.descriptor.digest, content)
        if form == "dir":
            return formats.flat_entries(images[0].root.digest, contents.values())
        roots = [(list_root(each.root, each.fetch), each.names) for each in images]
        for root, _ in roots:
            for document in root.documents:
                made = Descriptor.of(document.raw, document.media_type)
                contents[made.digest] = formats.LayoutBlob(made, document.raw)
        return formats.layout_entries(roots, contents.values())

    def _docker_image(self, chosen: ImageToSave) -> formats.DockerImage:
        source, manifest = chosen.image.source, chosen.manifest
        config = read_config(source, manifest.config)
        check_rootfs(config, [Receipt(layer) for layer in manifest.layers])
        chosen.v1_ids = tuple(v1_id for v1_id, _ in saved_chain(config.raw, config.diff_ids))
        layers = []
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            known, size = chosen.image.facts(layer.digest)
            if size is None:
                size = find_raw_size(source, layer, self._cancel)
            verified = known == diff_id
            writer = LayerWriter(source, layer, diff_id, size, self._progress, verified=verified)
            layers.append(formats.UncompressedLayer(size, writer))
        return formats.DockerImage(
            config.raw, manifest.config.digest, config.diff_ids, layers, chosen.references
        )

    def _contents(self, chosen: ImageToSave, digest: Digest) -> Iterator[formats.LayoutBlob]:
        """Yield a document and all below it, leaves first."""
        source, document = chosen.image.source, chosen.fetch(digest)
        if isinstance(document, Index):
            for entry in document.manifests:
                yield from self._contents(chosen, entry.digest)
        elif isinstance(document, Manifest):
            layers = [find_size(source, layer, self._cancel) for layer in document.layers]
            for blob in (*layers, document.config):
                yield formats.LayoutBlob(blob, copy=BlobWriter(source, blob, self._progress))
        descriptor = Descriptor(document.media_type, digest, len(document.raw))
        yield formats.LayoutBlob(descriptor, data=document.raw)
