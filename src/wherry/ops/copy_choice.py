"""What to copy of an image, and how it changes on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from wherry.errors import InvalidReference
from wherry.model.compression import Compression
from wherry.model.platform import Platform
from wherry.model.record import Record
from wherry.model.reference import is_tag
from wherry.transfer.copy_options import CopyOptions

if TYPE_CHECKING:
    from wherry.model.transfer_settings import TransferSettings

CopyFormat: TypeAlias = Literal["oci", "docker", "v2s1"]


class CopyArguments(TypedDict, total=False):
    """The arguments that `Client.copy`, `plan_copy`, `push` and `push_all_tags` share."""

    platform: str | Platform | None
    all_platforms: bool
    sparse: bool
    referrers: bool
    attestations: bool
    convert_to: CopyFormat | None
    compression: str | None
    force: bool
    additional_tags: Sequence[str]


class CopyChoice(Record):
    """What to copy of an image, and how.

    Attributes:
        host: This machine's platform.
        platforms: The platforms that the caller named.
        several: Whether the caller named a list, so that an index stays an index.
        all_platforms: Copy everything that an index lists.
        sparse: Keep an index as it is, although only some of its images are copied.
        attestations: Copy the attestations of the images.
        referrers: Copy signatures, SBOMs and other referrers too.
        format: The format to convert documents to; None keeps it.
        compression: How layers are compressed; None compresses only plain layers that no
            registry has.
        force: Send what the destination has already.
        additional_tags: Further tags to set in a registry.
        copy: How blobs are copied.
    """

    host: Platform
    platforms: tuple[Platform, ...] = ()
    several: bool = False
    all_platforms: bool = False
    sparse: bool = False
    attestations: bool = True
    referrers: bool = False
    format: CopyFormat | None = None
    compression: Compression | None = None
    force: bool = False
    additional_tags: tuple[str, ...] = ()
    copy: CopyOptions = CopyOptions()

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None,
        arguments: CopyArguments,
    ) -> CopyChoice:
        """Make the choice that a client's settings and the arguments of a call ask for.

        Raises:
            InvalidReference: The platform or the compression does not parse.
        """
        platforms: tuple[Platform, ...] = ()
        if isinstance(platform, str):
            platforms = Platform.parse_list(platform, host)
        elif platform is not None:
            platforms = (platform,)
        compression = arguments.get("compression")
        return cls(
            host=host,
            platforms=platforms,
            several=len(platforms) > 1,
            all_platforms=arguments.get("all_platforms", False),
            sparse=arguments.get("sparse", False),
            attestations=arguments.get("attestations", True),
            referrers=arguments.get("referrers", False),
            format=arguments.get("convert_to"),
            compression=None if compression is None else Compression.parse(compression),
            force=arguments.get("force", False),
            additional_tags=tuple(map(_tag, arguments.get("additional_tags", ()))),
            copy=CopyOptions.build(settings),
        )


def _tag(text: str) -> str:
    if not is_tag(text):
        raise InvalidReference("this is not a tag", text=text, position=0)
    return text
