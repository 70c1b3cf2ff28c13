"""What all sinks for archives and layouts have in common."""

from __future__ import annotations

import abc
import threading
from typing import TYPE_CHECKING

from wherry.archive.write_errors import NOTHING_LEFT, translate_write_errors
from wherry.content.protocols import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class ArchiveSink(abc.ABC):
    """An archive, a layout or a flat directory that is written to.

    The names are set at the end of the ``with`` block. After a failure they are as before.

    Args:
        path: The file or directory.
    """

    remote = False
    mounts = False
    ordered = False
    follows = False
    indexes = True
    keeps_referrers = True
    layer_compression = "keep"
    _left = NOTHING_LEFT

    def __init__(self, path: str) -> None:
        self.label = path
        self._lock = threading.RLock()
        self._names: dict[str, Descriptor] = {}

    def __enter__(self) -> Self:
        return self

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether a blob is there, with the size of its descriptor."""
        with self._errors():
            return self._find(descriptor) is not None

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Write a blob unless it is there; idempotent. ``follow`` has no effect.

        Raises:
            Busy: Another thread writes the same blob by this sink.
            IntegrityError: The content does not match the descriptor.
            StoreError: The archive or layout cannot be written.
        """
        del follow
        descriptor = blob.descriptor
        with self._errors(), self._turn(descriptor.digest):
            size = self._find(descriptor)
            existed = size is not None
            if size is None:
                size = self._store(blob, cancel, on_bytes)
        return Receipt(descriptor._replace(size=size), existed=existed)

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name at the end of the block; see `Sink.name`.

        Raises:
            InvalidReference: There cannot be such a name.
        """
        self._check_name(name)
        with self._lock:
            self._names.pop(name, None)
            self._names[name] = root

    def _errors(self) -> AbstractContextManager[None]:
        return translate_write_errors(self.label, left=self._left)

    # What differs between formats

    @abc.abstractmethod
    def __exit__(self, kind: object, error: BaseException | None, trace: object, /) -> None:
        """Make the names visible, or remove what was written."""

    @abc.abstractmethod
    def put_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
    ) -> None:
        """Write a document after what it names; idempotent."""

    @abc.abstractmethod
    def resolve(self, name: str) -> Digest | None:
        """Return the root that a name stands for, or None."""

    @abc.abstractmethod
    def _turn(self, digest: Digest) -> AbstractContextManager[object]:
        """Exclude other threads that write the same blob, or any."""

    @abc.abstractmethod
    def _find(self, descriptor: Descriptor) -> int | None:
        """Return the size of a stored blob in bytes, or None."""

    @abc.abstractmethod
    def _store(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> int:
        """Write a blob that is not there; return its size in bytes."""

    @abc.abstractmethod
    def _check_name(self, name: str) -> None:
        """Raise an error if an image cannot have this name."""
