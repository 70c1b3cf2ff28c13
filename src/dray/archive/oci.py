"""OCI image layouts, as directories and in tars (OCI image spec, image-layout.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dray.archive.choice import Held, choose, same_name
from dray.archive.files import has, read, read_document
from dray.archive.known import check_ended
from dray.errors import (
    DrayError,
    IntegrityError,
    InvalidDigest,
    InvalidDocument,
    InvalidReference,
    NotFound,
    Unsupported,
)
from dray.model import mediatype
from dray.model._fields import load_object
from dray.model.convert import to_oci
from dray.model.descriptor import Descriptor
from dray.model.digest import Digest
from dray.model.manifest import Index, parse
from dray.model.reference import Reference

if TYPE_CHECKING:
    from dray.archive.files import Files
    from dray.content.cancel import CancelToken
    from dray.content.ports import Opened
    from dray.model.address import Address
    from dray.model.manifest import Document

MARK, INDEX = "oci-layout", "index.json"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"  # the whole name; containerd and docker write it
ORIGINAL = "dray.original"  # the digest of what an entry's document was converted from
_MAX_DEPTH = 8


class OciLayout:
    """A layout to read from: documents, blobs, and what ``index.json`` says about names."""

    def __init__(self, files: Files) -> None:
        self.path = files.path
        self._files = files
        self._index = self._read_index()
        self._own = Descriptor.of(self._index.raw, self._index.media_type)
        self._types = {entry.digest: entry.media_type for entry in self._index.manifests}

    def _read_index(self) -> Index:
        path = self._files.path
        if not (has(self._files, MARK) and has(self._files, INDEX)):
            check_ended(self._files)
        if not has(self._files, MARK):
            raise NotFound(f"{path}: is no OCI layout: there is no {MARK} in it")
        try:
            mark = load_object(read(self._files, MARK), MARK, max_depth=_MAX_DEPTH)
            version = mark.text("imageLayoutVersion")
            if version.partition(".")[0] != "1":
                raise Unsupported(f"OCI layouts of version {version[:20]!r} are not supported")
            index = parse(read(self._files, INDEX), "")
        except DrayError as error:
            raise error.within(path) from None
        if not isinstance(index, Index):
            raise InvalidDocument(f"{path}: {INDEX} is no index")
        return index

    def images(self) -> list[Held]:
        """Return the images that have a place in ``index.json``, each root once."""
        names: dict[Digest, list[str]] = {}
        roots: dict[Digest, Descriptor] = {}
        for entry in self._index.manifests:
            if entry.media_type.lower() in mediatype.KNOWN or not entry.media_type:
                found = (entry.annotations.get(key, "") for key in (IMAGE_NAME, REF_NAME))
                names.setdefault(entry.digest, []).extend(filter(None, found))
                roots.setdefault(entry.digest, entry)
        return [Held(tuple(dict.fromkeys(names[digest])), roots[digest]) for digest in roots]

    def original(self, root: Descriptor) -> Digest | None:
        """Return the document that a root says it was converted from, if it really was.

        Converting it again has to give the root: whoever reads the one sees the same image
        as who reads the other.
        """
        try:
            digest = Digest.parse(root.annotations.get(ORIGINAL, ""))
            made = to_oci(self.document(digest), self.document)
        except (InvalidDigest, NotFound, InvalidDocument, IntegrityError, Unsupported):
            return None
        return digest if made and root.digest.matches(made[-1].raw) else None

    def resolve(self, address: Address) -> Descriptor:
        """Find the image that is meant; raises `NotFound`, and says what there is.

        Where nothing is asked for, it is the only one; an ``index.json`` that lists platforms
        without names is an image itself. A name stands as it is there, or for a whole name,
        ``latest`` being understood, or else for the tag of one.
        """
        held, digest, name = self.images(), address.digest, address.name
        if digest is not None:
            return next(
                (each.root for each in held if each.root.digest == digest),
                Descriptor("", digest),
            )
        if not name:
            if len(held) > 1 and all(each.root.platform and not each.names for each in held):
                return self._own
            return choose(self._files.path, held, "", lambda _: True).root
        try:
            whole = Reference.parse(name).with_default_tag()
        except InvalidReference:
            whole = None
        for same in (
            lambda found: found == name,
            lambda found: same_name(found, whole),
            lambda found: found.rpartition("/")[2].endswith(f":{name}"),  # a whole name's tag
        ):
            if any(map(same, (found for each in held for found in each.names))):
                break
        return choose(self._files.path, held, name, lambda each: any(map(same, each.names))).root

    def document(self, digest: Digest) -> Document:
        """Return a document, hashed; raises `NotFound` and `IntegrityError`."""
        if digest == self._own.digest:
            return self._index
        return read_document(self._files, _file(digest), digest, self._types.get(digest, ""))

    def open(self, descriptor: Descriptor, offset: int, _cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``; raises `NotFound`."""
        return self._files.open(_file(descriptor.digest), offset)


def _file(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
