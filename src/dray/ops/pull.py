"""Pull: an image from its registry into the local store, verified, the name last."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dray.content.events import Event, Status
from dray.errors import DrayError, NotFound, PlatformMismatch, Unsupported
from dray.model.config import parse_config
from dray.model.descriptor import Descriptor
from dray.model.digest import Digest
from dray.model.manifest import Manifest, digest_of
from dray.registry.hosts import endpoints
from dray.registry.repository import Repository
from dray.store.images import ImageRecord
from dray.transfer.copy import CopyOptions, ImageCopy
from dray.transfer.graph import Selection, select
from dray.transfer.progress import Emitter, LayerProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from dray.content.cancel import CancelToken
    from dray.content.ports import Receipt
    from dray.model.config import ImageConfig
    from dray.model.manifest import Document
    from dray.model.platform import Platform
    from dray.model.reference import Reference
    from dray.registry.session import Session
    from dray.store import LocalStore
    from dray.store.ingest import Ingest


class PullOptions(NamedTuple):
    """``platform`` is the one wanted; ``strict`` if somebody asked for it by name."""

    platform: Platform
    strict: bool = False
    insecure: bool = False
    verify_signatures: bool = True
    copy: CopyOptions = CopyOptions()


class Pulled(NamedTuple):
    """The outcome: ``root`` is what the name stands for, ``updated`` if it did not before."""

    reference: Reference
    root: Digest
    image: ImageRecord
    updated: bool


def pull(
    session: Session,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> Pulled:
    """Pull one image by tag or digest (``latest`` where there is neither); idempotent.

    SPEC: "Manifests and images", "Transfers". Raises any `DrayError`; then no name has been
    changed, and what has arrived so far stays for the next attempt.
    """
    reference = reference.with_default_tag()
    with _Pull(session, store, reference, options, cancel, listener) as operation:
        pulled = operation.one(reference)
        operation.done(pulled.updated)
        return pulled


def pull_all_tags(
    session: Session,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> list[Pulled]:
    """Pull every tag of a repository, in the order in which the registry lists them.

    Tags of what is no image (signatures stand beside the images they sign) are passed over
    with a warning. Otherwise as `pull`.
    """
    with _Pull(session, store, reference, options, cancel, listener) as operation:
        found = list(operation.images(reference.with_tag(tag) for tag in operation.tags()))
        if not found:
            raise NotFound(f"{reference.familiar_name}: the repository has no tagged images")
        operation.done(any(pulled.updated for pulled in found))
        return found


class _Pull:
    """One call: a repository, a lease on the store, somebody who listens."""

    def __init__(
        self,
        session: Session,
        store: LocalStore,
        reference: Reference,
        options: PullOptions,
        cancel: CancelToken,
        listener: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._reference = reference
        self._options = options
        self._cancel = cancel
        self._emitter = Emitter(listener, reference.familiar)
        self._repository = Repository(
            session,
            reference,
            endpoints(reference, insecure=options.insecure),
            cancel,
            warn=self._emitter.warn,
            on_retry=self._emitter.retrying,
        )
        self._ingest: Ingest = store.ingest()

    def __enter__(self) -> Self:
        self._ingest.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ingest.__exit__(*failure)  # type: ignore[arg-type]

    def tags(self) -> Iterator[str]:
        return self._repository.tags()

    def images(self, references: Iterable[Reference]) -> Iterator[Pulled]:
        for reference in references:
            try:
                yield self.one(reference)
            except Unsupported as error:
                self._emitter.warn(f"{reference.familiar}: {error}; passed over")

    def one(self, reference: Reference) -> Pulled:
        """Pull one name; its `Pulled` tells whether anything is new.

        A tag beside a digest is not looked at, and not set.
        """
        if reference.digest is not None:
            reference = reference.with_digest(reference.digest)
        try:
            selection = self._select(reference)
            content = self._present(selection) or self._fetch(selection)
        except DrayError as error:
            if not error.message.startswith(reference.domain):
                error.subject = reference.familiar
            raise
        self._emitter.emit(Status.DIGEST, selection.root)
        return self._name(reference, selection, content)

    def done(self, updated: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        state = "Downloaded newer image for" if updated else "Image is up to date for"
        self._emitter.emit(Status.DONE, message=f"{state} {self._reference.familiar}")

    # Documents

    def _select(self, reference: Reference) -> Selection:
        """Resolve a name and walk to the manifest for the platform, asking the store first."""
        known = self._store.find(reference) if reference.digest else None
        resolved = None if known else self._repository.resolve(reference)
        digest = known.root if known else resolved.digest  # type: ignore[union-attr]
        document = resolved.document if resolved else None
        if document is None:
            document = self._document(digest, reference.tag if not reference.digest else None)
        what = reference.digest or reference.tag
        self._emitter.emit(Status.RESOLVED, message=f"{what}: Pulling from {reference.path}")
        return select(digest, document, self._options.platform, self._document)

    def _document(self, digest: Digest, tag: str | None = None) -> Document:
        try:
            return self._store.document(digest)
        except NotFound:
            return self._repository.document(digest, tag)

    # Content

    def _present(self, selection: Selection) -> _Content | None:
        """Return the image if it is complete already, and hold on to all of it."""
        manifest: Digest | None = selection.digest
        if not isinstance(selection.manifest, Manifest):
            manifest = self._store.derived(selection.digest)
        record = self._store.image(manifest) if manifest else None
        if record is None:
            return None
        wanted = {layer.digest for layer in selection.layers} | {record.id, record.manifest}
        if self._ingest.hold(wanted) != wanted:
            return None
        self._check_platform(parse_config(self._store.read(record.id)).platform)
        document = self._store.document(record.manifest)
        if not isinstance(document, Manifest):
            return None
        return _Content(record, document.raw, document.media_type)

    def _fetch(self, selection: Selection) -> _Content:
        if isinstance(selection.manifest, Manifest):
            config, receipts = self._copy(selection, self._options.copy)
            assert config is not None  # noqa: S101 - these manifests have one
            return _content(selection.manifest, selection.digest, config, receipts)
        from dray.ops.schema1 import check, convert

        top, message = check(selection.manifest, verify=self._options.verify_signatures)
        self._emitter.warn(message)
        self._check_platform(top)
        # The DiffIDs are not there to be compared but to make the config with.
        _, receipts = self._copy(selection, self._options.copy._replace(verify_layers=True))
        manifest, config = convert(selection.manifest, receipts)
        self._ingest.put_bytes(manifest.config, config.raw, self._cancel)
        return _content(manifest, digest_of(manifest), config, receipts)

    def _copy(
        self, selection: Selection, options: CopyOptions
    ) -> tuple[ImageConfig | None, list[Receipt]]:
        copy = ImageCopy(
            selection.config,
            selection.layers,
            self._repository,
            self._ingest,
            self._store.read,
            options,
            LayerProgress(self._emitter),
        )
        return copy.run(lambda config: self._check_platform(config.platform), self._cancel)

    def _check_platform(self, platform: Platform) -> None:
        """Refuse an image for another system; another architecture only if one was named."""
        wanted, mine = self._options.platform, platform.normalized()
        system = mine.os or wanted.os
        if system == wanted.os and (not mine.architecture or wanted.rank(mine) is not None):
            return
        message = f"the image is for {mine}, not for {wanted}"
        if system != wanted.os or self._options.strict:
            raise PlatformMismatch(message, wanted=str(wanted), available=[str(mine)])
        self._emitter.warn(message)

    # Names

    def _name(self, reference: Reference, selection: Selection, content: _Content) -> Pulled:
        """Store the documents, children before parents, then the names."""
        record = content.record
        blobs = [layer.digest for layer in selection.layers]
        self._add(content.manifest, content.media_type, record.manifest, [record.id, *blobs])
        if not isinstance(selection.manifest, Manifest):
            found = selection.manifest
            self._add(found.raw, found.media_type, selection.digest, [record.manifest])
        chosen = selection.digest
        for digest, index in reversed(selection.indexes):
            rest = [entry.digest for entry in index.manifests if entry.digest != chosen]
            self._add(index.raw, index.media_type, digest, [chosen], rest)
            chosen = digest
        before = self._store.find(reference)
        old = self._store.image(before.manifest) if before else None
        names = {reference.with_digest(selection.root)}
        if reference.digest is None:
            names.add(reference)
        self._ingest.commit(record, selection.root, names, (reference.name, [record.id, *blobs]))
        updated = old is None or old.id != record.id
        return Pulled(reference, selection.root, record, updated)

    def _add(
        self,
        raw: bytes,
        media_type: str,
        known_as: Digest,
        wanted: list[Digest],
        unwanted: Sequence[Digest] = (),
    ) -> None:
        edges = [(child, False) for child in unwanted] + [(child, True) for child in wanted]
        algorithm = known_as.algorithm
        own = known_as if known_as.matches(raw) else Digest.of(raw, algorithm)
        descriptor = Descriptor(media_type, own, len(raw))
        self._ingest.add_document(descriptor, raw, edges, self._cancel, known_as)


class _Content(NamedTuple):
    """A complete image and its manifest, the one that was made where it is schema1."""

    record: ImageRecord
    manifest: bytes
    media_type: str


def _content(
    manifest: Manifest, digest: Digest, config: ImageConfig, receipts: Sequence[Receipt]
) -> _Content:
    sizes = {receipt.descriptor.digest: receipt.descriptor.size or 0 for receipt in receipts}
    record = ImageRecord(
        manifest=digest,
        id=manifest.config.digest,
        platform=str(config.platform.normalized()),
        created=config.created,
        size=sum(sizes.values()) + len(config.raw),
    )
    return _Content(record, manifest.raw, manifest.media_type)
