"""The receiving side of a store: blobs are found or received, and kept under a lease."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from wherry.content.pipeline import Limits, receive, receive_unknown, wrong_size_error
from wherry.content.protocols import Blob, Busy, Receipt
from wherry.content.streams import blob_of
from wherry.content.verify import follow_diff_id
from wherry.errors import IntegrityError, StoreError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store import blob_info, leases
from wherry.store.blob_info import BlobInfo
from wherry.store.blobs import part_name
from wherry.store.leases import Lease
from wherry.store.os_errors import translate_os_errors
from wherry.store.parts import open_part

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.content.pipeline import ContentCheck
    from wherry.content.protocols import RawStream
    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database
    from wherry.store.directory import Directory
    from wherry.store.parts import Part


class BlobReceiver:
    """Stores blobs under a lease, which keeps them from garbage collection.

    The lease is a lock on a file, so it ends with the process. Use the object as a context
    manager. Methods may be called from any thread.
    """

    follows = True

    def __init__(self, files: BlobFiles, db: Database, limits: Limits) -> None:
        self._files = files
        self.db = db
        self._limits = limits
        self._lease: Lease | None = None
        self._unsynced: set[str] = set()

    @property
    def name(self) -> str:
        """The name of the lease in the database."""
        if self._lease is None:
            raise ValueError("the operation has not begun")
        if not self._lease.is_ours:
            raise StoreError(
                "this operation belongs to the process that forked this one",
                hint="begin a new operation after the fork",
            ).within(self.db.path)
        return self._lease.name

    @property
    def label(self) -> str:
        """The path of the store."""
        return os.path.dirname(self.db.path)  # noqa: PTH120 - a text, as in messages

    @property
    def image_limit(self) -> int:
        """The most bytes that the layers of one image may have together."""
        return self._limits.image

    def __enter__(self) -> Self:
        with translate_os_errors(self.db.path):
            self._lease = Lease(self._files.root)
        if not self.db.is_current:  # rebuilt by another process: a lease in this file is void
            self._lease.end()
            message = "the store's database was replaced"
            raise StoreError(message, hint="try again").within(self.db.path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is None or not self._lease.is_ours:
            return
        try:
            # A failure should be reported without a wait for the database. The rows of a dead
            # lease are removed by the next collection.
            if error is None:
                with contextlib.suppress(StoreError), self.db.write(durable=False) as connection:
                    leases.release(connection, self._lease.name)
        finally:
            with contextlib.suppress(OSError):
                self._lease.end()
            self._lease = None

    # Finding blobs

    def hold(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of ``digests`` that are stored, and keep them until the lease ends."""
        with self.db.write(durable=False) as connection:
            return {digest for digest in digests if self._hold(connection, digest)}

    def all_followed(self, digests: Iterable[Digest]) -> bool:
        """Tell whether the DiffIDs of all these layers are known."""
        return all((self._facts(digest) or BlobInfo()).diff_id is not None for digest in digests)

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether a blob is stored, and keep it until the lease ends."""
        return bool(self.hold([descriptor.digest]))

    def _hold(self, connection: sqlite3.Connection, digest: Digest) -> bool:
        if not self._files.exists(digest):
            return False
        leases.hold(connection, self.name, str(digest))
        self._unsynced.add(digest.algorithm)
        return True

    def find(self, descriptor: Descriptor, *, follow: bool, cancel: CancelToken) -> Receipt | None:
        """Return the receipt of a stored blob, or None.

        The receipt has the size of the file, which may differ from the descriptor's. A file
        whose size shows that it is damaged is removed.

        Args:
            descriptor: The blob to look for.
            follow: Whether to compute the DiffID if it is not known.
            cancel: Ends that computation.
        """
        digest = descriptor.digest
        # Look without a transaction first: most blobs are not stored, and a blob can only
        # disappear inside a transaction.
        if not self._files.exists(digest) or not self.has(descriptor):
            return None
        size = self._files.size(digest)
        known = self._facts(digest)
        stored = None if known is None else known.size
        if (descriptor.size if stored is None else stored) not in {None, size}:
            # Only a damaged file is removed. An intact one shows that the size was wrong.
            self.remove_damaged(digest)
            if not self._files.exists(digest):
                return None
        found = known or BlobInfo()
        if follow and found.diff_id is None:
            limit = self._limits.raw.of(size)
            with self._files.open(str(digest)) as file:
                diff_id, raw_size = follow_diff_id(file, limit, cancel)
            found = found.replace(diff_id=diff_id, raw_size=raw_size)
        if found != known:  # a process that was killed may have left a file without a row
            with self.db.write(durable=False) as connection:
                blob_info.record(connection, digest, size, found)
        return Receipt(descriptor._replace(size=size), found.diff_id, found.raw_size, existed=True)

    def remove_damaged(self, digest: Digest) -> None:
        """Remove a file that does not match its digest, so that the blob can be stored again."""
        from wherry.store.check import remove_damaged

        with translate_os_errors(self.db.path):
            remove_damaged(self.db, self._files, [str(digest)])

    def _facts(self, digest: Digest) -> BlobInfo | None:
        with self.db.read() as connection:
            return blob_info.find(connection, digest)

    # Storing blobs

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Store a blob unless it is stored already. Idempotent.

        On return the blob is verified, visible and flushed to the disk. After a failure nothing
        is visible. What arrived stays in a part file, unless its content is wrong.

        Args:
            blob: The descriptor, and a function that opens the content.
            follow: Whether to compute the DiffID.
            cancel: Ends the transfer.
            on_bytes: Called with the number of bytes that have arrived.

        Raises:
            Busy: Another thread or process is writing the same blob.
            IntegrityError: The content does not match the descriptor.
        """
        digest = blob.descriptor.digest
        name = part_name(digest)
        with translate_os_errors(self.db.path):
            found = self.find(blob.descriptor, follow=follow, cancel=cancel)
            if found is not None:
                return _checked(found, blob)
            self._files.prepare(digest)
            part = open_part(self._files.ingest, name)
            if part is None:
                raise Busy(part_size(self._files.ingest, name))
            with contextlib.closing(part):
                # Another writer may have finished before this one got the lock.
                found = self.find(blob.descriptor, follow=follow, cancel=cancel)
                if found is not None:
                    part.discard()
                    return _checked(found, blob)
                return self._receive(part, blob, follow, cancel, on_bytes)

    def _receive(
        self,
        part: Part,
        blob: Blob,
        follow: bool,  # noqa: FBT001 - handed on
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        digest = blob.descriptor.digest
        resumed, again = part.size > 0, False
        try:
            while True:
                try:
                    got = receive(
                        part,
                        blob,
                        follow=follow,
                        limits=self._limits,
                        cancel=cancel,
                        on_bytes=on_bytes,
                    )
                    break
                except IntegrityError:
                    # A resumed or joined download may mix two versions: try once from zero.
                    part.restart()
                    if again or not (resumed or blob.joined()):
                        raise
                    again = True
            part.sync()
            with self.db.write(durable=False) as connection:
                self._files.publish(part.name, digest)
                blob_info.record(connection, digest, got.size, BlobInfo(got.diff_id, got.raw_size))
                self._hold(connection, digest)
        except BaseException:
            if part.size == 0:
                part.discard()
            raise
        part.seal()
        # After COMMIT. If the name is lost in a power failure, the row does no harm.
        self._files.sync(digest.algorithm)
        return Receipt(blob.descriptor._replace(size=got.size), got.diff_id, got.raw_size)

    def put_unknown(self, source: RawStream, cancel: CancelToken) -> Receipt:
        """Store the content of ``source`` and compute its digest while reading.

        For layers of archives that can be read only once. Raises what `put` does, except `Busy`.
        """
        name = part_name(Digest.of(os.urandom(16)))  # random: no other process writes it
        with translate_os_errors(self.db.path):
            self._files.prepare(Digest.of(b""))
            part = open_part(self._files.ingest, name)
            assert part is not None  # noqa: S101 - no other process knows the name
            with contextlib.closing(part):
                return self._receive_unknown(part, source, cancel)

    def _receive_unknown(
        self,
        part: Part,
        source: RawStream,
        cancel: CancelToken,
        *,
        on_bytes: Callable[[int], None] = lambda _: None,
        content_check: Callable[[], ContentCheck] | None = None,
        record: Callable[[sqlite3.Connection, Digest], None] = lambda *_: None,
    ) -> Receipt:
        """Receive content into an empty part file, and store it.

        ``record`` is called in the transaction in which the blob becomes visible.
        """
        try:
            digest, got = receive_unknown(
                part,
                source,
                self._limits,
                cancel,
                on_bytes=on_bytes,
                content_check=content_check,
            )
            descriptor = Descriptor("", digest, got.size)
            known = self.find(descriptor, follow=True, cancel=cancel)
            if known is not None:
                with self.db.write(durable=False) as connection:
                    record(connection, digest)
                part.discard()
                return known
            part.sync()
            with self.db.write(durable=False) as connection:
                self._files.publish(part.name, digest)
                facts = BlobInfo(got.diff_id, got.raw_size)
                blob_info.record(connection, digest, got.size, facts)
                self._hold(connection, digest)
                record(connection, digest)
        except BaseException:
            part.discard()
            raise
        part.seal()
        self._files.sync(digest.algorithm)
        return Receipt(descriptor, got.diff_id, got.raw_size)

    def put_bytes(self, descriptor: Descriptor, raw: bytes, cancel: CancelToken) -> None:
        """Store a small blob from memory, replacing a damaged file. Idempotent."""
        if self._differs(descriptor.digest, raw):
            self.remove_damaged(descriptor.digest)
        blob = blob_of(descriptor, raw)
        while True:
            try:
                self.put(blob, cancel=cancel, on_bytes=lambda _: None)
            except Busy:
                cancel.sleep(0.02)
            else:
                return

    def _differs(self, digest: Digest, raw: bytes) -> bool:
        """Tell whether there is a file that differs from ``raw`` or cannot be read."""
        try:
            with self._files.open(str(digest)) as file:
                return file.read(len(raw) + 1) != raw
        except FileNotFoundError:
            return False
        except (OSError, StoreError):
            return True


def _checked(found: Receipt, blob: Blob) -> Receipt:
    """Return ``found``; raise `IntegrityError` if an exact blob has another size."""
    if blob.exact and found.descriptor.size != blob.descriptor.size:
        raise wrong_size_error(blob.descriptor, f"{found.descriptor.size:,}")
    return found


def part_size(directory: Directory, name: str) -> int:
    """Return the bytes of a part file, 0 if there is none."""
    try:
        return directory.stat(name).st_size
    except FileNotFoundError:
        return 0
