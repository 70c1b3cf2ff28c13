"""One operation's hold on a store: what it puts or finds there stays until it ends."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dray.content.pipeline import Limits, receive, receive_unknown
from dray.content.ports import Blob, Busy, Receipt, blob_of
from dray.content.verify import follow_diff_id
from dray.errors import IntegrityError, NotFound, StoreError
from dray.model.descriptor import Descriptor
from dray.model.digest import Digest
from dray.store import graph, images, leases, refs
from dray.store.leases import Lease
from dray.store.oserrors import translated
from dray.store.parts import open_part

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from dray.content.cancel import CancelToken
    from dray.content.ports import Raw
    from dray.model.reference import Reference
    from dray.store.blobs import BlobFiles
    from dray.store.db import Database
    from dray.store.images import ImageRecord
    from dray.store.parts import Part

_UNFINISHED = "names.new"  # a copy of the names whose writer may have died


class Ingest:
    """A lease on a store, and the ways to add to it.

    The lease is a lock on a file, so it dies with the process. Blobs under it are not
    collected. Use as a context manager; methods may be called from any thread.
    """

    def __init__(self, root: Path, files: BlobFiles, db: Database, limits: Limits) -> None:
        self._root = root
        self._files = files
        self.db = db
        self._limits = limits
        self._lease: Lease | None = None
        self.renamed = False
        self._unsynced: set[str] = set()

    @property
    def name(self) -> str:
        """The name of the lease, as it stands in the database."""
        if self._lease is None:
            raise ValueError("the operation has not begun")
        return self._lease.name

    def __enter__(self) -> Self:
        directory = self._root / "leases"
        with translated(directory):
            self._lease = Lease(directory)
        if not self.db.is_current:  # somebody made it anew; nothing is held in this one
            self._lease.end()
            raise StoreError(f"{self.db.path}: the store's database was replaced", hint="try again")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is None:
            return
        try:
            # After a failure nobody waits for the database: a dead lease frees its rows too.
            if error is None:
                with contextlib.suppress(StoreError), self.db.write() as connection:
                    leases.release(connection, self._lease.name)
            if self.renamed or (self._root / _UNFINISHED).exists():
                self._save_names()
        finally:
            with contextlib.suppress(OSError):
                self._lease.end()
            self._lease = None

    def _save_names(self) -> None:
        """Copy the names beside the database; what has been done is done if that fails."""
        from dray.store import backup

        with contextlib.suppress(OSError, StoreError):
            backup.save(self.db, self._root)

    # What is there

    def hold(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return which of ``digests`` are stored; they stay until the lease ends."""
        with self.db.write() as connection:
            return {digest for digest in digests if self._hold(connection, digest)}

    def hold_below(self, root: Digest) -> None:
        """Keep what is stored of an image, all that is below ``root``, until the lease ends."""
        with self.db.write() as connection:
            for digest in graph.closure(connection, [str(root)]):
                if self._files.has(digest):
                    leases.hold(connection, self.name, digest)

    def all_followed(self, digests: Iterable[Digest]) -> bool:
        """Tell whether the DiffIDs of all these layers are known."""
        return all(self._facts(digest)[0] is not None for digest in digests)

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

        A file that is damaged as its size shows is removed: the blob is not there. Raises
        `IntegrityError` where the size asked for is another than that of a good one.
        """
        digest = descriptor.digest
        # A look without a transaction first: mostly there is nothing, and blobs only go away
        # inside of one.
        if not self._files.exists(digest) or not self.has(descriptor):
            return None
        size = self._files.size(digest)
        if descriptor.size not in {None, size}:
            from dray.store.check import remove_damaged

            # A file that was cut off is put again; a good one tells that the size is wrong.
            remove_damaged(self.db, self._files, [str(digest)])
            if not self._files.exists(digest):
                return None
            raise IntegrityError(
                f"it has {size:,} bytes, expected {descriptor.size:,}",
                expected=str(descriptor.size),
                actual=str(size),
            )
        diff_id, raw_size = self._facts(digest)
        if follow and diff_id is None:
            limit = self._limits.raw.of(size)
            with self._files.path(digest).open("rb", buffering=0) as file:
                diff_id, raw_size = follow_diff_id(file, limit, cancel)
            self._note(digest, size, diff_id, raw_size)
        elif not self._is_known(digest):  # left by a process that was killed just then
            self._note(digest, size)
        return Receipt(replace(descriptor, size=size), diff_id, raw_size, existed=True)

    def _facts(self, digest: Digest) -> tuple[Digest | None, int | None]:
        with self.db.read() as connection:
            row = connection.execute(
                "SELECT diff_id, raw_size FROM blobs WHERE digest = ?", (str(digest),)
            ).fetchone()
        if row is None or row[0] is None:
            return None, None
        return Digest.parse(row[0]), row[1]

    def _is_known(self, digest: Digest) -> bool:
        with self.db.read() as connection:
            query = "SELECT 1 FROM blobs WHERE digest = ?"
            return connection.execute(query, (str(digest),)).fetchone() is not None

    def _note(
        self,
        digest: Digest,
        size: int,
        diff_id: Digest | None = None,
        raw_size: int | None = None,
    ) -> None:
        with self.db.write() as connection:
            _record_blob(connection, digest, size, diff_id, raw_size)

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
        `Busy` while somebody else is writing the same blob.
        """
        digest = blob.descriptor.digest
        path = Path(self._files.part(digest))
        with translated(path):
            found = self.find(blob.descriptor, follow=follow, cancel=cancel)
            if found is not None:
                return found
            self._files.prepare(digest)
            part = open_part(path)
            if part is None:
                raise Busy(_size(path))
            with contextlib.closing(part):
                # Somebody may have finished it before the lock was ours.
                found = self.find(blob.descriptor, follow=follow, cancel=cancel)
                if found is not None:
                    part.discard()
                    return found
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
                    facts = receive(
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
            with self.db.write() as connection:
                self._files.publish(digest)
                _record_blob(connection, digest, facts.size, facts.diff_id, facts.raw_size)
                self._hold(connection, digest)
        except BaseException:
            if part.size == 0:
                part.discard()
            raise
        part.seal()
        self._files.sync(
            digest.algorithm
        )  # after COMMIT: the name may be lost, a row without it is harmless
        descriptor = replace(blob.descriptor, size=facts.size)
        return Receipt(descriptor, facts.diff_id, facts.raw_size)

    def put_unknown(self, source: Raw, cancel: CancelToken) -> Receipt:
        """Store what ``source`` holds, whatever that is; its digest is computed on the way.

        For layers of archives that are read once. Raises what `put` does, but for `Busy`.
        """
        path = Path(self._files.part(Digest.of(os.urandom(16))))  # nobody else's
        with translated(path):
            self._files.prepare(Digest.of(b""))
            part = open_part(path)
            assert part is not None  # noqa: S101 - nobody else knows the name
            with contextlib.closing(part):
                try:
                    digest, facts = receive_unknown(part, source, self._limits, cancel)
                    descriptor = Descriptor("", digest, facts.size)
                    known = self.find(descriptor, follow=True, cancel=cancel)
                    if known is not None:
                        part.discard()
                        return known
                    part.sync()
                    with self.db.write() as connection:
                        part.path.rename(self._files.path(digest))
                        _record_blob(connection, digest, *facts)
                        self._hold(connection, digest)
                except BaseException:
                    part.discard()
                    raise
                part.seal()
                self._files.sync(digest.algorithm)
        return Receipt(descriptor, facts.diff_id, facts.raw_size)

    def put_bytes(self, descriptor: Descriptor, raw: bytes, cancel: CancelToken) -> None:
        """Store a small blob that is at hand. Idempotent."""
        blob = blob_of(descriptor, raw)
        while True:
            try:
                self.put(blob, cancel=cancel, on_bytes=lambda _: None)
            except Busy:
                cancel.sleep(0.02)
            else:
                return

    def add_document(
        self,
        descriptor: Descriptor,
        raw: bytes,
        children: Sequence[tuple[Digest, bool]],
        cancel: CancelToken,
        known_as: Digest | None = None,
    ) -> None:
        """Store a manifest or index and its edges: each child, and whether it is wanted.

        A child that was wanted once stays so: platforms of an index add up. ``known_as`` is
        the digest that registries call it by where that is not the bytes'. Idempotent.
        """
        self.put_bytes(descriptor, raw, cancel)
        with self.db.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
                (
                    str(descriptor.digest),
                    str(known_as or descriptor.digest),
                    descriptor.media_type,
                ),
            )
            connection.executemany(
                "INSERT INTO edges VALUES (?, ?, ?) ON CONFLICT (parent, child)"
                " DO UPDATE SET wanted = max(wanted, excluded.wanted)",
                [(str(descriptor.digest), str(child), int(wanted)) for child, wanted in children],
            )

    def commit(
        self,
        records: Sequence[ImageRecord],
        manifest: Digest,
        root: Digest,
        names: Collection[Reference],
        provenance: tuple[str, Collection[Digest]] | None = None,
    ) -> None:
        """Record complete images and pin ``names`` on ``root``, all at once, at the end.

        ``manifest`` is that of the image which the names show. A digest beside a tag of the same
        repository goes with it; alone it is a name like any other.
        ``provenance`` is a repository (``host/path``) and the blobs that it is known to have.
        Raises `NotFound` if some of an image is missing: leases hold nothing that is damaged and
        being mended.
        """
        self._sync()
        tagged = {name.name for name in names if name.tag is not None}
        with self.db.write() as connection:
            for record in records:
                self._require(connection, root, record.manifest)
                images.add_image(connection, record)
            for name in names:
                kept = name.tag is not None or name.name not in tagged
                self.renamed |= refs.set_ref(connection, name, root, manifest, kept=kept)
            if provenance is not None:
                repository, digests = provenance
                now = int(time.time())
                connection.executemany(
                    "INSERT OR REPLACE INTO provenance VALUES (?, ?, ?)",
                    [(str(digest), repository, now) for digest in digests],
                )

    def pin(self, reference: Reference, root: Digest, manifest: Digest) -> None:
        """Give a stored image one more name, or move the name to it. Idempotent.

        Raises `NotFound` if some of the image is missing, and leaves the name as it was.
        """
        self._sync()
        with self.db.write() as connection:
            self._require(connection, root, manifest)
            self.renamed |= refs.set_ref(connection, reference, root, manifest)

    def _require(self, connection: sqlite3.Connection, root: Digest, manifest: Digest) -> None:
        """Raise `NotFound` unless all of an image is there; in the transaction that names it."""
        for digest in sorted(graph.needed(connection, str(root), str(manifest))):
            if not self._files.has(digest):
                raise NotFound(
                    f"{digest} is missing from the image",
                    hint="pull the image again to mend it",
                )

    def drop(self, connection: sqlite3.Connection, references: Collection[Reference]) -> None:
        """Drop names in a transaction of the caller's; images stay until they are collected."""
        refs.remove(connection, references)
        self.renamed |= bool(references)

    def _sync(self) -> None:
        """Make the names of blobs that others stored survive a loss of power, as ours do.

        They may have been renamed by an operation that has not come to its fsync yet.
        """
        for algorithm in sorted(self._unsynced):
            self._files.sync(algorithm)
        self._unsynced.clear()


def _record_blob(
    connection: sqlite3.Connection,
    digest: Digest,
    size: int,
    diff_id: Digest | None,
    raw_size: int | None,
) -> None:
    connection.execute(
        "INSERT INTO blobs VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
        " diff_id = coalesce(excluded.diff_id, diff_id),"
        " raw_size = coalesce(excluded.raw_size, raw_size)",
        (str(digest), size, None if diff_id is None else str(diff_id), raw_size),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
