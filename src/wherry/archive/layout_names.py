"""Names of images in OCI layouts."""

from __future__ import annotations

import re

from wherry.errors import InvalidReference
from wherry.model.reference import Reference

# OCI image spec, annotations.md, "ref.name".
_REF_NAME = re.compile(r"[A-Za-z0-9]+((--|[-._:@+/])[A-Za-z0-9]+)*")


def is_whole(name: str) -> bool:
    """Tell a whole name, such as ``app:1``, from a tag alone."""
    return not {"/", ":"}.isdisjoint(name)


def parse_layout_name(name: str) -> Reference | None:
    """Check a name to give to an image; return the reference, or None for a tag alone.

    Raises:
        InvalidReference: A layout cannot have such a name.
    """
    if is_whole(name):
        return Reference.parse_new(name)
    if not _REF_NAME.fullmatch(name):
        message = "is not a valid name in a layout (OCI image spec, annotations.md)"
        raise InvalidReference(f"{name!r} {message}", text=name, position=0)
    return None
