"""Compare the platform of an image, by its config, with the platform wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import PlatformMismatch
from wherry.model.config import read_platform
from wherry.model.manifest import Manifest
from wherry.model.platform import HOST_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.model.platform import Platform
    from wherry.transfer.graph import Selection


def find_mismatch(chosen: Selection, found: Platform, wanted: Platform) -> PlatformMismatch | None:
    """Return the error for an image that is for another platform, or None.

    ``found`` is the platform that the config states. An empty OS means the host's OS, an empty
    architecture fits any. A config without a variant has the variant that the index states.
    """
    return compare(chosen.listed, found, wanted)


def compare(
    listed: Iterable[Platform], found: Platform, wanted: Platform
) -> PlatformMismatch | None:
    """Return the error for an image that is for another platform, or None.

    The rules are those of `find_mismatch`; ``listed`` are the platforms that an index states.
    """
    if fits(listed, found, wanted):
        return None
    mine = found.normalized()
    named = mine.specifier if mine.os_features else str(mine)
    message = f"the image is for {named}, not for {wanted.specifier}"
    return PlatformMismatch(message, wanted=str(wanted), available=[str(mine)])


def fits(listed: Iterable[Platform], found: Platform, wanted: Platform) -> bool:
    """Tell whether an image is for a platform, by its config and index entries.

    The rules are those of `find_mismatch`.
    """
    mine = found.normalized()
    if (mine.os or HOST_SYSTEM) != wanted.os:
        return False
    if not mine.architecture or wanted.rank(mine) is not None:
        return True
    return not found.variant and any(_states(entry, mine, wanted) for entry in listed)


def _states(entry: Platform, mine: Platform, wanted: Platform) -> bool:
    """Tell whether an index entry fits and has the architecture of the config."""
    return entry.normalized().architecture == mine.architecture and wanted.rank(entry) is not None


def read_stated_platform(chosen: Selection, config: bytes) -> Platform:
    """Return the platform that a config, or a schema1 image's top layer, states."""
    if isinstance(chosen.manifest, Manifest):
        return read_platform(config)
    from wherry.ops.schema1 import read_schema1_platform

    return read_schema1_platform(chosen.manifest)
