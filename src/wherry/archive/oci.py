"""OCI image layouts in directories and tars (OCI image spec, image-layout.md)."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from wherry.archive.archive import Archive
from wherry.archive.detect import check_ended, no_archive
from wherry.archive.files import has, read, read_document
from wherry.archive.layout_roots import is_original
from wherry.archive.select_image import ListedImage, choose, same_name
from wherry.errors import (
    InvalidDigest,
    InvalidDocument,
    InvalidReference,
    NotFound,
    Unsupported,
    WherryError,
)
from wherry.model import mediatype
from wherry.model._fields import as_object, load_object
from wherry.model.descriptor import Descriptor, read_descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, Manifest, parse
from wherry.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry.archive.files import Files
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.model.address import Address
    from wherry.model.manifest import Document

MARK, INDEX = "oci-layout", "index.json"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"  # the full name; written by containerd and docker
ORIGINAL = "wherry.original"  # digest of the document that an entry was converted from
_MAX_DEPTH = 8


class OciLayout(Archive):
    """An OCI layout: its documents, its blobs, and the names in ``index.json``."""

    bare_tags = True
    keeps_referrers = True

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self._faults: list[ListedImage] = []
        self._referrers: dict[Digest, list[Descriptor]] | None = None
        self._index = self._read_index()
        self._own = Descriptor.of(self._index.raw, self._index.media_type)
        self._types = {entry.digest: entry.media_type for entry in self._index.manifests}

    def _read_index(self) -> Index:
        path = self._files.path
        if not (has(self._files, MARK) and has(self._files, INDEX)):
            check_ended(self._files)
        for name in (MARK, INDEX):
            if not has(self._files, name):
                raise no_archive(path, f"is not an OCI layout: there is no {name} in it")
        try:
            check_version(read(self._files, MARK))
            return self._parse_index(read(self._files, INDEX))
        except WherryError as error:
            raise error.within(path) from None

    def _parse_index(self, raw: bytes) -> Index:
        """Parse ``index.json``; invalid entries become faults, the others stay usable.

        Engines write ``null`` instead of an empty list.
        """
        entries = load_object(raw, INDEX, max_depth=_MAX_DEPTH).array("manifests")
        rest = {key: value for key, value in load_index(raw).items() if key != "manifests"}
        kind: dict[str, list[object]] = (
            {} if {"config", "layers", "fsLayers"} & set(rest) else {"manifests": []}
        )
        index = parse(json.dumps(rest | kind).encode(), "")
        if not isinstance(index, Index):
            raise InvalidDocument(f"{INDEX} is not an index")
        found = []
        for place, entry in enumerate(entries):
            at = f"manifests[{place}]"
            try:
                found.append(read_descriptor(as_object(entry, at)))
            except InvalidDocument as error:
                self._faults.append(ListedImage(_names_of(entry), error.within(INDEX), at))
        return index.replace(raw=raw, manifests=tuple(found))

    def images(self) -> list[ListedImage]:
        """Return the images in ``index.json``, each root once; unreadable entries last.

        Attestations and entries of unknown types are left out (see `others`).
        """
        names: dict[Digest, dict[str, None]] = {}
        roots: dict[Digest, Descriptor] = {}
        for entry in self._index.manifests:
            if _is_document(entry) and not entry.is_attestation:
                found = names.setdefault(entry.digest, {})
                found |= dict.fromkeys(_names(entry.annotations))
                roots.setdefault(entry.digest, entry)
        whole = [ListedImage(tuple(names[digest]), roots[digest]) for digest in roots]
        return [*whole, *self._faults]

    def others(self) -> list[Descriptor]:
        """Return the entries of unknown types.

        They are not errors (OCI image spec, image-layout.md, "index.json").
        """
        return [entry for entry in self._index.manifests if not _is_document(entry)]

    def original(self, root: Descriptor) -> Digest | None:
        """Return the document that a root was converted from; None if there is none.

        The annotation counts only if converting the document gives this root. Then both are the
        same image.
        """
        try:
            digest = Digest.parse(root.annotations.get(ORIGINAL, ""))
        except InvalidDigest:
            return None
        return digest if is_original(digest, root.digest, self.document) else None

    def resolve(self, address: Address) -> Descriptor:
        """Return the root of an image; raises `NotFound`, with the names in the layout.

        Without a name it is the only image. An ``index.json`` that lists only platforms without
        names is itself the image. A name matches, in this order: the same name; a full name
        with the default tag ``latest``; the tag of a full name.
        """
        images, digest, name = self.images(), address.digest, address.name
        if digest is not None:
            entries = self._index.manifests
            return next((x for x in entries if x.digest == digest), Descriptor("", digest))
        if not name:
            if len(images) > 1 and all(_is_platform(image) for image in images):
                return self._own
            return choose(self._files.path, images, "", lambda _: True).root
        try:
            whole = Reference.parse(name).with_default_tag()
        except InvalidReference:
            whole = None
        for same in (
            lambda found: found == name,
            lambda found: same_name(found, whole),
            lambda found: found.rpartition("/")[2].endswith(f":{name}"),  # the tag of a full name
        ):
            if any(map(same, (found for image in images for found in image.names))):
                break
        return choose(
            self._files.path, images, name, lambda image: any(map(same, image.names))
        ).root

    def document(self, digest: Digest) -> Document:
        """Return a verified document; raises `NotFound` and `IntegrityError`."""
        if digest == self._own.digest:
            return self._index
        return read_document(self._files, blob_name(digest), digest, self._types.get(digest, ""))

    def open(self, descriptor: Descriptor, offset: int, _cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``; raises `NotFound`."""
        return self._files.open(blob_name(descriptor.digest), offset)

    def referrers(self, digest: Digest, artifact_type: str = "") -> list[Descriptor]:
        """Return the images and indexes whose subject is ``digest``."""
        if self._referrers is None:
            self._referrers = self._find_referrers()
        found = self._referrers.get(digest, ())
        return [entry for entry in found if artifact_type in {"", entry.artifact_type}]

    def find_tag(self, tag: str) -> Digest | None:
        """Return the root of the only image with a tag, whatever repository its name has."""
        named = (image for image in self.images() if tag in map(_tag_of, image.names))
        found = {image.root.digest for image in named}
        return found.pop() if len(found) == 1 else None

    def tags(self) -> Iterator[str]:
        """Yield the tags of all images."""
        for image in self.images():
            yield from map(_tag_of, image.names)

    def _find_referrers(self) -> dict[Digest, list[Descriptor]]:
        """Read the documents in ``index.json``; return those with a subject by its digest.

        Entries that are missing or of other formats are no referrers.
        """
        found: dict[Digest, list[Descriptor]] = {}
        for image in self.images():
            if not isinstance(image.found, Descriptor):
                continue
            try:
                document = self.document(image.found.digest)
            except (NotFound, InvalidDocument, Unsupported):
                continue
            if isinstance(document, Manifest | Index) and document.subject is not None:
                kind = document.artifact_type
                if isinstance(document, Manifest):
                    kind = kind or document.config.media_type
                entry = image.found._replace(artifact_type=kind, annotations=document.annotations)
                found.setdefault(document.subject.digest, []).append(entry)
        return found


def load_index(raw: bytes) -> dict[str, Any]:
    """Return the fields of a checked ``index.json``, with numbers as they are.

    Raises:
        InvalidDocument: A number has more than 4,300 digits.
    """
    try:
        found: dict[str, Any] = json.loads(raw)
    except ValueError as error:
        raise InvalidDocument(f"{INDEX} is not JSON: {error}") from None
    return found


def check_version(mark: bytes) -> None:
    """Raise `Unsupported` or `InvalidDocument` for an ``oci-layout`` of another version."""
    version = load_object(mark, MARK, max_depth=_MAX_DEPTH).text("imageLayoutVersion")
    if version.partition(".")[0] != "1":
        raise Unsupported(f"OCI layouts of version {version[:20]!r} are not supported")


def _is_platform(image: ListedImage) -> bool:
    """Tell whether an entry of ``index.json`` has a platform and no name."""
    found = image.found
    return isinstance(found, Descriptor) and found.platform is not None and not image.names


def _tag_of(name: str) -> str:
    return name.rpartition("/")[2].rpartition(":")[2]


def _names(annotations: Mapping[str, str]) -> tuple[str, ...]:
    found = (annotations.get(key, "") for key in (IMAGE_NAME, REF_NAME))
    return tuple(name for name in found if name)


def _names_of(entry: object) -> tuple[str, ...]:
    """Return the names of an invalid entry, if its annotations are valid."""
    with contextlib.suppress(InvalidDocument):
        return _names(as_object(entry, "").text_map("annotations"))
    return ()


def _is_document(entry: Descriptor) -> bool:
    return mediatype.may_be_image(entry.media_type)


def blob_name(digest: Digest) -> str:
    """Return the name of a blob's file in a layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"
