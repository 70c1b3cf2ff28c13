"""The local store as a sink of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.content.protocols import Receipt
from wherry.content.verify import VerifiedLayer, check_rootfs
from wherry.errors import IntegrityError, NotFound, Unsupported
from wherry.model import mediatype
from wherry.model.config import ImageConfig, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.store.images import ImageRecord
from wherry.transfer.graph import Selection, select_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.schema1 import Schema1
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest


class StoredImage(Record):
    """A complete image in the store, and its manifest, which may be converted."""

    record: ImageRecord
    platform: Platform
    manifest: Manifest

    @property
    def blobs(self) -> set[Digest]:
        """The config and the layers."""
        return {self.record.id, *(layer.digest for layer in self.manifest.layers)}


class StoreSink:
    """A store to add to, under one lease. Thread-safe.

    Images are checked before their manifests are stored.

    Args:
        store: The store.
        ingest: The operation that adds to it.
        host: The platform of the image that a name shows, if an index has several.
        verify: Whether the DiffIDs of an image have to be known.
        repairs: Whether damaged files are removed, so that they are fetched again.
        schema1: Whether schema1 images are converted, since the caller has checked them.
    """

    remote = False
    mounts = False
    ordered = False
    indexes = True
    keeps_referrers = False
    layer_compression = "keep"
    follows = True

    def __init__(
        self,
        store: LocalStore,
        ingest: Ingest,
        host: Platform,
        *,
        verify: bool = True,
        repairs: bool = False,
        schema1: bool = False,
    ) -> None:
        self.label = ingest.label
        self.image_limit = ingest.image_limit
        self._store = store
        self._ingest = ingest
        self._host = host
        self._verify = verify
        self._repairs = repairs
        self._schema1 = schema1
        self._images: dict[Digest, StoredImage] = {}

    # Blobs

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether a blob is stored, and keep it until the lease ends."""
        # A look needs no transaction, and most blobs are not stored.
        return self._store.holds(descriptor.digest) and self._ingest.has(descriptor)

    def read_config(self, descriptor: Descriptor) -> ImageConfig:
        """Return the config of an image; raises `InvalidDocument`."""
        return parse_config(self._store.read(descriptor.digest))

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Store a blob as `Ingest.put` does; a damaged config is replaced."""
        if blob.exact:
            self._check_config_file(blob.descriptor.digest)
        return self._ingest.put(blob, follow=follow, cancel=cancel, on_bytes=on_bytes)

    def _check_config_file(self, config: Digest) -> None:
        """Read a config that another image may have stored."""
        if not self._store.holds(config):
            return
        try:
            self._store.read(config)
        except NotFound:  # it was collected meanwhile
            pass
        except IntegrityError as error:
            self._remove(error)

    def _remove(self, damaged: IntegrityError) -> None:
        if not self._repairs:
            raise damaged
        self._ingest.remove_damaged(Digest.parse(damaged.expected))

    # Images

    def has_image(self, manifest: Descriptor) -> bool:
        """Tell whether an image is complete and checked, and keep it until the lease ends."""
        known: Digest | None = manifest.digest
        if manifest.media_type.lower() in mediatype.SCHEMA1:
            known = self._store.converted_manifest(manifest.digest)
        record = None if known is None else self._store.image(known)
        if record is None:
            return False
        try:
            image = self._read_image(record)
            root = record.manifest
            if root != manifest.digest:
                root = _own_digest(manifest.digest, self._store.document(manifest.digest).raw)
        except NotFound:
            return False  # it was collected meanwhile, or removed because of damage
        except IntegrityError as error:
            self._remove(error)
            return False
        wanted = {*image.blobs, record.manifest, root}
        if not self._ingest.hold(wanted).issuperset(wanted):
            return False
        if self._store.image(record.manifest) is None:
            return False  # it was collected before the lease held it
        if self._verify and not self._ingest.all_followed(image.blobs - {record.id}):
            return False  # it was pulled without verification
        self._images[manifest.digest] = image
        return True

    def _read_image(self, record: ImageRecord) -> StoredImage:
        manifest = self._store.document(record.manifest)
        assert isinstance(manifest, Manifest)  # noqa: S101 - the store has images of no other kind
        platform = self.read_config(manifest.config).platform
        return StoredImage(record, platform, manifest)

    def image(self, digest: Digest) -> StoredImage:
        """Return an image that was found or stored since the last commit, by its manifest.

        Raises:
            NotFound: Another process has removed a damaged file of it.
        """
        if digest not in self._images:
            raise NotFound(f"some of {digest} is missing from the store", hint="pull it again")
        return self._images[digest]

    # Documents

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Store a document after what it names; idempotent.

        Raises:
            IntegrityError: An image has other DiffIDs than its config says.
            Unsupported: The document is in docker's schema1 format.
        """
        document = parse(raw, descriptor.media_type)
        if not isinstance(document, Index | Manifest):
            self._put_schema1(descriptor, document, cancel)
            return
        if isinstance(document, Manifest) and self._is_complete(document):
            self._images[descriptor.digest] = self._checked(descriptor.digest, document)
        self._ingest.put_document(descriptor, raw, children, cancel)

    def _put_schema1(self, descriptor: Descriptor, signed: Schema1, cancel: CancelToken) -> None:
        """Store what a schema1 image is converted to, and then its own manifest."""
        from wherry.ops.schema1 import convert

        if not self._schema1:
            raise Unsupported(
                "the store cannot hold docker's schema1 format",
                hint="`wherry pull` converts the image",
            )
        layers = Selection((), descriptor.digest, signed).layers
        manifest, config = convert(signed, [self._receipt(layer) for layer in layers])
        self._ingest.put_bytes(manifest.config, config.raw, cancel)
        made = Descriptor.of(manifest.raw, manifest.media_type)
        edges = [(blob.digest, True) for blob in (manifest.config, *manifest.layers)]
        self.put_document(made, manifest.raw, edges, cancel)
        self._images[descriptor.digest] = self._images[made.digest]
        own = descriptor._replace(digest=_own_digest(descriptor.digest, signed.raw))
        above = [(made.digest, True)]
        self._ingest.put_document(own, signed.raw, above, cancel, descriptor.digest)

    def _is_complete(self, manifest: Manifest) -> bool:
        """Tell whether a manifest is that of an image, and all of it is stored."""
        blobs = (manifest.config, *manifest.layers)
        return manifest.artifact is None and all(self._store.holds(each.digest) for each in blobs)

    def _checked(self, digest: Digest, manifest: Manifest) -> StoredImage:
        """Compare the layers of an image with its config."""
        config = self.read_config(manifest.config)
        layers = [self._receipt(layer) for layer in manifest.layers]
        check_rootfs(config, layers)
        for diff_id, layer in zip(config.diff_ids, layers, strict=True):
            # Other algorithms than sha256 are computed only here.
            if self._verify and diff_id.algorithm != "sha256":
                found = layer.descriptor.digest
                with VerifiedLayer(self._store.open(found), diff_id, found) as content:
                    content.drain()
        sizes = {layer.descriptor.digest: layer.descriptor.size or 0 for layer in layers}
        record = ImageRecord(
            manifest=digest,
            id=manifest.config.digest,
            platform=str(config.platform.normalized()),
            created=config.created,
            size=sum(sizes.values()) + len(config.raw),
        )
        return StoredImage(record, config.platform, manifest)

    def _receipt(self, layer: Descriptor) -> Receipt:
        facts = self._store.facts(layer.digest)
        return Receipt(layer._replace(size=facts.size), facts.diff_id, facts.raw_size)

    # Names

    def resolve(self, name: str) -> Digest | None:
        """Return the root that a name of the store stands for, or None."""
        found = self._store.find(Reference.parse_new(name))
        return None if found is None else found.root

    def name(self, name: str, root: Descriptor) -> None:
        """Record the images below a root that are complete, and pin a name on it.

        Raises:
            InvalidReference: The text is not a name.
            NotFound: No image below the root is complete.
            Unsupported: There is no image below the root.
            IntegrityError: An image has other DiffIDs than its config says.
        """
        reference = Reference.parse_new(name)
        found = list(self._complete_images(root.digest))
        if not found:
            raise NotFound("no image below this name is complete").within(name)
        self.commit(found, root.digest, {reference})

    def _complete_images(self, root: Digest) -> Iterator[StoredImage]:
        """Yield the images below a root, as far as they are stored."""
        fetch = Budget().limit(self._store.document)
        for each in select_all(root, self._store.document(root), fetch, sparse=True):
            if each.digest in self._images:
                yield self._images[each.digest]
            elif isinstance(each.manifest, Manifest):
                blobs = {each.digest for each in (each.manifest.config, *each.manifest.layers)}
                if self._ingest.hold(blobs) == blobs:
                    yield self._checked(each.digest, each.manifest)

    def commit(
        self,
        images: Sequence[StoredImage],
        root: Digest,
        names: Collection[Reference],
        provenance: tuple[str, Collection[Digest]] | None = None,
    ) -> StoredImage:
        """Record complete images and pin names on their root, in one transaction.

        Args:
            images: The images.
            root: The document that the names stand for.
            names: Tags and digests.
            provenance: A repository (``host/path``) and the blobs that it is known to have.

        Returns:
            The image that the names show: the best one for this machine.

        Raises:
            NotFound: Some of an image is missing.
        """
        shown = min(images, key=self._preference)
        records = [image.record for image in images]
        self._ingest.commit(records, shown.record.manifest, root, names, provenance)
        self._images.clear()
        return shown

    def _preference(self, image: StoredImage) -> int:
        rank = self._host.rank(image.platform)
        return 1000 if rank is None else rank


def _own_digest(known_as: Digest, raw: bytes) -> Digest:
    """Return the digest of a document's bytes; registries know signed schema1 by another one."""
    return known_as if known_as.matches(raw) else Digest.of(raw, known_as.algorithm)
