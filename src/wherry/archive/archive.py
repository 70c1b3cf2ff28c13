"""The base class of archives and layouts."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from wherry.content.local_source import LocalSource

if TYPE_CHECKING:
    from wherry.archive.files import Files
    from wherry.archive.select_image import ListedImage
    from wherry.model.address import Address
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class Archive(LocalSource):
    """A source that lists its images.

    ``makes_manifests`` tells that manifests are made from what the archive holds.
    ``bare_tags`` tells that a name in it may be a tag without a repository.
    """

    makes_manifests = False
    bare_tags = False

    def __init__(self, files: Files) -> None:
        super().__init__(files.path)
        self._files = files

    @abc.abstractmethod
    def images(self) -> list[ListedImage]:
        """Return the images, with their names."""

    @abc.abstractmethod
    def resolve(self, address: Address) -> Descriptor:
        """Return the root of the image that ``address`` names; raises `NotFound`."""

    def others(self) -> list[Descriptor]:
        """Return the entries that are not images."""
        return []

    def original(self, _root: Descriptor) -> Digest | None:
        """Return the digest of the document that a root was converted from, if known."""
        return None
