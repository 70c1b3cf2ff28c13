"""Skopeo's flat directories, with ``manifest.json`` and a file for each blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.archive import Archive
from wherry.archive.detect import no_archive
from wherry.archive.files import has, read, read_document
from wherry.archive.select_image import ListedImage
from wherry.errors import WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import digest_of, parse

if TYPE_CHECKING:
    from wherry.archive.files import Files
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Opened
    from wherry.model.address import Address
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

MANIFEST, VERSION = "manifest.json", "version"


class FlatDirectory(Archive):
    """A directory with one image, or with one index and its images."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        if not has(files, MANIFEST):
            raise no_archive(files.path, f"is not an image directory: there is no {MANIFEST} in it")
        try:
            self._document = parse(read(files, MANIFEST), "")
        except WherryError as error:
            raise error.within(files.path) from None
        self._digest = digest_of(self._document)

    def images(self) -> list[ListedImage]:
        """Return the image; it has no name."""
        raw = self._document.raw
        return [ListedImage((), Descriptor(self._document.media_type, self._digest, len(raw)))]

    def resolve(self, _address: Address) -> Descriptor:
        """Return the root of the only image."""
        return self.images()[0].root

    def document(self, digest: Digest) -> Document:
        """Return a verified document; raises `NotFound` and `IntegrityError`."""
        if digest == self._digest:
            return self._document
        return read_document(self._files, document_name(digest), digest, "")

    def open(self, descriptor: Descriptor, offset: int, _cancel: CancelToken) -> Opened:
        """Open a blob at ``offset``; raises `NotFound`."""
        # In directories of version 1.0, the names of layers end with .tar.
        old = f"{descriptor.digest.hex}.tar"
        name = old if has(self._files, old) else descriptor.digest.hex
        return self._files.open(name, offset)


def document_name(digest: Digest) -> str:
    """Return the name of a document's file; the root has the name `MANIFEST`."""
    return f"{digest.hex}.{MANIFEST}"
