"""Pull images of one repository: resolve, select, fetch, and set the names last."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from wherry.content.background import in_background
from wherry.content.events import Event, Status, ignore
from wherry.errors import (
    IntegrityError,
    InvalidReference,
    NotFound,
    PlatformMismatch,
    Unsupported,
    WherryError,
)
from wherry.model.digest import Digest
from wherry.ops.artifact_puller import ArtifactPuller
from wherry.ops.image_puller import ImagePuller, TargetPlatform
from wherry.ops.open_source import make_repository
from wherry.ops.pull_options import PullOptions, PullResult
from wherry.ops.skipped_tags import SkippedTags
from wherry.ops.store_sink import StoreSink
from wherry.transfer.event_queue import EventQueue
from wherry.transfer.graph import Selection, check_layers, select, select_all
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.ops.store_sink import StoredImage
    from wherry.registry.manifest_reader import Resolution
    from wherry.registry.session import Session
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest


class RepositoryPull:
    """Pull images of one repository under one lease on the store.

    The lease is taken when the ``with`` block begins.
    """

    _ingest: Ingest
    _images: ImagePuller

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
        store.check_writable()  # fail before a request is sent
        # A slow listener must not delay the transfer.
        self._events = None if listener is ignore else EventQueue(listener)
        self._emitter = Emitter(self._events or ignore, reference.familiar)
        with self._close_events_on_error():
            self._repository = make_repository(
                session, reference, self._emitter, cancel, foreign=options.copy.foreign
            )

    def __enter__(self) -> Self:
        with self._close_events_on_error():
            self._ingest = self._store.ingest()
            self._ingest.__enter__()
        self._sink = StoreSink(
            self._store,
            self._ingest,
            self._options.host,
            verify=self._options.copy.verify_layers,
            repairs=True,
            schema1=True,
        )
        self._images = ImagePuller(
            self._store,
            self._sink,
            self._repository,
            self._emitter,
            self._options.copy,
            self._cancel,
            verify_signatures=self._options.verify_signatures,
            schema1=self._options.schema1,
        )
        self._artifacts = ArtifactPuller(
            self._sink,
            self._repository,
            self._document,
            self._emitter,
            self._options.copy,
            self._cancel,
        )
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self._ingest.__exit__(*failure)  # type: ignore[arg-type]
        finally:
            self._end(failure[1])

    @contextlib.contextmanager
    def _close_events_on_error(self) -> Iterator[None]:
        """Close the event queue if the block fails."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise

    def _end(self, failure: object) -> None:
        if self._events is not None:
            self._events.close(self._cancel, failure)

    def pull_tags(self) -> Iterator[PullResult]:
        """Pull every tag that is an image; warn of the others.

        Raises:
            PlatformMismatch: An image is not for the platform that the caller named, or no
                image is for this machine.
            Schema1Refused: All images have docker's schema1 format, which is refused.
            NotFound: There are no tagged images.
        """
        found, skipped = False, SkippedTags()
        for tag in self._repository.tags():
            try:
                tagged = self._reference.with_tag(tag)
                yield self.pull(tagged, functools.partial(self.resolve, tagged))
                found = True
            except (Unsupported, InvalidReference, PlatformMismatch) as error:
                if isinstance(error, PlatformMismatch) and self._options.strict:
                    raise
                skipped.add(error)
                self._emitter.warn(f"{tag}: {error.message}; skipped")
        if not found:
            raise skipped.error(self._reference.familiar_name)

    @property
    def has_served(self) -> bool:
        """Whether v2 has served a manifest or a tag list."""
        return self._repository.has_served

    @contextlib.contextmanager
    def resolve_in_background(self, reference: Reference) -> Iterator[Callable[[], Resolution]]:
        """Resolve a tag while the store is opened; both take time.

        Yields a function that waits for the response. The end of the block ends the operation.
        """
        if reference.digest is not None or self._options.root is not None:
            yield functools.partial(self.resolve, reference)
            return
        with in_background(self._cancel, lambda _: self.resolve(reference)) as resolved:
            try:
                yield resolved
            finally:
                self._cancel.cancel()

    def resolve(self, reference: Reference) -> Resolution:
        """Resolve a tag or digest; a digest needs no request."""
        return self._repository.resolve(reference)

    def pull(self, reference: Reference, resolved: Callable[[], Resolution]) -> PullResult:
        """Pull one name that ``resolved`` resolves; ignore a tag beside a digest."""
        if reference.digest is not None:
            reference = reference.with_digest(reference.digest)
        # Read this before fetching: a concurrent pull may finish first.
        before = self._images_of(reference)
        if not before:
            import wherry.transfer.execute  # noqa: F401 - slow, so import it while the tag resolves
        try:
            root, targets = self._targets(reference, resolved)
            found = [
                (selection, self._images.obtain(selection, wanted)) for selection, wanted in targets
            ]
        except WherryError as error:
            if not error.is_within(reference.domain):
                error.within(reference.familiar)
            raise
        if not self._options.platforms:
            self._artifacts.obtain(selection for selection, _ in found)
        self._emitter.emit(Status.DIGEST, root)
        for selection, _ in found:
            self._images.add_indexes(selection)
        return self._name(reference, root, [image for _, image in found], before)

    def _images_of(self, reference: Reference) -> set[Digest]:
        """Return the ids of the images below a name of the store, none if it is new."""
        known = self._store.find(reference)
        return set() if known is None else self._store.ids_below(known)

    def report_done(self, updated: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """Report the end of the operation."""
        state = "Downloaded newer image for" if updated else "Image is up to date for"
        self._emitter.emit(Status.DONE, message=f"{state} {self._reference.familiar}")

    # Documents

    def _targets(
        self, reference: Reference, resolved: Callable[[], Resolution]
    ) -> tuple[Digest, list[tuple[Selection, TargetPlatform | None]]]:
        """Resolve a name and select the manifests to pull."""
        digest, document = self._root(reference, resolved)
        what = reference.digest or reference.tag
        self._emitter.emit(Status.RESOLVED, message=f"{what}: Pulling from {reference.path}")
        options, fetch = self._options, self._document
        if not options.platforms:
            every = select_all(digest, document, fetch)
            for chosen in every:
                check_layers(chosen)
            return digest, [(chosen, None) for chosen in every]
        for platform in options.platforms:  # check the documents before a config is fetched
            check_layers(select(digest, document, platform, fetch))
        found: dict[Digest, tuple[Selection, TargetPlatform | None]] = {}
        for platform in options.platforms:
            wanted = TargetPlatform(platform, options.strict)
            refuse = functools.partial(self._images.refusal, wanted) if wanted.strict else None
            chosen = select(digest, document, platform, fetch, refuse=refuse)
            found[chosen.digest] = (chosen, wanted)
        return digest, list(found.values())

    def _root(
        self, reference: Reference, resolved: Callable[[], Resolution]
    ) -> tuple[Digest, Document]:
        wanted = reference.digest or self._options.root
        if wanted is not None:
            known = self._store.find(reference.with_digest(wanted))
            if known is not None:
                return known.root, self._document(known.root)
            # The store may have the document from elsewhere. A request shows whether this
            # repository has it.
            return wanted, self._repository.document(wanted, fresh=True)
        found = resolved()
        if found.document is not None:
            return found.digest, found.document
        try:
            return found.digest, self._document(found.digest)
        except NotFound:
            return self._repository.resolve_again(reference)

    def _document(self, digest: Digest) -> Document:
        try:
            return self._store.document(digest)
        except NotFound:
            pass
        except IntegrityError as error:  # the file is damaged: fetch it again
            self._ingest.remove_damaged(Digest.parse(error.expected))
        return self._repository.document(digest)

    # Names

    def _name(
        self, reference: Reference, root: Digest, found: list[StoredImage], before: set[Digest]
    ) -> PullResult:
        """Pin the names on the root, all at once."""
        names = {reference.with_digest(root)} if self._options.names else set()
        if reference.digest is None:
            names.add(reference)
        blobs = {blob for image in found for blob in image.blobs}
        primary = self._sink.commit(found, root, names, (reference.name, blobs))
        updated = not before.issuperset(image.record.id for image in found)
        return PullResult(reference, root, primary.record, updated)
