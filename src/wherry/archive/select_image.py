"""Which image of an archive is meant, where there may be several."""

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
# Errors that concern a whole archive, and not one image of it.
ABORTING = (Cancelled, StoreError, UnsafeArchive)


class ListedImage(NamedTuple):
    """An image that an archive lists: its names there, and its root or why that is unreadable.

    ``label`` is what errors call an image without names.
    """

    names: tuple[str, ...]
    found: Descriptor | WherryError
    label: str = ""

    @property
    def root(self) -> Descriptor:
        """The root; raises the error that reading the image led to."""
        if isinstance(self.found, Descriptor):
            return self.found
        raise self.found

    @property
    def is_readable(self) -> bool:
        """Whether there is a root."""
        return isinstance(self.found, Descriptor)

    @property
    def identity(self) -> object:
        """What tells different images apart, readable or not."""
        return self.found.digest if isinstance(self.found, Descriptor) else self.found

    def __str__(self) -> str:
        if self.names:
            return self.names[0]
        return self.label or f"@{self.root.digest}"


def choose(
    path: str, held: Sequence[ListedImage], wanted: str, fits: Callable[[ListedImage], bool]
) -> ListedImage:
    """Return the one image that ``fits``; ``wanted`` is how errors call it.

    Raises `NotFound`, also where several different ones do.
    """
    found = [each for each in held if fits(each)]
    if len({each.identity for each in found}) == 1:
        return found[0]
    names = [name for each in held for name in each.names or (str(each),)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    hint = f"it has: {' '.join(names[:_SHOWN])}{more}" if names else ""
    if not held:
        raise NotFound("there is no image in it").within(path)
    if not found:
        raise NotFound(f"there is no image {wanted} in it", hint=hint).within(path)
    which = f"{len(found)} images {wanted}" if wanted else f"{len(found)} images"
    raise NotFound(f"there are {which} in it, which one is meant?", hint=hint).within(path)


def same_name(left: str, right: Reference | None) -> bool:
    """Tell whether a name in an archive means a reference, ``latest`` being understood."""
    try:
        return Reference.parse(left).with_default_tag() == right
    except InvalidReference:
        return False
