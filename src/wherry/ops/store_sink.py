"""The local store as a sink of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.content.protocols import Receipt
from wherry.content.verify import check_rootfs
from wherry.errors import NotFound, Unsupported
from wherry.model import mediatype
from wherry.model.config import ImageConfig, parse_config
from wherry.model.manifest import Manifest
from wherry.model.reference import Reference
from wherry.store.images import ImageRecord
from wherry.transfer.graph import select_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.platform import Platform
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest


class StoreSink:
    """A store to add to, under one lease. Thread-safe.

    Args:
        store: The store.
        ingest: The operation that adds to it.
        host: The platform of the image that a name shows, if an index has several.
    """

    remote = False
    mounts = False
    ordered = False
    indexes = True
    keeps_referrers = False
    layer_compression = "keep"
    follows = True

    def __init__(self, store: LocalStore, ingest: Ingest, host: Platform) -> None:
        self.label = ingest.label
        self.image_limit = ingest.image_limit
        self.has, self.put = ingest.has, ingest.put
        self._store = store
        self._ingest = ingest
        self._host = host

    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Store a document after what it names; idempotent.

        Raises:
            Unsupported: The document is in docker's schema1 format.
        """
        if descriptor.media_type.lower() in mediatype.SCHEMA1:
            raise Unsupported(
                "the store cannot hold docker's schema1 format",
                hint="`wherry pull` converts the image",
            )
        self._ingest.put_document(descriptor, raw, children, cancel)

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
        found = {}
        for manifest, digest in self._manifests(root.digest):
            if all(map(self._ingest.has, (manifest.config, *manifest.layers))):
                config = parse_config(self._store.read(manifest.config.digest))
                found[digest] = (self._record(digest, manifest, config), config)
        if not found:
            raise NotFound("no image below this name is complete").within(name)
        shown = min(found, key=lambda digest: self._rank(found[digest][1]))
        records = [record for record, _ in found.values()]
        self._ingest.commit(records, shown, root.digest, {reference})

    def _manifests(self, root: Digest) -> list[tuple[Manifest, Digest]]:
        """Return the manifests of images below a root, as far as they are stored."""
        fetch = Budget().limit(self._store.document)
        every = select_all(root, self._store.document(root), fetch, sparse=True)
        found = [(each.manifest, each.digest) for each in every]
        return [(each, digest) for each, digest in found if isinstance(each, Manifest)]

    def _record(self, digest: Digest, manifest: Manifest, config: ImageConfig) -> ImageRecord:
        facts = {layer.digest: self._store.facts(layer.digest) for layer in manifest.layers}
        receipts = [Receipt(layer, facts[layer.digest].diff_id) for layer in manifest.layers]
        check_rootfs(config, receipts)
        return ImageRecord(
            manifest=digest,
            id=manifest.config.digest,
            platform=str(config.platform.normalized()),
            created=config.created,
            size=sum(each.size or 0 for each in facts.values()) + len(config.raw),
        )

    def _rank(self, config: ImageConfig) -> int:
        rank = self._host.rank(config.platform)
        return 1000 if rank is None else rank
