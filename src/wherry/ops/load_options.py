"""The options and the results of `load`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.store.images import ImageRecord
from wherry.transfer.copy_options import CopyOptions

if TYPE_CHECKING:
    from wherry.model.transfer_settings import TransferSettings


class LoadOptions(Record):
    """Which images of an archive to load, and how.

    ``host`` is this machine's platform, ``platform`` the platform that the caller named.
    ``name`` replaces the names of the image in an archive that holds one image.
    """

    host: Platform
    platform: Platform | None = None
    name: Reference | None = None
    copy: CopyOptions = CopyOptions()
    schema1: str | None = None

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None = None,
        name: Reference | None = None,
    ) -> LoadOptions:
        """Make the options that a client's settings and the arguments of a call ask for.

        Raises:
            InvalidReference: ``platform`` does not parse.
        """
        return cls(
            host,
            Platform.parse(platform, host) if isinstance(platform, str) else platform,
            name,
            CopyOptions(jobs=settings.jobs),
            settings.schema1,
        )


class LoadResult(Record):
    """An image that was loaded, and its names in the store.

    ``root`` is the digest of its manifest or index.
    """

    root: Digest
    image: ImageRecord
    names: tuple[Reference, ...]
