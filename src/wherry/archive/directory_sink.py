"""What sinks that write directories have in common."""

from __future__ import annotations

import abc
import contextlib
import threading
from typing import TYPE_CHECKING

from wherry.archive.blob_part import GRACE, FilePart, fill
from wherry.archive.output_directory import OutputDirectory
from wherry.archive.write_errors import NOTHING_LEFT, translate_write_errors
from wherry.content.pipeline import Limits
from wherry.content.protocols import Busy, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest


class DirectorySink(abc.ABC):
    """A directory with a file for each blob. Thread-safe.

    The names are set at the end of the ``with`` block. After a failure they are as before.

    Args:
        path: The directory.
        cancel: Cancels the wait for other writers.
    """

    remote = False
    mounts = False
    ordered = False
    follows = False
    indexes = True
    keeps_referrers = True
    layer_compression = "keep"
    image_limit = Limits().image

    def __init__(self, path: str, cancel: CancelToken) -> None:
        self.label = path
        self._cancel = cancel
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)  # no thread writes a blob
        self._writing: dict[Digest, int] = {}
        self._names: dict[str, Descriptor] = {}
        self._left = NOTHING_LEFT
        with self._errors():
            self._directory = OutputDirectory(path)
            if not self._directory.is_new:
                self._left = "what was there is unchanged"
            try:
                self._check()
            except BaseException:
                self._directory.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with self._idle:  # a thread that does not stop after an error keeps its open files
            if error is not None and not self._idle.wait_for(lambda: not self._writing, GRACE):
                return
        try:
            if error is None and self._names:
                with self._errors():
                    self._commit()
            else:
                self._roll_back()
        finally:
            self._directory.close()

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the directory has a file for a blob, of its size."""
        with self._errors():
            return self._find(descriptor) is not None

    def _find(self, descriptor: Descriptor) -> int | None:
        """Return the size of a stored blob in bytes, or None."""
        size = self._directory.size(*self._place(descriptor.digest))
        return size if descriptor.size in {None, size} else None

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Write a blob unless it is there; idempotent. ``follow`` has no effect.

        The file is verified and synced before it gets its name.

        Raises:
            Busy: Another thread writes the same blob by this sink.
            IntegrityError: The content does not match the descriptor.
            StoreError: The directory cannot be written.
        """
        del follow
        descriptor = blob.descriptor
        with self._errors(), self._alone(descriptor.digest) as report:
            size = self._find(descriptor)
            if size is not None:
                return Receipt(descriptor._replace(size=size), existed=True)

            def note(count: int) -> None:
                report(count)
                on_bytes(count)

            with self._directory.write(*self._place(descriptor.digest)) as file:
                size = fill(FilePart(file), blob, cancel, note)
        return Receipt(descriptor._replace(size=size))

    @contextlib.contextmanager
    def _alone(self, digest: Digest) -> Iterator[Callable[[int], None]]:
        """Write a blob that no other thread writes; raises `Busy`."""
        with self._lock:
            if digest in self._writing:
                raise Busy(self._writing[digest])
            self._writing[digest] = 0

        def report(count: int) -> None:
            self._writing[digest] = count

        try:
            yield report
        finally:
            with self._idle:
                del self._writing[digest]
                self._idle.notify_all()

    def name(self, name: str, root: Descriptor) -> None:
        """Give a root a name at the end of the block; see `Sink.name`.

        Raises:
            InvalidReference: There cannot be such a name.
        """
        self._check_name(name)
        with self._lock:
            self._names[name] = root

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return translate_write_errors(self.label, left=self._left)

    # What differs between formats

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
    def _place(self, digest: Digest) -> tuple[str, str]:
        """Return the folder and the name of a blob's file."""

    @abc.abstractmethod
    def _check(self) -> None:
        """Raise `StoreError` if the directory is something else."""

    @abc.abstractmethod
    def _check_name(self, name: str) -> None:
        """Raise an error if the directory cannot have this name."""

    @abc.abstractmethod
    def _commit(self) -> None:
        """Make the names visible."""

    @abc.abstractmethod
    def _roll_back(self) -> None:
        """Remove what nothing names, if nothing else can use it."""
