"""The options and the result of a pull."""

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


class PullOptions(Record):
    """Which images to pull, and how.

    ``platforms`` are the platforms to pull, the first one being the most important; an empty
    tuple means all. ``host`` is this machine's platform. ``strict`` tells that the caller named
    the platforms. Without ``names`` no name is set: the image belongs to another one. ``root``
    is the digest to pull, whatever the tag stands for now.
    """

    host: Platform
    platforms: tuple[Platform, ...]
    strict: bool = False
    verify_signatures: bool = True
    schema1: str | None = None
    copy: CopyOptions = CopyOptions()
    names: bool = True
    root: Digest | None = None

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None = None,
        *,
        all_platforms: bool = False,
        verify_layers: bool = True,
        verify_signatures: bool = True,
    ) -> PullOptions:
        """Make the options that a client's settings and the arguments of a call ask for.

        Raises:
            InvalidReference: ``platform`` does not parse.
        """
        platforms: tuple[Platform, ...] = (host,)
        if all_platforms:
            platforms = ()
        elif isinstance(platform, Platform):
            platforms = (platform,)
        elif platform is not None:
            platforms = Platform.parse_list(platform, host)
        return cls(
            host=host,
            platforms=platforms,
            strict=platform is not None and not all_platforms,
            verify_signatures=verify_signatures,
            schema1=settings.schema1,
            copy=CopyOptions.build(settings, verify_layers=verify_layers),
        )


class PullResult(Record):
    """A name that was pulled, and what it stands for.

    ``root`` is the digest of its manifest or index. ``updated`` tells that the name stood for
    another image before, or was not in the store.
    """

    reference: Reference
    root: Digest
    image: ImageRecord
    updated: bool
