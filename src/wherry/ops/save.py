"""Save: images into archives and layouts that other tools read."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from wherry.archive import formats
from wherry.content.budget import Budget
from wherry.content.protocols import Receipt
from wherry.content.read_blob import read_blob
from wherry.content.verify import check_rootfs
from wherry.errors import InvalidReference, PlatformMismatch, Unsupported
from wherry.model.address import Where
from wherry.model.config import read_platform
from wherry.model.convert import to_oci
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.ops.blob_writers import (
    BlobWriter,
    LayerWriter,
    SaveProgress,
    config_of,
    raw_size,
    sized,
)
from wherry.ops.open_source import open_image
from wherry.ops.outputs import to_directory, to_file, to_stream
from wherry.ops.partial_index import PartialIndex
from wherry.ops.platform_check import mismatch
from wherry.transfer.graph import Selection, check_layers, select, select_all
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.archive.writer import Entry
    from wherry.content.cancel import CancelToken
    from wherry.model.address import Address
    from wherry.model.manifest import Document
    from wherry.ops.open_source import Access, SourceImage

Format: TypeAlias = Literal["docker", "oci-archive", "oci", "dir"]

DIRECTORIES = {"oci", "dir"}
# What names an image in a layout (OCI image spec, annotations.md, "ref.name").
_REF_NAME = re.compile(r"[A-Za-z0-9]+((--|[-._:@+/])[A-Za-z0-9]+)*")
_ENDING = re.compile(r"[^A-Za-z0-9._]+")  # what a tag cannot hold


class SaveOptions(Record):
    """``platforms`` are those asked for; without any a store shows one, or it is ``host``.

    Each of several platforms is a root of its own in a layout. ``name`` is what one image is
    called instead of its own name: a whole name, or in a layout a tag alone.
    ``jobs`` is how many members of a file are written at a time.
    """

    host: Platform
    platforms: tuple[Platform, ...] = ()
    format: Format = "docker"
    name: str = ""
    jobs: int = 2

    @classmethod
    def build(
        cls,
        host: Platform,
        platform: str | Platform | None = None,
        format: Format = "docker",  # noqa: A002 - as the public call names it
        name: str | None = None,
    ) -> SaveOptions:
        """Make the options that the arguments of a call ask for.

        Raises:
            InvalidReference: ``platform`` or ``name`` does not parse.
        """
        if isinstance(platform, str):
            platforms = Platform.parse_list(platform, host)
        else:
            platforms = () if platform is None else (platform,)
        if name is not None:
            check_name(name, format)
        return cls(host, platforms, format, name or "")


class SaveResult(Record):
    """An image that was written: the root in the archive, and its id."""

    root: Digest
    id: Digest
    names: tuple[Reference, ...]


def save(
    addresses: Sequence[Address], output: Path | BinaryIO, options: SaveOptions, access: Access
) -> list[SaveResult]:
    """Write images to a file, a directory, or an open pipe or the like (SPEC: "Archives").

    The same images give the same bytes. A file or directory gets its name when it is
    complete, and replaces a file that was there. Raises any `WherryError`.
    """
    _check(options, len(addresses))
    with contextlib.ExitStack() as opened:
        chosen: dict[Digest, ImageToSave] = {}
        for address in addresses:
            image = opened.enter_context(open_image(address, access))
            if image.store is not None:
                opened.enter_context(image.store.held(image.digest))
            emitter = Emitter(access.listener, str(address))
            for platform in options.platforms or (None,):
                try:
                    found = _choose(image, options, platform, emitter, access.cancel)
                except PlatformMismatch as error:
                    error.subject = address.name if address.where is Where.STORE else str(address)
                    raise
                known = chosen.setdefault(found.root.digest, found)
                several = platform if len(options.platforms) > 1 else None
                known.names |= _names(image.reference or image.named, options, several)
        reports = SaveProgress(Emitter(access.listener, str(addresses[0])))
        entries = list(_entries(list(chosen.values()), options, reports, access.cancel))
        directory = options.format in DIRECTORIES
        if not isinstance(output, Path):
            if directory:
                raise Unsupported(f"{options.format} is a directory and cannot go to a pipe")
            to_stream(output, entries, access.cancel)
        elif directory:
            to_directory(output, entries, options.jobs, access.cancel)
        else:
            to_file(output, entries, options.jobs, access.cancel)
        return [
            SaveResult(each.root.digest, each.manifest.config.digest, each.references)
            for each in chosen.values()
        ]


# What goes into it


class ImageToSave:
    """An image to be saved: its place, the root to write, and the manifest that is shown."""

    def __init__(
        self,
        image: SourceImage,
        digest: Digest,
        document: Document,
        manifest: Manifest,
        fetch: Callable[[Digest], Document],
    ) -> None:
        self.image = image
        self.root = Descriptor(document.media_type, digest, len(document.raw))
        self.document = document
        self.manifest = manifest
        self.names: dict[str, Reference | None] = {}
        self.fetch = fetch

    @property
    def references(self) -> tuple[Reference, ...]:
        """The whole names."""
        return tuple(name for name in self.names.values() if name is not None)


def _check(options: SaveOptions, count: int) -> None:
    """Refuse what a format has no room for."""
    if options.format == "dir" and count * max(1, len(options.platforms)) > 1:
        raise Unsupported("a flat directory holds one image", hint="use --format oci")
    if options.format == "docker" and len(options.platforms) > 1:
        raise Unsupported(
            "a docker archive holds one platform of an image",
            hint="use --format oci or oci-archive",
        )
    if options.name and count > 1:
        raise Unsupported(f"there are {count} images, a name is for one")
    if options.name and options.format == "dir":
        raise Unsupported("a flat directory has no room for a name", hint="use --format oci")


def _names(
    own: Reference | None, options: SaveOptions, platform: Platform | None
) -> dict[str, Reference | None]:
    """Return what an image is called; each of several platforms has its own tag."""
    given = options.name
    ending = "" if platform is None else "-" + _ENDING.sub("-", str(platform)).strip("-")
    if given and not _is_whole(given, options.format):
        return {f"{given}{ending}": None}
    # With a digest as well it is that which counts; it is no name in an archive.
    name = Reference.parse_new(given) if given else own
    if name is None or name.tag is None or name.digest is not None:
        return {}
    if ending:
        name = name.with_tag(f"{name.tag}{ending}")
    return {given if given and not ending else str(name): name}


def _is_whole(name: str, form: Format) -> bool:
    """Tell a name from a tag alone, which only layouts have room for."""
    return form == "docker" or not {"/", ":"}.isdisjoint(name)


def check_name(name: str, form: Format) -> None:
    """Raise `InvalidReference` for what cannot be a name in an archive of a format."""
    if _is_whole(name, form):
        Reference.parse_new(name)
    elif not _REF_NAME.fullmatch(name):
        message = "is no name of an image in a layout (OCI image spec, annotations.md)"
        raise InvalidReference(f"{name!r} {message}", text=name, position=0)


def _choose(
    image: SourceImage,
    options: SaveOptions,
    platform: Platform | None,
    emitter: Emitter,
    cancel: CancelToken,
) -> ImageToSave:
    cancel.check()
    digest, manifest = _manifest(image, options, platform)
    if platform is not None:
        chosen = _select(image, options, platform)
        raw = read_blob(image.source, manifest.config)
        if (error := mismatch(chosen, read_platform(raw), platform)) is not None:
            raise error
    root: Document = manifest
    if options.format != "docker" and platform is None and digest != image.digest:
        if not isinstance(image.document, Index):
            emitter.warn(f"saved as {digest}: schema1 has no place in such an archive")
        else:
            held = PartialIndex(image, image.digest, image.document)
            if held.lacks_image:
                emitter.warn(f"saved as {digest}: the index's other images are not there")
            else:
                if held.missing:
                    others = "an entry" if held.missing == 1 else f"{held.missing} entries"
                    lacks = f"without {others} of the index, attestations or the like"
                    emitter.warn(f"saved as {held.digest}: {lacks}, not there")
                return ImageToSave(image, held.digest, held.root, manifest, held.document)
    return ImageToSave(image, digest, root, manifest, image.source.document)


def _manifest(
    image: SourceImage, options: SaveOptions, platform: Platform | None
) -> tuple[Digest, Manifest]:
    """Return the manifest of the platform that is wanted, or that the place shows."""
    if platform is None and image.shown is not None:
        digest, found = image.shown, image.source.document(image.shown)
    else:
        selection = _select(image, options, platform)
        digest, found = selection.digest, selection.manifest
        if not isinstance(found, Manifest) and (made := image.derived(digest)) is not None:
            digest, found = made, image.source.document(made)
    if not isinstance(found, Manifest):
        raise Unsupported(
            "schema1 has to be converted before it can be saved", hint="pull it into the store"
        )
    if found.artifact is not None:
        raise Unsupported(f"this is {found.artifact}, not an image")
    check_layers(Selection((), digest, found))
    return digest, found


def _select(image: SourceImage, options: SaveOptions, platform: Platform | None) -> Selection:
    """Find the image for a platform; where nobody asked for one, a layout takes any."""
    root, fetch = (image.digest, image.document), image.source.document
    try:
        return select(*root, platform or options.host, fetch)
    except PlatformMismatch:
        if platform is not None or options.format == "docker":
            raise
        return select_all(*root, fetch, sparse=True)[0]


def _entries(
    chosen: Sequence[ImageToSave], options: SaveOptions, reports: SaveProgress, cancel: CancelToken
) -> Iterator[Entry]:
    if options.format == "docker":
        images = [_docker_image(each, reports, cancel) for each in chosen]
        return formats.docker_entries(images)
    contents: dict[Digest, formats.Content] = {}
    for each in chosen:
        for content in _contents(each, each.root.digest, each.document, reports, cancel):
            contents.setdefault(content.descriptor.digest, content)
    if options.format == "dir":
        return formats.flat_entries(chosen[0].root.digest, contents.values())
    roots = []
    for each in chosen:
        made = to_oci(each.document, Budget().limited(each.fetch))
        found = [Descriptor.of(document.raw, document.media_type) for document in made]
        for descriptor, document in zip(found, made, strict=True):
            contents[descriptor.digest] = formats.Content(descriptor, document.raw)
        original = each.root.digest if found else None
        roots.append(formats.Root([each.root, *found][-1], each.names, original))
    return formats.layout_entries(roots, contents.values())


def _docker_image(
    chosen: ImageToSave, reports: SaveProgress, cancel: CancelToken
) -> formats.DockerImage:
    source, manifest = chosen.image.source, chosen.manifest
    config = config_of(source, manifest.config)
    check_rootfs(config, [Receipt(layer) for layer in manifest.layers])
    layers = []
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        known, size = chosen.image.facts(layer.digest)
        if size is None:
            size = raw_size(source, layer, cancel)
        plain = LayerWriter(source, layer, diff_id, size, reports, verified=known == diff_id)
        layers.append(formats.PlainLayer(size, plain))
    return formats.DockerImage(
        config.raw, manifest.config.digest, config.diff_ids, layers, chosen.references
    )


def _contents(
    chosen: ImageToSave,
    digest: Digest,
    document: Document,
    reports: SaveProgress,
    cancel: CancelToken,
) -> Iterator[formats.Content]:
    """Yield all below a root, leaves first."""
    source = chosen.image.source
    if isinstance(document, Index):
        for entry in document.manifests:
            child = chosen.fetch(entry.digest)
            yield from _contents(chosen, entry.digest, child, reports, cancel)
    elif isinstance(document, Manifest):
        for blob in (*document.layers, document.config):
            found = blob if blob is document.config else sized(source, blob, cancel)
            yield formats.Content(found, copy=BlobWriter(source, found, reports))
    descriptor = Descriptor(document.media_type, digest, len(document.raw))
    yield formats.Content(descriptor, data=document.raw)
