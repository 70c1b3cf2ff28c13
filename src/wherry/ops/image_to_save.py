"""Select what to save of an image: a manifest, or an index as far as it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.read_blob import read_blob
from wherry.errors import PlatformMismatch, Unsupported
from wherry.model.config import read_platform
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest
from wherry.ops.partial_index import PartialIndex
from wherry.ops.platform_check import find_mismatch
from wherry.transfer.graph import Selection, check_layers, select, select_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.model.reference import Reference
    from wherry.ops.open_source import SourceImage
    from wherry.ops.save_options import SaveOptions
    from wherry.transfer.progress import Emitter


class ImageToSave:
    """An image, the root to write, and the manifest that represents it.

    ``names`` are the names in the archive, with the reference of each that is a whole name.
    ``v1_ids`` are the ids of the layers in a docker archive, bottom first.
    """

    def __init__(
        self,
        image: SourceImage,
        digest: Digest,
        document: Document,
        manifest: Manifest,
        fetch: Callable[[Digest], Document],
    ) -> None:
        self.image = image
        self.root = Descriptor(document.media_type, digest, len(document.raw))
        self.manifest = manifest
        self.names: dict[str, Reference | None] = {}
        self.v1_ids: tuple[str, ...] = ()
        self._document = document
        self._fetch = fetch

    def fetch(self, digest: Digest) -> Document:
        """Return the root or a document below it; raises `NotFound`."""
        return self._document if digest == self.root.digest else self._fetch(digest)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The whole names."""
        return tuple(name for name in self.names.values() if name is not None)


def choose_image(
    image: SourceImage, options: SaveOptions, platform: Platform | None, emitter: Emitter
) -> ImageToSave:
    """Select the root to save; warn if it is not the root that the name stands for.

    Raises:
        PlatformMismatch: There is no image for the platform.
        Unsupported: The image is an artifact, or has docker's schema1 format.
    """
    digest, manifest = _find_manifest(image, options, platform)
    if platform is not None:
        _check_platform(image, manifest, options, platform)
    if options.format != "docker" and platform is None and digest != image.digest:
        if isinstance(image.document, Index):
            index = _whole_index(image, image.document, digest, emitter)
            if index is not None:
                return ImageToSave(image, index.digest, index.root, manifest, index.document)
        else:
            emitter.warn(f"saved as {digest}: such an archive cannot hold schema1")
    return ImageToSave(image, digest, manifest, manifest, image.source.document)


def _whole_index(
    image: SourceImage, root: Index, manifest: Digest, emitter: Emitter
) -> PartialIndex | None:
    """Return the index as far as it is there, or None if it lacks images."""
    index = PartialIndex(image, image.digest, root)
    if index.lacks_image:
        emitter.warn(f"saved as {manifest}: the index's other images are not there")
        return None
    if index.missing:
        others = "an entry" if index.missing == 1 else f"{index.missing} entries"
        lacks = f"without {others} of the index, attestations or the like"
        emitter.warn(f"saved as {index.digest}: {lacks}, not there")
    return index


def _check_platform(
    image: SourceImage, manifest: Manifest, options: SaveOptions, platform: Platform
) -> None:
    selection = _select(image, options, platform)
    config = read_blob(image.source, manifest.config)
    error = find_mismatch(selection, read_platform(config), platform)
    if error is not None:
        raise error


def _find_manifest(
    image: SourceImage, options: SaveOptions, platform: Platform | None
) -> tuple[Digest, Manifest]:
    """Return the manifest for a platform, or the manifest that the store shows."""
    if platform is None and image.shown is not None:
        digest, found = image.shown, image.source.document(image.shown)
    else:
        selection = _select(image, options, platform)
        digest, found = selection.digest, selection.manifest
        if (
            not isinstance(found, Manifest)
            and (made := image.converted_manifest(digest)) is not None
        ):
            digest, found = made, image.source.document(made)
    if not isinstance(found, Manifest):
        raise Unsupported(
            "schema1 has to be converted before it can be saved", hint="pull it into the store"
        )
    if found.artifact is not None:
        raise Unsupported(f"this is {found.artifact}, not an image")
    check_layers(Selection((), digest, found))
    return digest, found


def _select(image: SourceImage, options: SaveOptions, platform: Platform | None) -> Selection:
    """Select the image for a platform; a layout accepts any without a platform."""
    root, fetch = (image.digest, image.document), image.source.document
    try:
        return select(*root, platform or options.host, fetch)
    except PlatformMismatch:
        if platform is not None or options.format == "docker":
            raise
        return select_all(*root, fetch, sparse=True)[0]
