"""Import: a tar or a directory becomes one layer of a new image."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.archive.detect import called
from wherry.archive.gnu import ConvertedTar, conversion
from wherry.archive.os_files import open_stream
from wherry.archive.tar import NotATar, headers
from wherry.archive.tar_stream import TarStream
from wherry.content.codec import PeekedSource, detect
from wherry.content.events import Status
from wherry.content.verify import RawLimit
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    PlatformMismatch,
    StoreError,
    Unsupported,
)
from wherry.model import mediatype
from wherry.model._fields import Fields, load_object
from wherry.model.address import Address, Where
from wherry.model.config import MAX_DEPTH, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, docker_manifest, oci_manifest, parse
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.ops.directory_tar import DirectoryTar
from wherry.ops.image_puller import ImagePuller, StoredImage, TargetPlatform
from wherry.ops.open_source import open_image
from wherry.store.images import ImageRecord
from wherry.store.reserve import advised
from wherry.transfer.copy import CopyOptions
from wherry.transfer.derive import imported_config
from wherry.transfer.graph import select
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.content.protocols import RawStream, Receipt
    from wherry.model.reference import Reference
    from wherry.model.transfer_settings import TransferSettings
    from wherry.ops.open_source import Access, SourceImage
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest
    from wherry.transfer.graph import Selection

_KEPT = {None, "gzip", "zstd"}  # what layers may be compressed with; else they are unpacked


_FULL = "nothing was imported; make room: `wherry gc` removes what no name holds"


class ImportOptions(Record):
    """What is known of the image besides its layer.

    ``config`` is a whole config or a version 1 JSON; ``parent`` is what the layer is put on.
    With ``strict`` the caller asked for the platform, and the parent has to be for it.
    ``changes`` are instructions of a Dockerfile, ``message`` is the comment in the history, and
    ``epoch`` is when the image was made and the latest time of a directory's files, in seconds
    since 1970 (reproducible-builds.org, SOURCE_DATE_EPOCH).
    """

    platform: Platform
    strict: bool = False
    config: bytes | None = None
    parent: Address | None = None
    changes: tuple[str, ...] = ()
    message: str = ""
    epoch: int | None = None
    schema1: str | None = None

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None = None,
        *,
        config: bytes | None = None,
        parent: str | Address | None = None,
        changes: Sequence[str] = (),
        message: str = "",
        epoch: int | None = None,
    ) -> ImportOptions:
        """Make the options that a client's settings and the arguments of a call ask for.

        Raises:
            ValueError: A config goes with neither changes nor a message, and only with a
                parent does it go with a platform.
            InvalidReference: ``platform`` or ``parent`` does not parse, or ``message`` is not
                text in UTF-8.
        """
        if platform is not None and config is not None and parent is None:
            raise ValueError("a config says itself which platform its image is for")
        if config is not None and (changes or message):
            raise ValueError("a config is kept as it is: it takes no changes and no message")
        if not message.isascii() and message != message.encode(errors="replace").decode():
            raise InvalidReference("the message is no text in UTF-8", text="", position=0)
        wanted = Platform.parse(platform, host) if isinstance(platform, str) else platform
        return cls(
            wanted or Platform(host.os, host.architecture),
            strict=wanted is not None,
            config=config,
            parent=Address.parse(parent, Where.STORE) if isinstance(parent, str) else parent,
            schema1=settings.schema1,
            changes=tuple(changes),
            message=message,
            epoch=epoch,
        )


def import_layer(
    store: LocalStore,
    source: Path | RawStream,
    reference: Reference | None,
    options: ImportOptions,
    access: Access,
) -> ImageRecord:
    """Make an image of one layer, a tar however compressed or a directory's content.

    SPEC: "Local store", `import`. Nothing at all makes an image without that layer. Raises
    `StoreError` for what is no tar, `IntegrityError` for one that is damaged, `InvalidDocument`
    for a config that does not fit, and what opening the parent raises; then nothing is named.
    """
    emitter = Emitter(access.listener, called(source) if reference is None else reference.familiar)
    with advised(_FULL), store.ingest() as ingest:
        work = _Import(store, ingest, options, access, emitter)
        with _opened(source, options.epoch) as stream:
            layer = work.layer(stream)
        record = work.image(layer)
        ingest.commit(
            [record], record.manifest, record.manifest, [] if reference is None else [reference]
        )
    emitter.emit(Status.DONE, message=f"Imported {record.id}")
    return record


class _Import:
    def __init__(
        self,
        store: LocalStore,
        ingest: Ingest,
        options: ImportOptions,
        access: Access,
        emitter: Emitter,
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._options = options
        self._cancel = access.cancel
        self._emitter = emitter
        self._parent: tuple[StoredImage, Manifest] | None = None
        if options.parent is not None:
            self._parent = self._obtain(options.parent, access, emitter)
        self._below = None if self._parent is None else store.read(self._parent[0].record.id)
        self._settings = _settings(self._below, options.changes)

    def _obtain(
        self, address: Address, access: Access, emitter: Emitter
    ) -> tuple[StoredImage, Manifest]:
        """Have the parent in the store, wherever it is."""
        with open_image(address, access) as image:
            puller = ImagePuller(
                self._store,
                self._ingest,
                image.source,
                emitter,
                CopyOptions(),
                access.cancel,
                verify_signatures=True,
                schema1=self._options.schema1,
            )
            options = self._options
            try:
                wanted = TargetPlatform(options.platform, strict=True) if options.strict else None
                content = puller.obtain(self._chosen(image), wanted)
            except PlatformMismatch as error:
                name = address.name if address.where is Where.STORE else str(address)
                raise error.within(name) from None
            manifest = parse(content.manifest, content.media_type)
            assert isinstance(manifest, Manifest)  # noqa: S101 - schema1 has been converted
            return content, manifest

    def _chosen(self, image: SourceImage) -> Selection:
        """Find the parent's image: what a name of the store shows, unless a platform is wanted."""
        digest, document = image.digest, image.document
        if image.shown is not None and not (self._options.strict and isinstance(document, Index)):
            digest, document = image.shown, image.source.document(image.shown)
        return select(digest, document, self._options.platform, image.source.document)

    def layer(self, stream: RawStream) -> Receipt | None:
        """Store the layer; None where there is nothing."""
        replay = PeekedSource(stream)
        if not replay.head:
            return None
        compression = detect(replay.head)
        kept: RawStream = replay if compression in _KEPT else TarStream(replay, self._cancel)
        receipt = self._ingest.put_unknown(kept, self._cancel)
        with self._store.open(receipt.descriptor.digest) as file:
            found = _conversions(TarStream(file, self._cancel))
        return self._convert(receipt, found) if found else receipt

    def _convert(self, layer: Receipt, found: Counter[str]) -> Receipt:
        """Store the layer anew with members that engines unpack."""
        what = ", ".join(f"{what} ({count})" for what, count in found.items())
        self._emitter.warn(f"converted for other tools, which changes the layer's digest: {what}")
        limit = RawLimit().of(layer.descriptor.size or 0)
        with self._store.open(layer.descriptor.digest) as file:
            converted = ConvertedTar(TarStream(file, self._cancel), limit)
            return self._ingest.put_unknown(converted, self._cancel)

    def image(self, layer: Receipt | None) -> ImageRecord:
        """Make config and manifest over the layer and store them."""
        config, blobs = self._config(layer)
        parsed = parse_config(config)
        below = None if self._parent is None else self._parent[1]
        docker = below is not None and below.media_type == mediatype.DOCKER_MANIFEST
        layers = [] if below is None else list(below.layers)
        if layer is not None:
            kind = mediatype.layer_type(self._packing(layer), docker=docker)
            layers.append(Descriptor(kind, layer.descriptor.digest, layer.descriptor.size))
        kind = mediatype.DOCKER_CONFIG if docker else mediatype.OCI_CONFIG
        descriptor = Descriptor.of(config, kind)
        make = docker_manifest if docker else oci_manifest
        manifest = make(descriptor, layers)
        self._ingest.put_bytes(descriptor, config, self._cancel)
        digest = Digest.of(manifest.raw)
        wanted = [(each, True) for each in [descriptor.digest, *blobs, *(x.digest for x in layers)]]
        root = Descriptor(manifest.media_type, digest, len(manifest.raw))
        self._ingest.put_document(root, manifest.raw, wanted, self._cancel)
        return ImageRecord(
            manifest=digest,
            id=descriptor.digest,
            platform=str(parsed.platform.normalized()),
            created=parsed.created,
            size=sum({each.digest: each.size or 0 for each in layers}.values()) + len(config),
        )

    def _packing(self, layer: Receipt) -> str | None:
        with self._store.open(layer.descriptor.digest) as file:
            return detect(file.read(8))

    def _config(self, layer: Receipt | None) -> tuple[bytes, list[Digest]]:
        """Return the config, and the blobs that it was made from and that stay with it."""
        below = self._below
        diff_ids = [] if below is None else list(parse_config(below).diff_ids)
        if layer is not None and layer.diff_id is not None:
            diff_ids.append(layer.diff_id)
        given = self._options.config
        if given is not None and "rootfs" in _fields(given):
            _compare(given, diff_ids)
            return given, []
        message = self._options.message
        entry = {"created": _time(self._options.epoch), "comment": message or "imported"}
        made = imported_config(
            diff_ids,
            entry if layer is not None else entry | {"empty_layer": True},
            parent=below,
            given=given,
            platform=self._options.platform,
            settings=self._settings,
            comment=message,
        )
        if given is None:
            return made, []
        kept = Descriptor.of(given, "application/json")
        self._ingest.put_bytes(kept, given, self._cancel)
        return made, [kept.digest]


def _settings(below: bytes | None, changes: Sequence[str]) -> dict[str, Any] | None:
    """Return the parent's settings with changes made; None without any."""
    if not changes:
        return None
    from wherry.model.changes import changed

    found = Fields({}) if below is None else load_object(below, "the config", max_depth=MAX_DEPTH)
    settings = found.object("config")
    return changed({} if settings is None else settings.value, changes)


def _time(epoch: int | None) -> str:
    """Return when the image was made, as RFC 3339."""
    if epoch is None:
        now = datetime.datetime.now(datetime.UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    made = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    return f"{made.replace(tzinfo=None).isoformat()}Z"


def _fields(config: bytes) -> dict[str, object]:
    return load_object(config, "the config", max_depth=MAX_DEPTH).value


def _compare(config: bytes, diff_ids: list[Digest]) -> None:
    """Refuse a config whose rootfs is another than that of the layers."""
    parsed = parse_config(config)
    for path, message, _ in parsed.problems:  # an image that is made here is to have none
        raise InvalidDocument(message, path=path)
    stated = list(parsed.diff_ids)
    if stated != diff_ids:
        found = " ".join(map(str, diff_ids)) or "none"
        raise InvalidDocument(
            "does not fit the layers", path="rootfs.diff_ids", hint=f"the layers are {found}"
        )


def _conversions(layer: TarStream) -> Counter[str]:
    """Read a layer as a tar, so that nothing else becomes one; count what is to be converted."""
    found = Counter(filter(None, map(conversion, headers(layer))))
    if not layer.position:
        raise NotATar("is empty, no tar", expected="a tar", actual="nothing")
    return found


# What comes in


@contextlib.contextmanager
def _opened(source: Path | RawStream, epoch: int | None) -> Iterator[RawStream]:
    """Open what comes in; what is wrong with it is told with its name."""
    try:
        with _stream(source, epoch) as stream:
            yield stream
    except NotATar as error:
        raise StoreError(f"{error.message}").within(called(source)) from None
    except (IntegrityError, Unsupported) as error:
        raise error.within(called(source)) from error.__cause__


@contextlib.contextmanager
def _stream(source: Path | RawStream, epoch: int | None) -> Iterator[RawStream]:
    if not isinstance(source, Path):
        yield source
    elif source.is_dir():
        with DirectoryTar(source, epoch) as packing:
            yield packing
    else:
        with open_stream(str(source)) as file:
            yield file
