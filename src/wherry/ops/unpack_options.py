"""What to unpack of an image, and how."""

from __future__ import annotations

import os
from itertools import starmap
from typing import TYPE_CHECKING, Any

from wherry.model.record import Record
from wherry.transfer.copy_options import CopyOptions
from wherry.unpack.apply import UnpackLimits
from wherry.unpack.entry_filter import EntryFilter
from wherry.unpack.isolation import Isolation
from wherry.unpack.owners import IdRange, Owners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.transfer_settings import TransferSettings


class UnpackOptions(Record):
    """What to unpack of an image, and how.

    Attributes:
        copy: How layers of a registry are fetched.
        owners: Whose the files are.
        limits: The most that the image may unpack to.
        wanted: Which entries are unpacked.
        layer: The number of the only layer to unpack, from 1, or from -1 for the topmost.
        replaces: Whether a directory with something in it is replaced.
        keeps_dirlinks: Whether an entry for a directory leaves a link to a directory in place.
        bundle: Makes a bundle for a container that is separated like this; None for none.
        cache: How files come from layers that are unpacked once into the store: ``copy``,
            ``link`` or ``overlay``. None to unpack the layers themselves.
    """

    copy: CopyOptions = CopyOptions()
    owners: Owners = Owners()
    limits: UnpackLimits = UnpackLimits()
    wanted: EntryFilter = EntryFilter()
    layer: int | None = None
    replaces: bool = False
    keeps_dirlinks: bool = False
    bundle: Isolation | None = None
    cache: str | None = None

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        *,
        max_size: int | None = None,
        max_files: int | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        strip: int = 0,
        **more: Any,
    ) -> UnpackOptions:
        """Make the options that the arguments of a call ask for.

        Args:
            settings: The settings of the client.
            max_size: Bytes of all files; None for the default.
            max_files: Files, directories and links; None for the default.
            include: Patterns of what is unpacked; none for everything.
            exclude: Patterns of what is left out.
            strip: Parts to drop from the front of each path.
            more: Further attributes.
        """
        given = {"size": max_size, "files": max_files}
        limits = UnpackLimits().replace(**{k: v for k, v in given.items() if v is not None})
        wanted = EntryFilter.build(include, exclude, strip)
        return cls(copy=CopyOptions.build(settings), limits=limits, wanted=wanted, **more)


def choose_isolation(
    owners: Owners, *, bundle: bool, rootless: bool, layer: int | None, strip: int
) -> Isolation | None:
    """Return how the container of a bundle is separated from the host; None without a bundle.

    Only root makes bundles for root.

    Raises:
        ValueError: The options cannot be combined.
    """
    if not bundle:
        if rootless:
            raise ValueError("only a bundle can be rootless")
        return None
    if layer is not None or strip:
        raise ValueError("a bundle has all layers, and their paths as they are")
    caller = os.geteuid(), os.getegid()
    return Isolation.choose(owners, caller, rootless=rootless or caller[0] != 0)


def choose_owners(
    *,
    records: bool,
    uids: Sequence[tuple[int, int, int]],
    gids: Sequence[tuple[int, int, int]],
    rootless: bool = False,
) -> Owners:
    """Return whose unpacked files are: root gives owners, and so does who has a map.

    Args:
        records: Whether owners are recorded and not set.
        uids: Ranges of users: the first inside, the first outside, and how many.
        gids: Ranges of groups likewise.
        rootless: Whether root does without the rights of root.
    """
    is_root = os.geteuid() == 0 and not rootless
    sets = not records and (is_root or bool(uids or gids))
    return Owners(sets, records, tuple(starmap(IdRange, uids)), tuple(starmap(IdRange, gids)))
