"""The options of an import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import InvalidReference
from wherry.model.address import Address, Where
from wherry.model.platform import Platform
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.transfer_settings import TransferSettings


class ImportOptions(Record):
    """What the new image has besides its layer.

    ``config`` is a whole config or a version 1 JSON. ``parent`` is the image below the layer.
    ``strict`` tells that the caller named the platform; then the parent has to be for it.
    ``changes`` are Dockerfile instructions. ``message`` is the comment in the history.
    ``epoch`` is the time of the image and the latest time of files from a directory, in seconds
    since 1970 (reproducible-builds.org, SOURCE_DATE_EPOCH).
    """

    platform: Platform
    strict: bool = False
    config: bytes | None = None
    parent: Address | None = None
    changes: tuple[str, ...] = ()
    message: str = ""
    epoch: int | None = None
    schema1: str | None = None

    @classmethod
    def build(
        cls,
        settings: TransferSettings,
        host: Platform,
        platform: str | Platform | None = None,
        *,
        config: bytes | None = None,
        parent: str | Address | None = None,
        changes: Sequence[str] = (),
        message: str = "",
        epoch: int | None = None,
    ) -> ImportOptions:
        """Make the options that a client's settings and the arguments of a call ask for.

        Raises:
            ValueError: A config goes with neither changes nor a message, and only with a
                parent does it go with a platform.
            InvalidReference: ``platform`` or ``parent`` does not parse, or ``message`` is not
                text in UTF-8.
        """
        if platform is not None and config is not None and parent is None:
            raise ValueError("a config states its own platform")
        if config is not None and (changes or message):
            raise ValueError("a config cannot be combined with changes or a message")
        if not message.isascii() and message != message.encode(errors="replace").decode():
            raise InvalidReference("the message is not UTF-8 text", text="", position=0)
        wanted = Platform.parse(platform, host) if isinstance(platform, str) else platform
        return cls(
            wanted or Platform(host.os, host.architecture),
            strict=wanted is not None,
            config=config,
            parent=Address.parse(parent, Where.STORE) if isinstance(parent, str) else parent,
            schema1=settings.schema1,
            changes=tuple(changes),
            message=message,
            epoch=epoch,
        )
