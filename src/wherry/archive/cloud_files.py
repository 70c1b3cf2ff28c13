"""The files of a layout in object storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.archive.cloud import Bucket
from wherry.content.protocols import Opened
from wherry.content.streams import open_bytes
from wherry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.content.cancel import CancelToken
    from wherry.model.cloud_settings import CloudSettings

_RANGE_NOT_SATISFIABLE = 416


class CloudFiles:
    """The files below a prefix. Files at the top are read once.

    Args:
        path: The URL of the prefix.
        settings: How to connect.
        cancel: Ends requests.

    Raises:
        Unsupported: obstore is not installed.
    """

    ended = True
    streamed = False

    def __init__(self, path: str, settings: CloudSettings, cancel: CancelToken) -> None:
        self.path = path
        self._bucket = Bucket(path, settings, cancel)
        self._read: dict[str, bytes] = {}

    def names(self) -> Iterable[str]:
        """Return the names of files at the top; there may be more of them."""
        return [name for name in self._bucket.names() if not name.endswith("/")]

    def real(self, name: str) -> str:
        """Return the name: there are no links."""
        return name

    def digest(self, _name: str) -> None:
        """Return None: no file has been read."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes; raises `NotFound`."""
        return self._bucket.head(name) if "/" in name else len(self._at_top(name))

    def open(self, name: str, offset: int = 0) -> Opened:
        """Open a file at ``offset``; raises as `size` does."""
        if "/" not in name:
            return open_bytes(self._at_top(name), offset)
        try:
            stream, total = self._bucket.open(name, offset)
        except RegistryError as error:
            if error.status != _RANGE_NOT_SATISFIABLE:
                raise
            return Opened(open_bytes(b"", 0).stream, offset, self._bucket.head(name))
        return Opened(stream, offset, total)

    def close(self) -> None:
        """End all requests."""
        self._bucket.close()

    def _at_top(self, name: str) -> bytes:
        if name not in self._read:
            self._read[name], _ = self._bucket.read(name)
        return self._read[name]
