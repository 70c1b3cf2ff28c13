"""Archives of ``docker save`` since engine 1.10, with a ``manifest.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.archive.archive import Archive
from wherry.archive.files import read
from wherry.archive.select_image import ABORTING, ListedImage, choose, same_name
from wherry.content.codec import decompress, detect
from wherry.content.protocols import Opened
from wherry.content.read_blob import DAMAGED
from wherry.content.streams import CountingReader, StreamReader, open_bytes
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError, InvalidDocument, NotFound, Unsupported, WherryError
from wherry.model import mediatype
from wherry.model._fields import as_object, load_array
from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import docker_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.archive.files import Files
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Stream
    from wherry.model.address import Address
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document, Manifest

MANIFEST, REPOSITORIES = "manifest.json", "repositories"
MAX_IMAGES = 10_000
MAX_LAYERS = 100_000  # of all images together
_MAX_DEPTH = 8
_CHUNK = 256 * 1024


class ManifestItem(NamedTuple):
    """An entry of ``manifest.json``: files, layers bottom first, and names.

    ``fault`` is the error of an entry that cannot be read.
    """

    config: str
    layers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    fault: InvalidDocument | None = None


def parse_items(raw: bytes) -> list[ManifestItem]:
    """Parse ``manifest.json``; an invalid entry is returned with its fault.

    Lists may be ``null``, which Go's encoder writes for an empty slice.

    Raises:
        InvalidDocument: The document is not an array, or has too many entries or layers.
    """
    entries = load_array(raw, MANIFEST, max_depth=_MAX_DEPTH)
    if len(entries) > MAX_IMAGES:
        raise InvalidDocument(f"{MANIFEST} has {len(entries)} entries, at most {MAX_IMAGES}")
    found = [_item(entry, f"{MANIFEST}[{place}]") for place, entry in enumerate(entries)]
    check_layers(sum(len(item.layers) for item in found))
    return found


def _item(value: object, path: str) -> ManifestItem:
    names: tuple[str, ...] = ()
    try:
        entry = as_object(value, path)
        names = entry.texts("RepoTags")
        config, layers = entry.text("Config"), entry.texts("Layers")
        if not config:
            entry.fail("Config", "is missing, expected a file's name")
        if "" in layers:
            entry.fail(f"Layers[{layers.index('')}]", "is empty, expected a file's name")
    except InvalidDocument as error:
        return ManifestItem(path, names=names, fault=error)
    return ManifestItem(config, layers, names)


def check_layers(count: int) -> None:
    """Raise `InvalidDocument` for too many layers of all images together."""
    if count > MAX_LAYERS:
        raise InvalidDocument(f"its images have more than {MAX_LAYERS:,} layers together")


class DockerArchive(Archive):
    """An archive of ``docker save``, whose manifests are generated as in skopeo.

    Layers are read uncompressed and named by their DiffIDs, even if the archive compresses them.
    Skopeo's manifests give the media type of compressed layers all the same. By default the
    bytes of the manifests are the same as skopeo's, so that the digests agree; with ``true_types``
    they have the true types. The parsed descriptors always have the true types.
    """

    makes_manifests = True

    def __init__(self, files: Files, cancel: CancelToken, *, true_types: bool = False) -> None:
        super().__init__(files)
        self._cancel = cancel
        self._true_types = true_types
        self._blobs: dict[Digest, str] = {}
        self._configs: dict[Digest, ManifestItem] = {}  # whose configs are read again
        self._sizes: dict[str, int] = {}  # of uncompressed layers
        self._packed: set[str] = set()
        self._hashed: dict[str, str] = {}  # sha256 of uncompressed layers
        self._manifests: dict[Digest, Manifest] = {}
        try:
            self._items = self._read_items()
        except WherryError as error:
            raise error.within(files.path) from None

    def _read_items(self) -> list[ManifestItem]:
        return parse_items(read(self._files, MANIFEST))

    def _config(self, item: ManifestItem) -> bytes:
        return read(self._files, item.config)

    def images(self) -> list[ListedImage]:
        """Return all images with their names."""
        return [ListedImage(item.names, self._found(item), item.config) for item in self._items]

    def _found(self, item: ManifestItem) -> Descriptor | WherryError:
        try:
            return self._root(item)
        except ABORTING:
            raise
        except WherryError as error:
            return error

    def resolve(self, address: Address) -> Descriptor:
        """Return the root of an image; raises `NotFound`, with the names in the archive."""
        item = self._meant(address)
        if item is not None:
            return self._root(item)
        unnamed = address.reference is None
        return choose(self._files.path, self.images(), address.name, lambda _: unnamed).root

    def config(self, address: Address) -> bytes:
        """Return the bytes of an image's config; raises as `resolve` does."""
        item = self._meant(address)
        if item is None or item.fault is not None:
            root = self.resolve(address)
            return self._config(self._configs[self._manifests[root.digest].config.digest])
        return self._config(item)

    def _meant(self, address: Address) -> ManifestItem | None:
        """Return the entry of an image; None if no entry or several may be meant."""
        if address.position is not None:
            if address.position >= len(self._items):
                raise NotFound(
                    f"there is no image @{address.position} in it",
                    hint=f"it has {len(self._items)}, counted from 0",
                ).within(self._files.path)
            return self._items[address.position]
        wanted = address.reference
        if wanted is None and len(self._items) == 1:
            return self._items[0]
        for item in self._items:
            if wanted is not None and any(same_name(name, wanted) for name in item.names):
                return item
        return None

    def document(self, digest: Digest) -> Document:
        """Return a manifest whose digest `resolve` or `images` has returned."""
        found = self._manifests.get(digest)
        if found is None:
            raise NotFound(f"there is no manifest {digest} in it").within(self._files.path)
        return found

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        """Open a config or an uncompressed layer; a layer may start at 0 instead."""
        item = self._configs.get(descriptor.digest)
        if item is not None:
            return open_bytes(self._config(item), offset)
        name = self._blobs.get(descriptor.digest)
        if name is None:
            raise NotFound(f"there is no {descriptor.digest} in it").within(self._files.path)
        if name in self._packed:
            return Opened(_LayerStream(self._files.open(name).stream, cancel), 0, descriptor.size)
        return self._files.open(name, offset)

    def _root(self, item: ManifestItem) -> Descriptor:
        """Generate the manifest of an image and record the files of its blobs."""
        if item.fault is not None:
            raise item.fault.within(self._files.path)
        try:
            manifest = self._manifest(item)
        except WherryError as error:
            raise error.within(item.config).within(self._files.path) from None
        root = Descriptor.of(manifest.raw, manifest.media_type)
        self._manifests[root.digest] = manifest
        return root

    def _manifest(self, item: ManifestItem) -> Manifest:
        raw = self._config(item)
        config = Descriptor.of(raw, mediatype.DOCKER_CONFIG)
        diff_ids = parse_config(raw).diff_ids
        if len(diff_ids) != len(item.layers):
            raise IntegrityError(
                f"{len(diff_ids)} DiffIDs for {len(item.layers)} layers",
                expected=str(len(diff_ids)),
                actual=str(len(item.layers)),
            )
        self._configs[config.digest] = item
        layers = []
        for listed, diff_id in zip(item.layers, diff_ids, strict=True):
            name = self._files.real(listed)  # many links may point to one layer
            size = self._raw_size(name)
            self._remember(diff_id, name)
            layers.append(Descriptor(mediatype.DOCKER_PLAIN_LAYER, diff_id, size))
        if self._true_types:
            return docker_manifest(config, layers)
        untrue = [layer._replace(media_type=mediatype.DOCKER_LAYER) for layer in layers]
        return docker_manifest(config, untrue).replace(layers=tuple(layers))

    def _remember(self, diff_id: Digest, name: str) -> None:
        """Record the file of a layer; of two such files, prefer one with the right digest."""
        known = self._blobs.setdefault(diff_id, name)
        if known != name and not self._has_diff_id(known, diff_id):
            self._blobs[diff_id] = name

    def _has_diff_id(self, name: str, diff_id: Digest) -> bool:
        """Tell whether a file has the DiffID."""
        if name not in self._hashed:
            hasher = diff_id.hasher()
            for data in self._plain(name):
                hasher.update(data)
            self._hashed[name] = hasher.hexdigest()
        return self._hashed[name] == diff_id.hex

    def _raw_size(self, name: str) -> int:
        """Return the size of an uncompressed layer, which may require decompressing it."""
        if name not in self._sizes:
            size = self._files.size(name)
            if self._is_packed(name):
                self._packed.add(name)
                size = self._count(name)
            self._sizes[name] = size
        return self._sizes[name]

    def _is_packed(self, name: str) -> bool:
        stream = self._files.open(name).stream
        try:
            return detect(stream.read1(8)) is not None
        finally:
            stream.close()

    def _count(self, name: str) -> int:
        return sum(map(len, self._plain(name)))

    def _plain(self, name: str) -> Iterator[bytes]:
        """Yield the uncompressed content of a layer."""
        stream = _LayerStream(self._files.open(name).stream, self._cancel)
        try:
            while data := stream.read1(_CHUNK):
                self._cancel.check()
                yield data
        except IntegrityError as error:
            error.hint = DAMAGED
            raise error.within(name) from error.__cause__
        except Unsupported as error:
            raise error.within(name) from None
        finally:
            stream.close()


class _LayerStream:
    """A decompressed layer as a stream, with the size limit of layers."""

    def __init__(self, stream: Stream, cancel: CancelToken) -> None:
        self._stream = stream
        self._arrived = CountingReader(StreamReader(stream))
        self._plain = decompress(self._arrived, cancel.check)
        self._total = 0

    def read1(self, size: int) -> bytes:
        buffer = bytearray(size)
        count = self._plain.readinto(buffer)
        self._total += count
        limit = RawLimit().of(self._arrived.size)
        if self._total > limit:
            raise Unsupported(f"it decompresses to more than {limit:,} bytes")
        return bytes(memoryview(buffer)[:count])

    def close(self) -> None:
        self._stream.close()
