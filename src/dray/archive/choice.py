"""Which image of an archive is meant, where there may be several."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dray.errors import InvalidReference, NotFound
from dray.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dray.model.descriptor import Descriptor


_SHOWN = 50  # names in an error


class Held(NamedTuple):
    """An image that an archive holds: what it is called there, and its root."""

    names: tuple[str, ...]
    root: Descriptor


def choose(path: str, held: Sequence[Held], wanted: str, fits: Callable[[Held], bool]) -> Held:
    """Return the one image that ``fits``; ``wanted`` is how errors call it.

    Raises `NotFound`, also where several different ones do.
    """
    found = [each for each in held if fits(each)]
    if len({each.root.digest for each in found}) == 1:
        return found[0]
    names = [name for each in held for name in each.names or (f"@{each.root.digest}",)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    hint = f"it has: {' '.join(names[:_SHOWN])}{more}" if names else ""
    if not held:
        raise NotFound(f"{path}: there is no image in it")
    if not found:
        raise NotFound(f"{path}: there is no image {wanted} in it", hint=hint)
    which = f"{len(found)} images {wanted}" if wanted else f"{len(found)} images"
    raise NotFound(f"{path}: there are {which} in it, which one is meant?", hint=hint)


def same_name(left: str, right: Reference | None) -> bool:
    """Tell whether a name in an archive means a reference, ``latest`` being understood."""
    try:
        return Reference.parse(left).with_default_tag() == right
    except InvalidReference:
        return False
