"""The files of an image that is in a store."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

from wherry.content.cancel import CancelToken
from wherry.content.events import ignore
from wherry.model.address import Address, Where
from wherry.model.platform import Platform
from wherry.model.transfer_settings import TransferSettings
from wherry.ops.documents import PlatformChoice
from wherry.ops.open_source import Access
from wherry.ops.unpack_options import UnpackOptions, choose_owners

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

    from wherry.content.events import Event
    from wherry.model.digest import Digest
    from wherry.ops.members import ImageMember
    from wherry.registry.session import Session
    from wherry.store import LocalStore

# The image is chosen by its manifest, so no platform matters.
_ANY = PlatformChoice(None, Platform("linux", "amd64"))
_BUFFER = 256 * 1024


def unpack(
    store: LocalStore,
    image: tuple[Digest, Digest],
    directory: Path,
    listener: Callable[[Event], None] | None,
    cancel: CancelToken | None,
    **options: Any,
) -> None:
    """Unpack an image, given by the digests of its root and of its manifest."""
    from wherry.ops.unpack import unpack as unpack_from_anywhere

    owners = choose_owners(records=False, uids=(), gids=())
    chosen = UnpackOptions.build(TransferSettings(), owners=owners, **options)
    access = _access(store, image, listener, cancel)
    unpack_from_anywhere(_address(image), directory, _ANY, chosen, access)


def open_export(store: LocalStore, image: tuple[Digest, Digest]) -> io.BufferedReader:
    """Open the tar of an image's files."""
    from wherry.ops.export import export_pieces

    pieces = export_pieces(_address(image), _ANY, UnpackOptions(), _access(store, image))
    return io.BufferedReader(_PieceReader(pieces), _BUFFER)


def list_members(store: LocalStore, image: tuple[Digest, Digest]) -> Iterator[ImageMember]:
    """Yield the files of an image."""
    from wherry.ops.members import list_members as list_from_anywhere

    return list_from_anywhere(_address(image), _ANY, UnpackOptions(), _access(store, image))


def _address(image: tuple[Digest, Digest]) -> Address:
    return Address.parse(str(image[1]), Where.STORE)


def _access(
    store: LocalStore,
    image: tuple[Digest, Digest],
    listener: Callable[[Event], None] | None = None,
    cancel: CancelToken | None = None,
) -> Access:
    def session() -> Session:
        raise AssertionError("an image of a store needs no registry")

    def stored(_address: Address) -> tuple[LocalStore, Digest, Digest]:
        return (store, *image)

    token = cancel or CancelToken()
    return Access(session, stored, partial(_same, store), listener or ignore, token)


def _same(store: LocalStore) -> LocalStore:
    return store


class _PieceReader(io.RawIOBase):
    """Pieces of bytes as a stream; closing it closes their generator."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Remove the temporary files."""
        self._pieces.close()
        super().close()
