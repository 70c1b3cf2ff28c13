"""Blobs on their way into a store, under a lease: found there, or received and verified."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from wherry.content.pipeline import Limits, receive, receive_unknown, wrong_size_error
from wherry.content.protocols import Blob, Busy, Receipt, blob_of
from wherry.content.verify import follow_diff_id
from wherry.errors import IntegrityError, StoreError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store import blob_info, leases
from wherry.store.blob_info import BlobInfo
from wherry.store.blobs import part_name
from wherry.store.leases import Lease
from wherry.store.os_errors import translated
from wherry.store.parts import open_part

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Raw
    from wherry.store.blobs import BlobFiles
    from wherry.store.db import Database
    from wherry.store.directory import Directory
    from wherry.store.parts import Part


class BlobReceiver:
    """A lease on a store, and the ways to put blobs into it.

    The lease is a lock on a file, so it dies with the process. Blobs under it are not
    collected. Use as a context manager; methods may be called from any thread.
    """

    def __init__(self, files: BlobFiles, db: Database, limits: Limits) -> None:
        self._files = files
        self.db = db
        self._limits = limits
        self._lease: Lease | None = None
        self._unsynced: set[str] = set()

    @property
    def name(self) -> str:
        """The name of the lease, as it stands in the database."""
        if self._lease is None:
            raise ValueError("the operation has not begun")
        if not self._lease.is_ours:
            raise StoreError(
                "this operation is that of the process which forked this one",
                hint="begin it anew after the fork",
            ).within(self.db.path)
        return self._lease.name

    @property
    def image_limit(self) -> int:
        """Bytes that the layers of one image may have together."""
        return self._limits.image

    def __enter__(self) -> Self:
        with translated(self.db.path):
            self._lease = Lease(self._files.root)
        if not self.db.is_current:  # somebody made it anew; nothing is held in this one
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
            # After a failure nobody waits for the database: a dead lease frees its rows too.
            if error is None:
                with contextlib.suppress(StoreError), self.db.write(durable=False) as connection:
                    leases.release(connection, self._lease.name)
        finally:
            with contextlib.suppress(OSError):
                self._lease.end()
            self._lease = None

    # What is there

    def hold(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return which of ``digests`` are stored; they stay until the lease ends."""
        with self.db.write(durable=False) as connection:
            return {digest for digest in digests if self._hold(connection, digest)}

    def all_followed(self, digests: Iterable[Digest]) -> bool:
        """Tell whether the DiffIDs of all these layers are known."""
        return all((self._facts(digest) or BlobInfo()).diff_id is not None for digest in digests)

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether a blob is stored; if so it stays until the lease ends."""
        return bool(self.hold([descriptor.digest]))

    def _hold(self, connection: sqlite3.Connection, digest: Digest) -> bool:
        if not self._files.exists(digest):
            return False
        leases.hold(connection, self.name, str(digest))
        self._unsynced.add(digest.algorithm)
        return True

    def find(self, descriptor: Descriptor, *, follow: bool, cancel: CancelToken) -> Receipt | None:
        """Return the receipt of a blob that is stored, computing its DiffID if need be.

        Its size is that of the file, whatever the descriptor says. A file that is damaged as its
        size shows is removed: the blob is not there.
        """
        digest = descriptor.digest
        # A look without a transaction first: mostly there is nothing, and blobs only go away
        # inside of one.
        if not self._files.exists(digest) or not self.has(descriptor):
            return None
        size = self._files.size(digest)
        known = self._facts(digest)
        stored = None if known is None else known.size
        if (descriptor.size if stored is None else stored) not in {None, size}:
            # A file that was cut off is put again; a good one shows that the size is wrong.
            self.remove_damaged(digest)
            if not self._files.exists(digest):
                return None
        found = known or BlobInfo()
        if follow and found.diff_id is None:
            limit = self._limits.raw.of(size)
            with self._files.open(str(digest)) as file:
                diff_id, raw_size = follow_diff_id(file, limit, cancel)
            found = found.replace(diff_id=diff_id, raw_size=raw_size)
        if found != known:  # no row: it was left by a process that was killed just then
            with self.db.write(durable=False) as connection:
                blob_info.record(connection, digest, size, found)
        return Receipt(descriptor._replace(size=size), found.diff_id, found.raw_size, existed=True)

    def remove_damaged(self, digest: Digest) -> None:
        """Remove a file that is not what its name says: the blob is not there, and can be put."""
        from wherry.store.check import remove_damaged

        with translated(self.db.path):
            remove_damaged(self.db, self._files, [str(digest)])

    def _facts(self, digest: Digest) -> BlobInfo | None:
        with self.db.read() as connection:
            return blob_info.find(connection, digest)

    # Adding to it

    def put(
        self,
        blob: Blob,
        *,
        follow: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Store a blob unless it is there; ``follow`` computes its DiffID. Idempotent.

        On return its size and digest are exact, it is on the disk and visible. After a
        failure nothing is visible; what arrived stays as a part, unless it is wrong. Raises
        `Busy` while somebody else is writing the same blob, and `IntegrityError` where an exact
        blob has another size than its descriptor says.
        """
        digest = blob.descriptor.digest
        name = part_name(digest)
        with translated(self.db.path):
            found = self.find(blob.descriptor, follow=follow, cancel=cancel)
            if found is not None:
                return _checked(found, blob)
            self._files.prepare(digest)
            part = open_part(self._files.ingest, name)
            if part is None:
                raise Busy(_size(self._files.ingest, name))
            with contextlib.closing(part):
                # Somebody may have finished it before the lock was ours.
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
                    # Of what came in pieces one may be wrong: once more from zero.
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
        # After COMMIT: the name may be lost, and a row without it is harmless.
        self._files.sync(digest.algorithm)
        return Receipt(blob.descriptor._replace(size=got.size), got.diff_id, got.raw_size)

    def put_unknown(self, source: Raw, cancel: CancelToken) -> Receipt:
        """Store what ``source`` holds, whatever that is; its digest is computed on the way.

        For layers of archives that are read once. Raises what `put` does, but for `Busy`.
        """
        name = part_name(Digest.of(os.urandom(16)))  # no other process writes it
        with translated(self.db.path):
            self._files.prepare(Digest.of(b""))
            part = open_part(self._files.ingest, name)
            assert part is not None  # noqa: S101 - nobody else knows the name
            with contextlib.closing(part):
                try:
                    digest, got = receive_unknown(part, source, self._limits, cancel)
                    descriptor = Descriptor("", digest, got.size)
                    known = self.find(descriptor, follow=True, cancel=cancel)
                    if known is not None:
                        part.discard()
                        return known
                    part.sync()
                    with self.db.write(durable=False) as connection:
                        self._files.publish(part.name, digest)
                        blob_info.record(
                            connection, digest, got.size, BlobInfo(got.diff_id, got.raw_size)
                        )
                        self._hold(connection, digest)
                except BaseException:
                    part.discard()
                    raise
                part.seal()
                self._files.sync(digest.algorithm)
        return Receipt(descriptor, got.diff_id, got.raw_size)

    def put_bytes(self, descriptor: Descriptor, raw: bytes, cancel: CancelToken) -> None:
        """Store a small blob that is at hand, in place of a damaged file too. Idempotent."""
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
        """Tell whether a file is there that is not ``raw``, or that cannot be read."""
        try:
            with self._files.open(str(digest)) as file:
                return file.read(len(raw) + 1) != raw
        except FileNotFoundError:
            return False
        except (OSError, StoreError):
            return True


def _checked(found: Receipt, blob: Blob) -> Receipt:
    """Refuse a stored blob of another size than an exact one has to have."""
    if blob.exact and found.descriptor.size != blob.descriptor.size:
        raise wrong_size_error(blob.descriptor, f"{found.descriptor.size:,}")
    return found


def _size(directory: Directory, name: str) -> int:
    try:
        return directory.stat(name).st_size
    except FileNotFoundError:
        return 0
