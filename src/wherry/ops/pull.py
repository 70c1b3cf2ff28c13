"""Pull: an image from its registry into the local store, verified, the name last."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from wherry.content.background import beside
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
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.ops.artifact_puller import ArtifactPuller
from wherry.ops.image_puller import ImagePuller, Schema1Refused, StoredImage, TargetPlatform
from wherry.ops.open_source import repository
from wherry.transfer.copy import CopyOptions
from wherry.transfer.event_queue import Relay
from wherry.transfer.graph import Selection, check_layers, select, select_all
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.model.manifest import Document
    from wherry.model.reference import Reference
    from wherry.model.transfer_settings import TransferSettings
    from wherry.registry.manifest_reader import Resolution
    from wherry.registry.session import Session
    from wherry.store import LocalStore
    from wherry.store.images import ImageRecord
    from wherry.store.ingest import Ingest


class PullOptions(Record):
    """``platforms`` are the ones wanted, the first of all if several; none of them: all.

    ``host`` is this machine's; ``strict`` if somebody asked for platforms by name. Without
    ``names`` none are set: what is fetched belongs to an image that has some.
    """

    host: Platform
    platforms: tuple[Platform, ...]
    strict: bool = False
    verify_signatures: bool = True
    schema1: str | None = None
    copy: CopyOptions = CopyOptions()
    names: bool = True

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None = None,
        *,
        all_platforms: bool = False,
        verify_layers: bool = True,
        verify_signatures: bool = True,
    ) -> PullOptions:
        """Make the options that a client's settings and the arguments of a call ask for.

        Raises:
            InvalidReference: ``platform`` does not parse.
        """
        platforms: tuple[Platform, ...] = (host,)
        if all_platforms:
            platforms = ()
        elif isinstance(platform, Platform):
            platforms = (platform,)
        elif platform is not None:
            platforms = Platform.parse_list(platform, host)
        return cls(
            host=host,
            platforms=platforms,
            strict=platform is not None and not all_platforms,
            verify_signatures=verify_signatures,
            schema1=settings.schema1,
            copy=CopyOptions.build(settings, verify_layers=verify_layers),
        )


class PullResult(Record):
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
) -> PullResult:
    """Pull one image by tag or digest (``latest`` where there is neither); idempotent.

    SPEC: "Manifests and images", "Transfers". Raises any `WherryError`; then no name has been
    changed, and what has arrived so far stays for the next attempt.
    """
    reference = reference.with_default_tag()
    with cancel.child() as token:
        operation = _Pull(session, store, reference, options, token, listener)
        with operation.resolving(reference) as resolved, operation:
            pulled = operation.one(reference, resolved)
            operation.done(pulled.updated)
            return pulled


def pull_all_tags(
    session: Session,
    store: LocalStore,
    reference: Reference,
    options: PullOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> list[PullResult]:
    """Pull every tag of a repository, in the order in which the registry lists them.

    Tags of what is no image (signatures stand beside the images they sign), and of what has no
    image for this machine, are passed over with a warning; a platform that was asked for by
    name has to be there. Raises `PlatformMismatch` and `NotFound` where no image was pulled.
    Otherwise as `pull`.
    """
    with _Pull(session, store, reference, options, cancel, listener) as operation:
        found = list(operation.tagged())
        operation.done(any(pulled.updated for pulled in found))
        return found


class _Pull:
    """One call: a repository, somebody who listens, and from its beginning a lease on the store."""

    _ingest: Ingest
    _content: ImagePuller

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
        store.check_writable()  # or nobody is asked
        # A listener that is slow must not hold up what it listens to.
        self._relay = None if listener is ignore else Relay(listener)
        self._emitter = Emitter(self._relay or ignore, reference.familiar)
        with self._heard_out():
            self._repository = repository(
                session, reference, self._emitter, cancel, foreign=options.copy.foreign
            )

    def __enter__(self) -> Self:
        with self._heard_out():
            self._ingest = self._store.ingest()
            self._ingest.__enter__()
        self._content = ImagePuller(
            self._store,
            self._ingest,
            self._repository,
            self._emitter,
            self._options.copy,
            self._cancel,
            verify_signatures=self._options.verify_signatures,
            schema1=self._options.schema1,
        )
        self._artifacts = ArtifactPuller(
            self._store,
            self._ingest,
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
    def _heard_out(self) -> Iterator[None]:
        """End what the listener is told if the block fails."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise

    def _end(self, failure: object) -> None:
        if self._relay is not None:
            self._relay.close(self._cancel, failure)

    def tagged(self) -> Iterator[PullResult]:
        """Pull what is tagged, if anything is; warn of tags of what is no image, or no tags."""
        found, wanted = False, ""
        refused: Schema1Refused | None = None
        others: dict[str, None] = {}
        for tag in self._repository.tags():
            try:
                tagged = self._reference.with_tag(tag)
                yield self.one(tagged, functools.partial(self.resolve, tagged))
                found = True
            except (Unsupported, InvalidReference, PlatformMismatch) as error:
                if isinstance(error, PlatformMismatch):
                    if self._options.strict:
                        raise
                    wanted = error.wanted
                    others.update(dict.fromkeys(error.available))
                if isinstance(error, Schema1Refused):
                    refused = error
                self._emitter.warn(f"{tag}: {error.message}; passed over")
        if found:
            return
        if refused is not None:
            raise refused
        name = self._reference.familiar_name
        if not wanted:
            raise NotFound("the repository has no tagged images").within(name)
        raise PlatformMismatch(
            f"no tag has an image for {wanted}",
            wanted=wanted,
            available=list(others),
            hint=f"they have: {' '.join(others)}",
        ).within(name)

    @contextlib.contextmanager
    def resolving(self, reference: Reference) -> Iterator[Callable[[], Resolution]]:
        """Ask what a tag stands for while the store is opened: both take their time.

        Yields what waits for the answer. The end of the block is the end of the operation.
        """
        if reference.digest is not None:
            yield functools.partial(self.resolve, reference)
            return
        with beside(self._cancel, lambda _: self.resolve(reference)) as resolved:
            try:
                yield resolved
            finally:
                self._cancel.cancel()

    def resolve(self, reference: Reference) -> Resolution:
        """Ask what a name stands for, where it does not say so itself."""
        return self._repository.resolve(reference)

    def one(self, reference: Reference, resolved: Callable[[], Resolution]) -> PullResult:
        """Pull one name; its `PullResult` tells whether anything is new.

        ``resolved`` returns what it stands for. A tag beside a digest is not looked at, and
        not set.
        """
        if reference.digest is not None:
            reference = reference.with_digest(reference.digest)
        # Read this before fetching: a concurrent pull may finish first.
        before = self._images_of(reference)
        try:
            root, targets = self._targets(reference, resolved)
            found = [
                (selection, self._content.obtain(selection, wanted))
                for selection, wanted in targets
            ]
        except WherryError as error:
            if not error.is_within(reference.domain):
                error.within(reference.familiar)
            raise
        if not self._options.platforms:
            self._artifacts.obtain(selection for selection, _ in found)
        self._emitter.emit(Status.DIGEST, root)
        for selection, content in found:
            self._content.add_documents(selection, content)
        return self._name(reference, root, [content for _, content in found], before)

    def _images_of(self, reference: Reference) -> set[Digest]:
        """Return the ids of the images that a name of the store stands for, none if it is new."""
        known = self._store.find(reference)
        return set() if known is None else self._store.ids_below(known)

    def done(self, updated: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        state = "Downloaded newer image for" if updated else "Image is up to date for"
        self._emitter.emit(Status.DONE, message=f"{state} {self._reference.familiar}")

    # Documents

    def _targets(
        self, reference: Reference, resolved: Callable[[], Resolution]
    ) -> tuple[Digest, list[tuple[Selection, TargetPlatform | None]]]:
        """Resolve a name and walk to the manifests that are wanted, asking the store first."""
        digest, document = self._root(reference, resolved)
        what = reference.digest or reference.tag
        self._emitter.emit(Status.RESOLVED, message=f"{what}: Pulling from {reference.path}")
        options, fetch = self._options, self._document
        if not options.platforms:
            every = select_all(digest, document, fetch)
            for chosen in every:
                check_layers(chosen)
            return digest, [(chosen, None) for chosen in every]
        for platform in options.platforms:  # what documents tell, before any config is read
            check_layers(select(digest, document, platform, fetch))
        found: dict[Digest, tuple[Selection, TargetPlatform | None]] = {}
        for platform in options.platforms:
            wanted = TargetPlatform(platform, options.strict)
            refuse = functools.partial(self._content.refusal, wanted) if wanted.strict else None
            chosen = select(digest, document, platform, fetch, refuse=refuse)
            found[chosen.digest] = (chosen, wanted)
        return digest, list(found.values())

    def _root(
        self, reference: Reference, resolved: Callable[[], Resolution]
    ) -> tuple[Digest, Document]:
        if reference.digest is not None:
            known = self._store.find(reference)
            if known is not None:
                return known.root, self._document(known.root)
            # Not from the store: it may know the document from elsewhere, and it is this
            # repository's word that it has it.
            return reference.digest, self._repository.document(reference.digest, fresh=True)
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
        except IntegrityError as error:  # its file is damaged: put it again
            self._ingest.remove_damaged(Digest.parse(error.expected))
        return self._repository.document(digest)

    # Names

    def _name(
        self, reference: Reference, root: Digest, found: list[StoredImage], before: set[Digest]
    ) -> PullResult:
        """Pin the names on the root, all at once, at the end."""
        primary = min(found, key=self._preference)
        names = {reference.with_digest(root)} if self._options.names else set()
        if reference.digest is None:
            names.add(reference)
        self._ingest.commit(
            [content.record for content in found],
            primary.record.manifest,
            root,
            names,
            (reference.name, {blob for content in found for blob in content.blobs}),
        )
        updated = not before.issuperset(content.record.id for content in found)
        return PullResult(reference, root, primary.record, updated)

    def _preference(self, content: StoredImage) -> int:
        """Rank images for the one that a name shows: this machine's before others."""
        rank = self._options.host.rank(content.platform)
        return 1000 if rank is None else rank
