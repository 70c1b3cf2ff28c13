"""Load: the images of an archive or layout into the local store, verified, names last."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dray.archive.dir import FlatDirectory
from dray.archive.docker import DockerArchive
from dray.archive.files import MAX_DOCUMENTS, Directory, TarFiles, has, read, translated
from dray.archive.known import IMPORT, called, check_ended, no_archive
from dray.archive.legacy import docker_archive, is_docker_archive
from dray.archive.oci import INDEX, MARK, OciLayout
from dray.archive.streamed import StreamedFiles
from dray.content.codec import LONGEST_MAGIC, detect
from dray.content.events import Event, Status
from dray.errors import (
    DrayError,
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    NotFound,
    PlatformMismatch,
)
from dray.model.digest import Digest
from dray.model.manifest import Manifest
from dray.model.record import Record
from dray.model.reference import Reference
from dray.ops.content import Content, ContentPuller, Wanted
from dray.ops.places import StorePlace
from dray.transfer.copy import CopyOptions
from dray.transfer.graph import Selection, select, select_all
from dray.transfer.progress import INTERVAL, Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from dray.archive.choice import Held
    from dray.archive.files import Files
    from dray.content.cancel import CancelToken
    from dray.content.ports import Opened, Raw
    from dray.model.platform import Platform
    from dray.store import LocalStore
    from dray.store.images import ImageRecord
    from dray.store.ingest import Ingest

_ID = re.compile(r"[0-9a-f]{64}")
# What happens to a layer is called otherwise where it comes from an archive.
_WORDS = {
    Status.DOWNLOADING: Status.LOADING,
    Status.VERIFYING: Status.LOADING,
    Status.DOWNLOADED: Status.LOADING,
    Status.COMPLETE: Status.LOADED,
}


class LoadOptions(Record):
    """``host`` is this machine's platform; ``platform`` the one that somebody asked for."""

    host: Platform
    platform: Platform | None = None
    copy: CopyOptions = CopyOptions()
    schema1: str | None = None


class Loaded(Record):
    """An image that is in the store now, and the names that it was given."""

    root: Digest
    image: ImageRecord
    names: tuple[Reference, ...]


def load(
    store: LocalStore,
    source: Path | Raw,
    options: LoadOptions,
    cancel: CancelToken,
    listener: Callable[[Event], None],
) -> list[Loaded]:
    """Load all images of an archive, layout or directory (SPEC: "Archives"); idempotent.

    An archive in a file is read where it lies, several layers at a time; a pipe or what is
    compressed is read once, layers going into the store as they come. Raises any
    `DrayError`; then no name has been changed.
    """
    with store.ingest() as ingest:
        keeper = _Keeper(store, ingest, Emitter(listener, called(source)), cancel)
        with _opened(source, keeper, cancel) as files:
            told = _Translated(listener, streamed=isinstance(files, StreamedFiles))
            work = _Load(store, ingest, files, options, cancel, told)
            return work.run()


class _Load:
    def __init__(
        self,
        store: LocalStore,
        ingest: Ingest,
        files: Files,
        options: LoadOptions,
        cancel: CancelToken,
        listener: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._options = options
        self._files = files
        self._path = files.path
        self._room = MAX_DOCUMENTS
        self._emitter = Emitter(listener, files.path)
        self._place = _place(files, cancel)
        self._content = ContentPuller(
            store,
            ingest,
            self._place,
            self._emitter,
            options.copy,
            cancel,
            verify_signatures=True,
            schema1=options.schema1,
        )

    def run(self) -> list[Loaded]:
        """Load every image, then name them."""
        found = []
        for held in self._place.images():
            try:
                selections = self._selections(self._root(held))
                found.append((held, [self._obtain(selection) for selection in selections]))
                self._check_room(found[-1][1])
            except DrayError as error:
                if isinstance(error, NotFound) and not isinstance(error, PlatformMismatch):
                    check_ended(self._files)
                raise error.within(self._path) from error.__cause__
        if not found:
            raise NotFound(f"{self._path}: there is no image in it")
        return [self._name(*each) for each in found]

    def _check_room(self, added: list[tuple[Selection, Content]]) -> None:
        """Bound the documents that are kept until all is there and can be named."""
        self._room -= sum(len(content.manifest) for _, content in added)
        self._room -= sum(len(index.raw) for _, index in added[0][0].indexes)
        if self._room < 0:
            raise InvalidDocument(f"its documents have more than {MAX_DOCUMENTS >> 20} MiB")

    def _root(self, held: Held) -> Digest:
        """Return an image's root; where it was converted for the layout, what it was before."""
        original = self._place.original(held.root) if isinstance(self._place, OciLayout) else None
        return original or held.root.digest

    def _selections(self, root: Digest) -> list[Selection]:
        document = self._place.document(root)
        if self._options.platform is not None:
            return [select(root, document, self._options.platform, self._place.document)]
        # An index need not have all that it lists, unless the rest may have been cut off.
        whole = self._files.ended
        return select_all(root, document, self._place.document, sparse=whole)

    def _obtain(self, selection: Selection) -> tuple[Selection, Content]:
        """Bring an image in, or find it in the store under another manifest."""
        platform = self._options.platform
        wanted = None if platform is None else Wanted(platform, strict=True)
        if isinstance(self._place, DockerArchive):
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

    def _name(self, held: Held, found: list[tuple[Selection, Content]]) -> Loaded:
        for selection, content in found:
            self._content.add_documents(selection, content)
        shown, primary = min(found, key=lambda each: self._preference(each[1].platform))
        names = tuple(self._references(held))
        self._ingest.commit(
            [content.record for _, content in found], primary.record.manifest, shown.root, names
        )
        called = ", ".join(name.familiar for name in names) or self._unnamed(
            held, primary.record.id
        )
        self._emitter.emit(Status.DONE, message=f"Loaded image {called}")
        return Loaded(shown.root, primary.record, names)

    def _is_tag(self, name: str) -> bool:
        return isinstance(self._place, OciLayout) and not {"/", ":"} & set(name)

    def _unnamed(self, held: Held, image_id: Digest) -> str:
        """Say why an image has no name, and how it is given one."""
        tags = [name for name in held.names if self._is_tag(name)]
        tag = f":{tags[0]}" if tags else ""
        why = f"the archive has but a tag, {', '.join(tags)}; " if tags else ""
        advice = f"to give it one: dray tag {image_id.hex[:12]} NAME{tag}"
        return f"{image_id}, without a name ({why}{advice})"

    def _preference(self, platform: Platform) -> int:
        rank = self._options.host.rank(platform)
        return 1000 if rank is None else rank

    def _references(self, held: Held) -> Iterator[Reference]:
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


def _place(files: Files, cancel: CancelToken) -> OciLayout | FlatDirectory | DockerArchive:
    """Tell what an archive is. Engines since 25 write a layout that is a docker archive too."""
    if has(files, MARK) and has(files, INDEX):
        return OciLayout(files)
    if has(files, "manifest.json") and read(files, "manifest.json").lstrip()[:1] == b"{":
        return FlatDirectory(files)
    if not is_docker_archive(files):
        check_ended(files)
        raise no_archive(files.path, hint=IMPORT)
    return docker_archive(files, cancel, true=True)


@contextlib.contextmanager
def _opened(source: Path | Raw, keeper: _Keeper, cancel: CancelToken) -> Iterator[Files]:
    """Open an archive: where it lies, or as a stream."""
    if not isinstance(source, Path):
        yield StreamedFiles(called(source), source, keeper, cancel)
        return
    path = str(source)
    with translated(path):
        status = os.stat(path)  # noqa: PTH116 - a string
    if stat.S_ISDIR(status.st_mode):
        with contextlib.closing(Directory(path)) as directory:
            yield directory
        return
    with translated(path), open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a string
        lies = stat.S_ISREG(status.st_mode)
        if not lies or detect(os.pread(file.fileno(), LONGEST_MAGIC, 0)) is not None:
            yield StreamedFiles(path, file, keeper, cancel)
            return
    with contextlib.closing(TarFiles(path, cancel)) as tar:
        yield tar


class _Translated:
    """Calls things by the words of archives."""

    def __init__(self, listener: Callable[[Event], None], *, streamed: bool) -> None:
        self._listener = listener
        self._streamed = streamed

    def __call__(self, event: Event) -> None:
        if self._streamed and event.status in {Status.PULLING, Status.EXISTS}:
            return  # they were told of when they came
        self._listener(event._replace(status=_WORDS.get(event.status, event.status)))


class _Keeper:
    """Puts what comes out of a stream into the store; the lease holds it until it is named."""

    def __init__(
        self, store: LocalStore, ingest: Ingest, emitter: Emitter, cancel: CancelToken
    ) -> None:
        self._place = StorePlace(store)
        self._ingest = ingest
        self._emitter = emitter
        self._cancel = cancel

    def put(self, source: Raw, name: str, size: int) -> Digest:
        """Store a member; it is called by the id in its name until its digest is known."""
        named = _ID.search(name)
        key = Digest(f"sha256:{named.group()}") if named else Digest.of(name.encode())
        receipt = self._ingest.put_unknown(_Told(source, key, size, self._emitter), self._cancel)
        self._emitter.emit(Status.LOADED, key, current=size, total=size)
        return receipt.descriptor.digest

    def open(self, digest: Digest, size: int, offset: int) -> Opened:
        """Open what was stored."""
        from dray.model.descriptor import Descriptor

        return self._place.open(Descriptor("", digest, size), offset, self._cancel)


class _Told:
    """A member on its way, reported now and then."""

    def __init__(self, source: Raw, key: Digest, size: int, emitter: Emitter) -> None:
        self._source = source
        self._key = key
        self._size = size
        self._emitter = emitter
        self._done = 0
        self._reported = 0.0

    def readinto(self, buffer: Buffer) -> int:
        count = self._source.readinto(buffer) or 0
        self._done += count
        now = time.monotonic()
        if now - self._reported >= INTERVAL:
            self._reported = now
            self._emitter.emit(Status.LOADING, self._key, current=self._done, total=self._size)
        return count
