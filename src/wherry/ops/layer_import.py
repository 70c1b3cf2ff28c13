"""The layer of an imported image, and the documents of the image."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from wherry.archive.gnu import ConvertedTar, conversion
from wherry.archive.tar import NotATar, headers
from wherry.archive.tar_stream import TarStream
from wherry.content.codec import PeekedSource, detect
from wherry.content.verify import RawLimit
from wherry.errors import PlatformMismatch
from wherry.model import mediatype
from wherry.model.address import Where
from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, docker_manifest, oci_manifest
from wherry.ops.image_puller import ImagePuller, TargetPlatform
from wherry.ops.import_config import change_settings, make_config
from wherry.ops.open_source import open_image
from wherry.ops.store_sink import StoreSink
from wherry.store.images import ImageRecord
from wherry.transfer.copy_options import CopyOptions
from wherry.transfer.graph import select

if TYPE_CHECKING:
    from wherry.content.protocols import RawStream, Receipt
    from wherry.model.address import Address
    from wherry.ops.import_options import ImportOptions
    from wherry.ops.open_source import Access, SourceImage
    from wherry.ops.store_sink import StoredImage
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest
    from wherry.transfer.graph import Selection
    from wherry.transfer.progress import Emitter

# Layers with other compressions are decompressed.
_LAYER_COMPRESSIONS = {None, "gzip", "zstd"}


class LayerImport:
    """Store a layer, and make the documents of its image."""

    def __init__(
        self,
        store: LocalStore,
        ingest: Ingest,
        options: ImportOptions,
        access: Access,
        emitter: Emitter,
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._options = options
        self._cancel = access.cancel
        self._emitter = emitter
        self._parent: StoredImage | None = None
        if options.parent is not None:
            self._parent = self._obtain(options.parent, access, emitter)
        self._parent_config = None if self._parent is None else store.read(self._parent.record.id)
        self._settings = change_settings(self._parent_config, options.changes)

    def _obtain(self, address: Address, access: Access, emitter: Emitter) -> StoredImage:
        """Bring the parent into the store, wherever it is."""
        with open_image(address, access) as image:
            sink = StoreSink(
                self._store,
                self._ingest,
                self._options.platform,
                repairs=not image.source.verified,  # a store cannot replace its own files
                schema1=True,
            )
            puller = ImagePuller(
                self._store,
                sink,
                image.source,
                emitter,
                CopyOptions(),
                access.cancel,
                verify_signatures=True,
                schema1=self._options.schema1,
            )
            options = self._options
            try:
                wanted = TargetPlatform(options.platform, strict=True) if options.strict else None
                return puller.obtain(self._select(image), wanted)
            except PlatformMismatch as error:
                name = address.name if address.where is Where.STORE else str(address)
                raise error.within(name) from None

    def _select(self, image: SourceImage) -> Selection:
        """Select the parent for the platform, or the image that the store shows."""
        digest, document = image.digest, image.document
        if image.shown is not None and not (self._options.strict and isinstance(document, Index)):
            digest, document = image.shown, image.source.document(image.shown)
        return select(digest, document, self._options.platform, image.source.document)

    def layer(self, stream: RawStream) -> Receipt | None:
        """Store the layer; return None for an empty source."""
        source = PeekedSource(stream)
        if not source.head:
            return None
        is_kept = detect(source.head) in _LAYER_COMPRESSIONS
        content: RawStream = source if is_kept else TarStream(source, self._cancel)
        receipt = self._ingest.put_unknown(content, self._cancel)
        with self._store.open(receipt.descriptor.digest) as file:
            found = _conversions(TarStream(file, self._cancel))
        return self._convert(receipt, found) if found else receipt

    def _convert(self, layer: Receipt, found: Counter[str]) -> Receipt:
        """Store the layer again, with members that container engines can unpack."""
        what = ", ".join(f"{what} ({count})" for what, count in found.items())
        self._emitter.warn(f"converted for other tools, which changes the layer's digest: {what}")
        limit = RawLimit().of(layer.descriptor.size or 0)
        with self._store.open(layer.descriptor.digest) as file:
            converted = ConvertedTar(TarStream(file, self._cancel), limit)
            return self._ingest.put_unknown(converted, self._cancel)

    def image(self, layer: Receipt | None) -> ImageRecord:
        """Make the config and the manifest, and store them."""
        diff_id = None if layer is None else layer.diff_id
        config = make_config(self._parent_config, diff_id, self._settings, self._options)
        blobs = self._keep_given(config)
        manifest = self._manifest(config, layer)
        self._ingest.put_bytes(manifest.config, config, self._cancel)
        children = [manifest.config.digest, *blobs, *(each.digest for each in manifest.layers)]
        root = Descriptor.of(manifest.raw, manifest.media_type)
        edges = [(child, True) for child in children]
        self._ingest.put_document(root, manifest.raw, edges, self._cancel)
        parsed = parse_config(config)
        sizes = {each.digest: each.size or 0 for each in manifest.layers}
        return ImageRecord(
            manifest=root.digest,
            id=manifest.config.digest,
            platform=str(parsed.platform.normalized()),
            created=parsed.created,
            size=sum(sizes.values()) + len(config),
        )

    def _manifest(self, config: bytes, layer: Receipt | None) -> Manifest:
        """Make the manifest, of the parent's kind: docker's or OCI's."""
        parent = None if self._parent is None else self._parent.manifest
        docker = parent is not None and parent.media_type == mediatype.DOCKER_MANIFEST
        layers = [] if parent is None else list(parent.layers)
        if layer is not None:
            kind = mediatype.layer_type(self._compression(layer), docker=docker)
            layers.append(Descriptor(kind, layer.descriptor.digest, layer.descriptor.size))
        if docker:
            return docker_manifest(Descriptor.of(config, mediatype.DOCKER_CONFIG), layers)
        return oci_manifest(Descriptor.of(config, mediatype.OCI_CONFIG), layers)

    def _compression(self, layer: Receipt) -> str | None:
        with self._store.open(layer.descriptor.digest) as file:
            return detect(file.read(8))

    def _keep_given(self, config: bytes) -> list[Digest]:
        """Store the JSON that the caller gave, if the config was made from it."""
        given = self._options.config
        if given is None or given == config:
            return []
        kept = Descriptor.of(given, "application/json")
        self._ingest.put_bytes(kept, given, self._cancel)
        return [kept.digest]


def _conversions(layer: TarStream) -> Counter[str]:
    """Count the members to convert; raises `NotATar` for a layer that is not a tar."""
    found = Counter(filter(None, map(conversion, headers(layer))))
    if not layer.position:
        raise NotATar("is empty, not a tar", expected="a tar", actual="nothing")
    return found
