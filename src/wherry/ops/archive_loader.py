"""Load the images of an opened archive into the local store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.detect import check_ended
from wherry.archive.files import MAX_DOCUMENTS
from wherry.archive.select_image import ABORTING
from wherry.content.events import Event, Status
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
from wherry.model.reference import Reference
from wherry.ops.artifact_puller import ArtifactPuller
from wherry.ops.image_puller import ImagePuller, TargetPlatform
from wherry.ops.load_options import LoadResult
from wherry.ops.store_sink import StoreSink
from wherry.transfer.graph import Selection, candidates, no_match, select, select_all, select_each
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.archive.archive import Archive
    from wherry.archive.files import Files
    from wherry.archive.select_image import ListedImage
    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.model.platform import Platform
    from wherry.ops.load_options import LoadOptions
    from wherry.ops.store_sink import StoredImage
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest


class ArchiveLoader:
    """Load the readable images of one archive; collect the errors of the others."""

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
        self._archive = archive
        self._options = options
        self._files = files
        self._path = files.path
        self._memory_left = MAX_DOCUMENTS
        self._several = False
        self._failures: list[tuple[ListedImage, WherryError]] = []
        self._emitter = Emitter(listener, files.path)
        self._sink = StoreSink(
            store,
            ingest,
            options.host,
            verify=options.copy.verify_layers,
            repairs=True,
            schema1=True,
        )
        self._artifacts = ArtifactPuller(
            self._sink,
            archive,
            archive.document,
            self._emitter,
            options.copy,
            cancel,
            sparse=files.ended,
        )
        self._images = ImagePuller(
            store,
            self._sink,
            self._archive,
            self._emitter,
            options.copy,
            cancel,
            verify_signatures=True,
            schema1=options.schema1,
        )

    def load(self) -> tuple[list[LoadResult], list[WherryError]]:
        """Load every image that can be read; return the errors of the others.

        The images get their names when all of them are in the store.
        """
        images = self._archive.images()
        self._warn_of_others()
        if not images:
            raise NotFound("there is no image in it").within(self._path)
        self._several = len(images) > 1
        if self._options.name is not None and self._several:
            raise Unsupported(
                f"there are {len(images)} images in it, a name needs exactly one",
                hint="load it without a name, and use `wherry tag`",
            ).within(self._path)
        found = []
        for listed in images:
            loaded = self._load_image(listed)
            if loaded:
                found.append((listed, loaded))
                self._check_memory(loaded)
        failures = self._relevant_failures([listed for listed, _ in found])
        return [self._name(listed, loaded) for listed, loaded in found], failures

    def _warn_of_others(self) -> None:
        for entry in self._archive.others():
            what = f"{entry.digest} is {entry.media_type[:200]}, not an image"
            self._emitter.warn(f"{what}; skipped")

    def _relevant_failures(self, loaded: list[ListedImage]) -> list[WherryError]:
        """Leave out other platforms of images that were loaded for the named platform."""
        names = {name for listed in loaded for name in listed.names or ("",)}
        return [
            error
            for listed, error in self._failures
            if not (isinstance(error, PlatformMismatch) and names & set(listed.names or ("",)))
        ]

    def _load_image(self, listed: ListedImage) -> list[tuple[Selection, StoredImage]]:
        """Load an image, or the images of an index that can be read."""
        try:
            root = self._root(listed)
            document = self._archive.document(root)
            if self._options.platform is not None:
                return [self._for_platform(root, document, self._options.platform)]
            # A layout may lack images of an index, unless the archive was cut off.
            whole = self._files.ended
            selections = select_all(root, document, self._archive.document, sparse=whole)
        except ABORTING:
            raise
        except WherryError as error:
            self._add_failure(listed, error)
            return []
        found = []
        for selection in selections:
            try:
                found.append(self._obtain(selection))
            except ABORTING:
                raise
            except WherryError as error:
                named = _platform(selection)
                self._add_failure(listed, error.within(named) if named else error)
        self._artifacts.obtain(selection for selection, _ in found)
        return found

    def _add_failure(self, listed: ListedImage, error: WherryError) -> None:
        """Note why an image was not loaded; raises if the archive is cut off."""
        if isinstance(error, NotFound) and not isinstance(error, PlatformMismatch):
            check_ended(self._files)
        if self._several:
            error = error.within(str(listed))
        self._failures.append((listed, error.within(self._path)))

    def _for_platform(
        self, root: Digest, document: Document, platform: Platform
    ) -> tuple[Selection, StoredImage]:
        """Load the best image for a platform that can be read."""
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
                self._archive.document(entry.digest)  # raises `NotFound` if it is missing
        raise failure or no_match(document, platform)

    def _check_memory(self, added: list[tuple[Selection, StoredImage]]) -> None:
        """Bound the documents that are kept in memory until the names are set."""
        self._memory_left -= sum(len(image.manifest.raw) for _, image in added)
        self._memory_left -= sum(len(index.raw) for _, index in added[0][0].indexes)
        if self._memory_left < 0:
            message = f"its documents have more than {MAX_DOCUMENTS >> 20} MiB"
            raise InvalidDocument(message).within(self._path)

    def _root(self, listed: ListedImage) -> Digest:
        """Return the root of an image, as it was before it was converted for the layout."""
        return self._archive.original(listed.root) or listed.root.digest

    def _obtain(self, selection: Selection) -> tuple[Selection, StoredImage]:
        """Load an image, unless the store has it, maybe with another manifest."""
        platform = self._options.platform
        wanted = None if platform is None else TargetPlatform(platform, strict=True)
        if self._archive.makes_manifests:
            for stored in self._same_id(selection.manifest):
                image = self._images.present(stored, wanted)
                if image is not None:
                    return stored, image
        return selection, self._images.obtain(selection, wanted)

    def _same_id(self, manifest: object) -> Iterator[Selection]:
        """Yield images of the store with the same id; their layers need not be read."""
        assert isinstance(manifest, Manifest)  # noqa: S101 - docker archives have no indexes
        for record in self._store.images_by_id(manifest.config.digest.hex):
            try:
                found = self._store.document(record.manifest)
            except (NotFound, IntegrityError):
                continue  # it was collected meanwhile, or is damaged
            if isinstance(found, Manifest):
                yield Selection((), record.manifest, found)

    def _name(self, listed: ListedImage, found: list[tuple[Selection, StoredImage]]) -> LoadResult:
        """Store the documents of an image and set its names."""
        for selection, _ in found:
            self._images.add_indexes(selection)
        root = found[0][0].root
        given = self._options.name
        names = tuple(self._references(listed)) if given is None else (given,)
        primary = self._sink.commit([image for _, image in found], root, names)
        text = ", ".join(name.familiar for name in names) or self._unnamed(
            listed, primary.record.id
        )
        self._emitter.emit(Status.DONE, message=f"Loaded image {text}")
        return LoadResult(root, primary.record, names)

    def _is_tag(self, name: str) -> bool:
        return self._archive.bare_tags and not {"/", ":"} & set(name)

    def _unnamed(self, listed: ListedImage, image_id: Digest) -> str:
        """Return a text for an image without a name, with advice how to name it."""
        tags = [name for name in listed.names if self._is_tag(name)]
        tag = f":{tags[0]}" if tags else ""
        why = f"the archive has only a tag, {', '.join(tags)}; " if tags else ""
        advice = f"to give it one: wherry tag {image_id.hex[:12]} NAME{tag}"
        return f"{image_id}, without a name ({why}{advice})"

    def _references(self, listed: ListedImage) -> Iterator[Reference]:
        """Yield the names of an image; a tag alone in a layout is not a name."""
        seen = set()
        for name in listed.names:
            if self._is_tag(name):
                continue
            try:
                reference = Reference.parse(name).with_default_tag()
            except InvalidReference as error:
                self._emitter.warn(f"{name}: {error}; skipped")
                continue
            if reference not in seen and reference.digest is None:
                seen.add(reference)
                yield reference


def _platform(selection: Selection) -> str:
    """Return the platform that an index states for an image, or an empty text."""
    for _, index in selection.indexes[-1:]:
        for entry in index.manifests:
            if entry.digest == selection.digest and entry.platform is not None:
                return str(entry.platform)
    return ""
