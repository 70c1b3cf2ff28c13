"""Select and sort the tags of a repository."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from wherry.errors import InvalidReference, WherryError
from wherry.model.semver import Range, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.model.reference import Reference
    from wherry.ops.open_source import Access

Order = Literal["registry", "name", "version"]

_RANGE = "semver:"
_ONLY_IN_RANGES = ("<", ">", "=", "!", "~")  # tags do not begin with these


def list_tags(
    reference: Reference, access: Access, wanted: str = "", order: Order = "registry"
) -> list[str]:
    """Return the tags of a repository as `select_tags` selects them.

    Raises:
        InvalidReference: ``wanted`` does not parse; the registry is not asked then.
    """
    from wherry.ops.open_source import open_repository

    make_matcher(wanted)
    repository = open_repository(reference, access)
    try:
        return select_tags(repository.tags(), wanted, order)
    except WherryError as error:
        from wherry.ops.legacy import open_v1

        served = repository.has_served
        v1 = open_v1(
            access.session(), reference, error, access.listener, access.cancel, served=served
        )
        return select_tags(v1.tags(), wanted, order)


def select_tags(tags: Iterable[str], wanted: str = "", order: Order = "registry") -> list[str]:
    """Return the tags that ``wanted`` matches, in an order.

    Args:
        tags: All tags, in the order of the registry.
        wanted: A regular expression, searched for anywhere in the tag, or a range of versions.
            A range begins with ``semver:`` or with a comparison sign.
        order: With ``version``, tags that are not versions come first, sorted by name, and the
            newest version comes last.

    Raises:
        InvalidReference: ``wanted`` does not parse; the error has the position.
    """
    matches = make_matcher(wanted)
    found = [tag for tag in tags if matches(tag)]
    if order == "registry":
        return found
    found.sort()
    return found if order == "name" else sorted(found, key=_by_version)


def make_matcher(wanted: str) -> Callable[[str], bool]:
    """Return a function that tells whether a tag is wanted; raises `InvalidReference`."""
    if wanted.startswith((_RANGE, *_ONLY_IN_RANGES)):
        versions = _range(wanted)

        def in_range(tag: str) -> bool:
            version = Version.parse(tag)
            return version is not None and version in versions

        return in_range
    try:
        pattern = re.compile(wanted)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidReference(
            f"invalid regular expression: {getattr(error, 'msg', error)}",
            text=wanted,
            position=getattr(error, "pos", None) or 0,
        ) from None
    return lambda tag: pattern.search(tag) is not None


def _range(text: str) -> Range:
    versions = text.removeprefix(_RANGE)
    try:
        return Range(versions)
    except InvalidReference as error:
        at = error.position + len(text) - len(versions)
        raise InvalidReference(error.message, text=text, position=at) from None


def _by_version(tag: str) -> tuple[bool, Version]:
    version = Version.parse(tag)
    return version is not None, version or Version(0)
