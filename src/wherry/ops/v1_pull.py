"""Pull images from a version 1 registry into the local store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from wherry.content.events import Status
from wherry.errors import InvalidDocument, PlatformMismatch, WherryError
from wherry.model.config import chain_ids, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.platform import HOST_SYSTEM
from wherry.model.strict_json import MAX_DOCUMENT
from wherry.ops.platform_check import compare
from wherry.ops.pull_options import PullResult
from wherry.ops.skipped_tags import SkippedTags
from wherry.ops.store_sink import StoredImage, StoreSink
from wherry.ops.v1_layer_pull import V1LayerPull
from wherry.ops.v1_read import read_v1_history, read_v1_platform, without_digests
from wherry.store.v1_ids import V1Id
from wherry.transfer.derive import from_v1
from wherry.transfer.event_queue import queued
from wherry.transfer.progress import Emitter, LayerProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event
    from wherry.content.protocols import Receipt
    from wherry.model.config import ImageConfig
    from wherry.model.digest import Digest
    from wherry.model.manifest import Manifest
    from wherry.model.platform import Platform
    from wherry.model.reference import Reference
    from wherry.ops.pull_options import PullOptions
    from wherry.registry.v1_answers import V1Image
    from wherry.registry.v1_repository import V1Repository
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest


def pull_v1(
    repository: V1Repository,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> PullResult:
    """Pull one image by its tag; idempotent.

    If the pull fails, no name is changed. Layers that have arrived completely stay in the store
    until they are collected, and the next attempt uses them.

    Args:
        repository: The repository, connected.
        store: The store.
        reference: The repository with a tag.
        options: Which platform to pull, and how.
        cancel: Stops the pull.
        listener: Gets the events.

    Raises:
        Unsupported: The reference has a digest, of which version 1 knows none.
        WherryError: The image cannot be pulled.
    """
    if reference.digest is not None:
        raise without_digests(reference)
    reference = reference.with_default_tag()
    with _operation(repository, store, reference, options, cancel, listener) as operation:
        assert reference.tag is not None  # noqa: S101 - set above
        pulled = operation.pull(reference, repository.resolve(reference.tag))
        operation.report_done(updated=pulled.updated)
        return pulled


def pull_all_tags_v1(
    repository: V1Repository,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> list[PullResult]:
    """Pull every tag of a repository, in the order in which the registry lists them.

    A tag whose image is not for this machine is skipped with a warning.

    Raises:
        PlatformMismatch: An image is not for the platform that the caller named, or no image
            is for this machine.
        NotFound: The repository has no tags.
        WherryError: An image cannot be pulled.
    """
    with _operation(repository, store, reference, options, cancel, listener) as operation:
        found = list(operation.pull_tags(repository.tags()))
        operation.report_done(updated=any(pulled.updated for pulled in found))
        return found


@contextlib.contextmanager
def _operation(
    repository: V1Repository,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> Iterator[_V1Pull]:
    store.check_writable()  # fail before a request is sent
    with queued(listener, cancel) as events, store.ingest() as ingest:
        emitter = Emitter(events, reference.familiar)
        yield _V1Pull(repository, store, ingest, reference, options, emitter, cancel)


class _V1Pull:
    """Pulls images of one repository under one lease on the store."""

    def __init__(
        self,
        repository: V1Repository,
        store: LocalStore,
        ingest: Ingest,
        reference: Reference,
        options: PullOptions,
        emitter: Emitter,
        cancel: CancelToken,
    ) -> None:
        self._repository = repository
        self._store = store
        self._ingest = ingest
        self._sink = StoreSink(store, ingest, options.host)
        self._reference = reference
        self._options = options
        self._emitter = emitter
        self._cancel = cancel
        self._pulled: dict[str, StoredImage] = {}

    def pull_tags(self, tags: dict[str, str]) -> Iterator[PullResult]:
        """Pull every tag whose image is for the platform; warn of the others.

        Raises:
            PlatformMismatch: An image is not for the platform that the caller named, or no
                image is for this machine.
            NotFound: There are no tags.
        """
        found, skipped = False, SkippedTags()
        for tag, image_id in tags.items():
            try:
                yield self.pull(self._reference.with_tag(tag), image_id)
                found = True
            except PlatformMismatch as error:
                if self._options.strict:
                    raise
                skipped.add(error)
                self._emitter.warn(f"{tag}: {error.message}; skipped")
        if not found:
            raise skipped.error(self._reference.familiar_name)

    def pull(self, reference: Reference, image_id: str) -> PullResult:
        """Pull one tag, which stands for an image."""
        before = self._images_of(reference)  # a concurrent pull may finish first
        self._emitter.emit(
            Status.RESOLVED, message=f"{reference.tag}: Pulling from {reference.path}"
        )
        try:
            # Many tags may stand for one image.
            image = self._pulled.get(image_id) or self._obtain(image_id)
        except WherryError as error:
            if not error.is_within(reference.domain):
                error.within(reference.familiar)
            raise
        self._pulled[image_id] = image
        record = image.record
        names = {reference} if self._options.names else set()
        self._sink.commit([image], record.manifest, names, (reference.name, image.blobs))
        updated = record.id not in before
        return PullResult(reference, record.manifest, record, updated)

    def _images_of(self, reference: Reference) -> set[Digest]:
        """Return the ids of the images below a name of the store, none if it is new."""
        known = self._store.find(reference)
        return set() if known is None else self._store.ids_below(known)

    def report_done(self, *, updated: bool) -> None:
        """Report the end of the operation."""
        state = "Downloaded newer image for" if updated else "Image is up to date for"
        self._emitter.emit(Status.DONE, message=f"{state} {self._reference.familiar}")

    def _obtain(self, image_id: str) -> StoredImage:
        """Return an image of the store, its layers fetched if need be."""
        chain = self._repository.chain(image_id)
        top, history = chain[0].raw, read_v1_history(chain[::-1])
        self._check_platform(read_v1_platform(chain[0]))
        _convert(top, (), ())  # a bad JSON is refused before a layer is fetched
        layers = V1LayerPull(
            self._repository, self._ingest, self._options.copy, LayerProgress(self._emitter)
        )
        receipts = layers.run(chain, self._cancel)
        manifest, config = _convert(top, history, receipts)
        return self._add(chain, manifest, config, receipts)

    def _check_platform(self, found: Platform) -> None:
        """Refuse an image for another OS, and for another architecture if one was named."""
        for wanted in self._options.platforms:
            error = compare((), found, wanted)
            if error is None:
                continue
            system = found.normalized().os or HOST_SYSTEM
            if self._options.strict or system != wanted.os:
                raise error
            self._emitter.warn(error.message)

    def _add(
        self,
        chain: Sequence[V1Image],
        manifest: Manifest,
        config: ImageConfig,
        layers: Sequence[Receipt],
    ) -> StoredImage:
        """Store the config and the manifest of an image, and record its ids."""
        self._ingest.put_bytes(manifest.config, config.raw, self._cancel)
        root = Descriptor.of(manifest.raw, manifest.media_type)
        edges = [(blob.digest, True) for blob in (manifest.config, *manifest.layers)]
        self._sink.put_document(root, manifest.raw, edges, self._cancel)
        stacked = chain_ids(config.diff_ids)
        self._ingest.record_v1_ids(
            self._repository.reference.domain,
            [
                V1Id(each.id, each.parent, layer.descriptor.digest, chain_id)
                if each is not chain[0]
                else V1Id(each.id, each.parent, layer.descriptor.digest, chain_id, config.id)
                for each, layer, chain_id in zip(reversed(chain), layers, stacked, strict=True)
            ],
        )
        return self._sink.image(root.digest)


def _convert(
    top: bytes, history: Sequence[Mapping[str, Any]], layers: Sequence[Receipt]
) -> tuple[Manifest, ImageConfig]:
    """Return the manifest and the config that docker makes of the image."""
    made = from_v1(top, history, layers)
    if len(made.config) > MAX_DOCUMENT:
        raise InvalidDocument(f"the config of the image is over {MAX_DOCUMENT >> 20} MiB")
    return made.manifest, parse_config(made.config)
