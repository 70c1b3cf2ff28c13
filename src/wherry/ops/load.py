"""Load: the images of an archive or layout into the local store, verified, names last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.detect import called, check_ended
from wherry.archive.docker import MANIFEST
from wherry.archive.files import MAX_DOCUMENTS
from wherry.archive.oci import INDEX
from wherry.archive.select_image import ABORTING
from wherry.archive.tar_stream import StreamedFiles
from wherry.content.events import Event, Status
from wherry.content.retry import RetryPolicy
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    NotFound,
    PlatformMismatch,
    Unsupported,
    WherryError,
)
from wherry.model.manifest import Index, Manifest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.ops.artifact_puller import ArtifactPuller
from wherry.ops.image_puller import ImagePuller, StoredImage, TargetPlatform
from wherry.ops.open_archive import EventTranslator, IngestSink, formats, opened
from wherry.transfer.copy import CopyOptions
from wherry.transfer.graph import Selection, candidates, no_match, select, select_all, select_each
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry.archive.archive import Archive
    from wherry.archive.files import Files
    from wherry.archive.select_image import ListedImage
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RawStream
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.transfer_settings import TransferSettings
    from wherry.store import LocalStore
    from wherry.store.images import ImageRecord
    from wherry.store.ingest import Ingest


class LoadOptions(Record):
    """``host`` is this machine's platform; ``platform`` the one that the caller asked for.

    ``name`` is given to the image of an archive that holds one, instead of its names there.
    """

    host: Platform
    platform: Platform | None = None
    name: Reference | None = None
    copy: CopyOptions = CopyOptions()
    schema1: str | None = None

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None = None,
        name: str | None = None,
    ) -> LoadOptions:
        """Make the options that a client's settings and the arguments of a call ask for.

        Raises:
            InvalidReference: ``platform`` or ``name`` does not parse.
        """
        return cls(
            host,
            Platform.parse(platform, host) if isinstance(platform, str) else platform,
            None if name is None else Reference.parse_new(name),
            CopyOptions(jobs=settings.jobs),
            settings.schema1,
        )


class LoadResult(Record):
    """An image that is in the store now, and the names that it was given."""

    root: Digest
    image: ImageRecord
    names: tuple[Reference, ...]


def load(
    store: LocalStore,
    source: Path | RawStream,
    options: LoadOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> tuple[list[LoadResult], list[WherryError]]:
    """Load the images of an archive, layout or directory (SPEC: "Archives"); idempotent.

    An archive in a file is read where it lies, several layers at a time; a pipe or what is
    compressed is read once, layers going into the store as they come. Returns what was loaded,
    and for each image that was not, why. Raises any `WherryError` that concerns the archive as a
    whole; then no name has been changed.
    """
    with store.ingest() as ingest:
        emitter = Emitter(listener, called(source))
        with opened(source, IngestSink(store, ingest, emitter, cancel), cancel) as files:
            told = EventTranslator(listener, streamed=isinstance(files, StreamedFiles))
            *others, last = formats(files, cancel)
            for make in others:
                try:
                    work = _Load(store, ingest, make(), files, options, cancel, told)
                    found, failures = work.read()
                    if found:
                        return [work.name(*each) for each in found], failures
                except NotFound:  # nothing is listed
                    failures = []
                except (InvalidDocument, Unsupported) as error:
                    failures = [error]
                for failure in failures:
                    problem = failure.text_within(called(source))
                    emitter.warn(f"{problem}; {MANIFEST} is read instead of {INDEX}")
            work = _Load(store, ingest, last(), files, options, cancel, told)
            found, failures = work.read()
            return [work.name(*each) for each in found], failures


class _Load:
    def __init__(
        self,
        store: LocalStore,
        ingest: Ingest,
        archive: Archive,
        files: Files,
        options: LoadOptions,
        cancel: CancelToken,
        listener: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._archive = archive
        self._options = options
        self._files = files
        self._path = files.path
        self._room = MAX_DOCUMENTS
        self._several = False
        self._failures: list[tuple[ListedImage, WherryError]] = []
        self._emitter = Emitter(listener, files.path)
        self._artifacts = ArtifactPuller(
            store,
            ingest,
            archive,
            archive.document,
            self._emitter,
            options.copy.replace(policy=RetryPolicy(attempts=1)),
            cancel,
            sparse=files.ended,
        )
        self._content = ImagePuller(
            store,
            ingest,
            self._archive,
            self._emitter,
            options.copy,
            cancel,
            verify_signatures=True,
            schema1=options.schema1,
        )

    def read(
        self,
    ) -> tuple[list[tuple[ListedImage, list[tuple[Selection, StoredImage]]]], list[WherryError]]:
        """Bring in every image that can be read; return the errors of the others."""
        images = self._archive.images()
        self._pass_over_others()
        if not images:
            raise NotFound("there is no image in it").within(self._path)
        self._several = len(images) > 1
        if self._options.name is not None and self._several:
            raise Unsupported(
                f"there are {len(images)} images in it, a name is for one",
                hint="load it without a name, and use `wherry tag`",
            ).within(self._path)
        found = []
        for held in images:
            contents = self._image(held)
            if contents:
                found.append((held, contents))
                self._check_room(contents)
        return found, self._real_failures([held for held, _ in found])

    def _pass_over_others(self) -> None:
        for entry in self._archive.others():
            what = f"{entry.digest} is {entry.media_type[:200]}, not an image"
            self._emitter.warn(f"{what}; passed over")

    def _real_failures(self, loaded: list[ListedImage]) -> list[WherryError]:
        """Leave out other platforms of images that were loaded for the one asked for."""
        names = {name for held in loaded for name in held.names or ("",)}
        return [
            error
            for held, error in self._failures
            if not (isinstance(error, PlatformMismatch) and names & set(held.names or ("",)))
        ]

    def _image(self, held: ListedImage) -> list[tuple[Selection, StoredImage]]:
        """Bring in an image, or as many platforms of an index as can be read."""
        try:
            root = self._root(held)
            document = self._archive.document(root)
            if self._options.platform is not None:
                return [self._for_platform(root, document, self._options.platform)]
            # An index need not have all that it lists, unless the rest may have been cut off.
            whole = self._files.ended
            selections = select_all(root, document, self._archive.document, sparse=whole)
        except ABORTING:
            raise
        except WherryError as error:
            self._fail(held, error)
            return []
        found = []
        for selection in selections:
            try:
                found.append(self._obtain(selection))
            except ABORTING:
                raise
            except WherryError as error:
                named = _platform(selection)
                self._fail(held, error.within(named) if named else error)
        self._artifacts.obtain(selection for selection, _ in found)
        return found

    def _fail(self, held: ListedImage, error: WherryError) -> None:
        """Note why an image was not loaded; raises where the archive was cut off."""
        if isinstance(error, NotFound) and not isinstance(error, PlatformMismatch):
            check_ended(self._files)
        if self._several:
            error = error.within(str(held))
        self._failures.append((held, error.within(self._path)))

    def _for_platform(
        self, root: Digest, document: Document, platform: Platform
    ) -> tuple[Selection, StoredImage]:
        """Bring in the best image for a platform among those that can be read."""
        if not isinstance(document, Index):
            return self._obtain(select(root, document, platform, self._archive.document))
        failure: WherryError | None = None
        for selection in select_each(root, document, platform, self._archive.document):
            try:
                return self._obtain(selection)
            except ABORTING:
                raise
            except WherryError as error:
                failure = failure or error
        if failure is None:
            for entry in candidates(document, platform):
                self._archive.document(entry.digest)  # raises `NotFound` for one that is missing
        raise failure or no_match(document, platform)

    def _check_room(self, added: list[tuple[Selection, StoredImage]]) -> None:
        """Bound the documents that are kept until all is there and can be named."""
        self._room -= sum(len(content.manifest) for _, content in added)
        self._room -= sum(len(index.raw) for _, index in added[0][0].indexes)
        if self._room < 0:
            message = f"its documents have more than {MAX_DOCUMENTS >> 20} MiB"
            raise InvalidDocument(message).within(self._path)

    def _root(self, held: ListedImage) -> Digest:
        """Return an image's root; where it was converted for the layout, what it was before."""
        return self._archive.original(held.root) or held.root.digest

    def _obtain(self, selection: Selection) -> tuple[Selection, StoredImage]:
        """Bring an image in, or find it in the store under another manifest."""
        platform = self._options.platform
        wanted = None if platform is None else TargetPlatform(platform, strict=True)
        if self._archive.makes_manifests:
            for known in self._known(selection.manifest):
                content = self._content.present(known, wanted)
                if content is not None:
                    return known, content
        return selection, self._content.obtain(selection, wanted)

    def _known(self, manifest: object) -> Iterator[Selection]:
        """Yield images of the store that have the same id: their layers need not be read."""
        assert isinstance(manifest, Manifest)  # noqa: S101 - such archives have no others
        for record in self._store.images_by_id(manifest.config.digest.hex):
            try:
                found = self._store.document(record.manifest)
            except (NotFound, IntegrityError):
                continue  # collected since, or damaged; the archive has another one
            if isinstance(found, Manifest):
                yield Selection((), record.manifest, found)

    def name(self, held: ListedImage, found: list[tuple[Selection, StoredImage]]) -> LoadResult:
        """Store an image's documents and give it its names."""
        for selection, content in found:
            self._content.add_documents(selection, content)
        shown, primary = min(found, key=lambda each: self._preference(each[1].platform))
        given = self._options.name
        names = tuple(self._references(held)) if given is None else (given,)
        self._ingest.commit(
            [content.record for _, content in found], primary.record.manifest, shown.root, names
        )
        called = ", ".join(name.familiar for name in names) or self._unnamed(
            held, primary.record.id
        )
        self._emitter.emit(Status.DONE, message=f"Loaded image {called}")
        return LoadResult(shown.root, primary.record, names)

    def _is_tag(self, name: str) -> bool:
        return self._archive.bare_tags and not {"/", ":"} & set(name)

    def _unnamed(self, held: ListedImage, image_id: Digest) -> str:
        """Say why an image has no name, and how it is given one."""
        tags = [name for name in held.names if self._is_tag(name)]
        tag = f":{tags[0]}" if tags else ""
        why = f"the archive has but a tag, {', '.join(tags)}; " if tags else ""
        advice = f"to give it one: wherry tag {image_id.hex[:12]} NAME{tag}"
        return f"{image_id}, without a name ({why}{advice})"

    def _preference(self, platform: Platform) -> int:
        rank = self._options.host.rank(platform)
        return 1000 if rank is None else rank

    def _references(self, held: ListedImage) -> Iterator[Reference]:
        """Yield an image's names; in layouts a tag alone is none."""
        seen = set()
        for name in held.names:
            if self._is_tag(name):
                continue
            try:
                reference = Reference.parse(name).with_default_tag()
            except InvalidReference as error:
                self._emitter.warn(f"{name}: {error}; passed over")
                continue
            if reference not in seen and reference.digest is None:
                seen.add(reference)
                yield reference


def _platform(selection: Selection) -> str:
    """Return the platform that an index lists an image for; empty where it does not say."""
    for _, index in selection.indexes[-1:]:
        for entry in index.manifests:
            if entry.digest == selection.digest and entry.platform is not None:
                return str(entry.platform)
    return ""
