"""Selection of one image of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import (
    Cancelled,
    InvalidReference,
    NotFound,
    StoreError,
    UnsafeArchive,
    WherryError,
)
from wherry.model.descriptor import Descriptor
from wherry.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SHOWN = 50  # names in an error
# Errors that concern a whole archive and not just one of its images.
ABORTING = (Cancelled, StoreError, UnsafeArchive)


class ListedImage(NamedTuple):
    """An image that an archive lists.

    ``found`` is its root, or the error that reading the root raised. ``label`` names an image
    without names in errors.
    """

    names: tuple[str, ...]
    found: Descriptor | WherryError
    label: str = ""

    @property
    def root(self) -> Descriptor:
        """The root; raises the error that reading it raised."""
        if isinstance(self.found, Descriptor):
            return self.found
        raise self.found

    @property
    def is_readable(self) -> bool:
        """Whether the root could be read."""
        return isinstance(self.found, Descriptor)

    @property
    def identity(self) -> object:
        """A value that is equal for equal images."""
        return self.found.digest if isinstance(self.found, Descriptor) else self.found

    def __str__(self) -> str:
        if self.names:
            return self.names[0]
        return self.label or f"@{self.root.digest}"


def choose(
    path: str, images: Sequence[ListedImage], wanted: str, fits: Callable[[ListedImage], bool]
) -> ListedImage:
    """Return the image that ``fits``; ``wanted`` names it in errors.

    Raises:
        NotFound: No image fits, or several different ones do.
    """
    found = [image for image in images if fits(image)]
    if len({image.identity for image in found}) == 1:
        return found[0]
    names = [name for image in images for name in image.names or (str(image),)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    hint = f"it has: {' '.join(names[:_SHOWN])}{more}" if names else ""
    if not images:
        raise NotFound("there is no image in it").within(path)
    if not found:
        raise NotFound(f"there is no image {wanted} in it", hint=hint).within(path)
    which = f"{len(found)} images named {wanted}" if wanted else f"{len(found)} images"
    raise NotFound(f"there are {which} in it; choose one of them", hint=hint).within(path)


def same_name(left: str, right: Reference | None) -> bool:
    """Tell whether a name means a reference; the default tag is ``latest``."""
    try:
        return Reference.parse(left).with_default_tag() == right
    except InvalidReference:
        return False
