"""What to unpack of an image, and how."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.model.record import Record
from wherry.transfer.copy_options import CopyOptions
from wherry.unpack.apply import UnpackLimits
from wherry.unpack.owners import Owners

if TYPE_CHECKING:
    from wherry.model.transfer_settings import TransferSettings


class UnpackOptions(Record):
    """What to unpack of an image, and how.

    Attributes:
        copy: How layers of a registry are fetched.
        owners: Whose the files are.
        limits: The most that the image may unpack to.
        replaces: Whether a directory with something in it is replaced.
        keeps_dirlinks: Whether an entry for a directory leaves a link to a directory in place.
    """

    copy: CopyOptions = CopyOptions()
    owners: Owners = Owners()
    limits: UnpackLimits = UnpackLimits()
    replaces: bool = False
    keeps_dirlinks: bool = False

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        *,
        replaces: bool = False,
        records_owners: bool = False,
        keeps_dirlinks: bool = False,
        size: int | None = None,
        files: int | None = None,
    ) -> UnpackOptions:
        """Make the options that the arguments of a call ask for."""
        owners = Owners(sets=os.geteuid() == 0 and not records_owners, records=records_owners)
        given = {"size": size, "files": files}
        limits = UnpackLimits().replace(**{k: v for k, v in given.items() if v is not None})
        return cls(CopyOptions.build(settings), owners, limits, replaces, keeps_dirlinks)
