"""The local store: content-addressed blobs, documents that refer to them, and names.

This class adds what changes a store to what `ReadableStore` reads.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import wherry
from wherry.errors import InvalidReference, StoreError
from wherry.store import refs, reserve
from wherry.store.os_errors import translate_os_errors
from wherry.store.readable_store import ReadableStore
from wherry.store.store_handle import DATABASE

if TYPE_CHECKING:
    import sqlite3

    from wherry.store.cached_names import CachedNames
    from wherry.store.gc import Collector
    from wherry.store.incoming import IncomingBlobs
    from wherry.store.ingest import Ingest
    from wherry.store.removal import RemovalPlan
    from wherry.store.repositories import Repositories
    from wherry.store.unpacked import UnpackedLayers
    from wherry.store.upload_sessions import UploadSessions
    from wherry.store.v1_ids import V1Id


_CHANGED = "nothing was changed; `wherry gc` makes room: it removes what no name holds"


class LocalStore(ReadableStore):
    """The store at ``path``, created on the first write; processes may share it."""

    def check_writable(self) -> None:
        """Make the directory; raises `StoreError` if the store cannot be written."""
        self._handle.check_writable()

    def ingest(self) -> Ingest:
        """Return an operation that adds to the store, for use in a ``with`` statement."""
        db = self._handle.writable_database()
        from wherry.content.pipeline import Limits
        from wherry.store.ingest import Ingest

        return Ingest(self._handle.files, db, self.limits or Limits())

    @contextlib.contextmanager
    def hold(self, root: wherry.Digest) -> Iterator[None]:
        """Keep an image until the end of the block, even if its names are removed.

        In a store that cannot be written the block runs without that guarantee.
        """
        with contextlib.ExitStack() as held:
            with contextlib.suppress(StoreError):
                held.enter_context(self.ingest()).hold_below(root)
            yield

    def unpacked_layers(self) -> UnpackedLayers:
        """Return the layers that this user has unpacked into the store.

        Raises:
            StoreError: The store cannot be written, or others can write what is in it.
        """
        from wherry.store.unpacked import UnpackedLayers

        self._handle.writable_database()
        with translate_os_errors(self.path):
            return UnpackedLayers(self._handle.files.root)

    # What the server of this store receives

    @functools.cached_property
    def incoming(self) -> IncomingBlobs:
        """The blobs that clients of the server are uploading."""
        from wherry.store.incoming import IncomingBlobs

        return IncomingBlobs(self._handle)

    @functools.cached_property
    def repositories(self) -> Repositories:
        """The blobs of the repositories that the server offers."""
        from wherry.store.repositories import Repositories

        return Repositories(self._handle)

    @functools.cached_property
    def cached_names(self) -> CachedNames:
        """What the server of this store knows of other registries."""
        from wherry.store.cached_names import CachedNames

        return CachedNames(self._handle)

    # What pushes record

    @contextlib.contextmanager
    def upload_sessions(self) -> Iterator[UploadSessions]:
        """Return the upload sessions that the store keeps, locked until the end of the block."""
        from wherry.store.upload_sessions import UploadSessions

        with contextlib.closing(UploadSessions(self._handle)) as sessions:
            yield sessions

    def record_provenance(self, repository: str, digests: Collection[wherry.Digest]) -> None:
        """Record that a repository (``host/path``) has blobs now. Idempotent.

        Like the following methods, it does nothing if there is no store or it cannot be written.
        """
        from wherry.store import provenance

        self._note(lambda connection: provenance.record(connection, repository, digests))

    def forget_provenance(self, repository: str, digest: wherry.Digest) -> None:
        """Remove the record that a repository has a blob."""
        from wherry.store import provenance

        self._note(lambda connection: provenance.forget(connection, repository, digest))

    def record_packed(
        self, source: wherry.Digest, compression: str, packed: wherry.types.Descriptor
    ) -> None:
        """Record what a blob became when it was packed with a compression, such as ``gzip:6``."""
        from wherry.store import packed as rows

        self._note(lambda connection: rows.record(connection, source, compression, packed))

    def record_v1_ids(self, registry: str, ids: Collection[V1Id]) -> None:
        """Record what a registry of version 1 (its host) has by ids. Idempotent."""
        from wherry.store import v1_ids

        self._note(lambda connection: v1_ids.record(connection, registry, ids))

    def _note(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Change rows that only save work; an error does not end the operation."""
        with contextlib.suppress(StoreError):
            if self._handle.database() is None:
                return
            with self.ingest() as ingest, ingest.db.write(durable=False) as connection:
                change(connection)

    # Naming and removing

    def pin(
        self, reference: wherry.Reference, root: wherry.Digest, manifest: wherry.Digest
    ) -> None:
        """Give a stored image one more name, or move the name to it. Idempotent.

        Raises:
            NotFound: Some of the image is missing; the name stays as it was.
            InvalidReference: The digest in the name is not the image's.
        """
        if reference.digest not in {None, root}:
            text = str(reference)
            message = f"this digest is not {root}"
            raise InvalidReference(message, text=text, position=text.index("@"))
        with reserve.hint_when_full(_CHANGED), self.ingest() as ingest:
            ingest.pin(reference, root, manifest)

    def unpin(self, reference: wherry.Reference) -> None:
        """Remove one name, and leave its image to `gc`; raises `NotFound`."""
        if self._handle.database() is None:
            raise refs.not_there(reference)
        with (
            reserve.hint_when_full(_CHANGED),
            self.ingest() as ingest,
            ingest.db.write() as connection,
        ):
            if refs.find(connection, reference) is None:
                raise refs.not_there(reference)
            ingest.drop(connection, [reference])

    def remove_name(self, reference: wherry.Reference) -> wherry.types.RemovalReport:
        """Remove a name and what only it kept; raises `NotFound`.

        A digest that was added together with a tag is removed with the last such tag.
        """
        if self._handle.database() is None:
            raise refs.not_there(reference)
        from wherry.store import removal

        return self._remove(lambda connection: removal.names_with(connection, reference))

    def remove_images(
        self, records: Sequence[wherry.types.ImageRecord], *, force: bool
    ) -> wherry.types.RemovalReport:
        """Remove all names of an image and what only they kept.

        Args:
            records: The manifests of the image, which have one id.
            force: Whether to remove an image that several repositories name.

        Raises:
            StoreError: Several repositories name the image and ``force`` is false, or the image
                is one platform of an index.
        """
        from wherry.store import removal

        return self._remove(lambda connection: removal.names_of(connection, records, force=force))

    def _remove(
        self, choose: Callable[[sqlite3.Connection], RemovalPlan]
    ) -> wherry.types.RemovalReport:
        from wherry.store import removal

        with translate_os_errors(self.path), self._removing() as ingest:
            return removal.remove(ingest, self._collector(ingest), choose)

    @contextlib.contextmanager
    def _removing(self) -> Iterator[Ingest]:
        """Begin an operation that removes; a full disk releases the reserve for it."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(reserve.hint_when_full(reserve.NEEDED))
            yield reserve.with_room(
                self._handle.files.root, lambda: stack.enter_context(self.ingest())
            )
        reserve.lay(self._handle.files.root)

    def gc(self, *, dry_run: bool = False) -> wherry.types.GarbageReport:
        """Remove what no name and no running operation keeps, in any process.

        Interrupted downloads are removed too, unless another process is adding to the store, and
        unpacked layers that are not in use and whose layers the store does not have.

        Args:
            dry_run: Whether to change nothing and only report what would be removed.
        """
        from wherry.store import backup, leases, unpacked, upload_sessions
        from wherry.store.gc import Collector, GarbageReport, drop_outdated, sweep

        db = self._handle.database()
        if db is None:
            return GarbageReport([], 0, [])
        with translate_os_errors(self.path):
            if not dry_run:
                leases.sweep(self._handle.files.root)
                upload_sessions.sweep(self._handle.files.root)
            # First, because it makes room and needs none.
            parts, size = sweep(self._handle.files, dry_run=dry_run)
            if dry_run:
                found = Collector(self._handle.files, db).plan()
            else:
                with self._removing() as ingest:
                    collector = self._collector(ingest)
                    found = collector.collect()
                    with ingest.db.write(durable=False) as connection:
                        drop_outdated(connection)
                    ingest.renamed |= collector.renamed or backup.is_behind(
                        ingest.db, self._handle.files.root
                    )
            with db.read() as connection:
                kept = unpacked.diff_ids(connection, frozenset(found.digests))
            count, bytes_unpacked = unpacked.sweep(self._handle.files.root, kept, dry_run=dry_run)
        return found.replace(
            parts=parts, part_size=size, unpacked=count, unpacked_size=bytes_unpacked
        )

    def check(
        self,
        cancel: wherry.CancelToken | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> wherry.types.CheckReport:
        """Hash every blob and compare what names need with what is stored; changes nothing.

        Other operations may run at the same time.

        Args:
            cancel: Ends the check with `Cancelled`.
            on_progress: Called with the bytes read so far and the bytes of all blobs, from
                several threads, one at a time.

        Raises:
            StoreError: The database is damaged.
        """
        from wherry.content.cancel import CancelToken
        from wherry.store.check import CheckReport, check

        db = self._handle.database()
        if db is None:
            return CheckReport([], 0, 0)
        with translate_os_errors(self.path):
            return check(db, self._handle.files, cancel or CancelToken(), on_progress)

    def usage(self) -> wherry.types.Usage:
        """Measure the disk space of the store."""
        from wherry.store.usage import Usage, usage

        db = self._handle.database()
        with translate_os_errors(self.path):
            return Usage() if db is None else usage(db, self._handle.files)

    def remove_damaged(self, digests: Collection[str]) -> None:
        """Remove files that do not match their digests, so that they can be stored again."""
        from wherry.store.check import remove_damaged

        with self.ingest() as ingest, translate_os_errors(self.path):
            remove_damaged(ingest.db, self._handle.files, digests)

    def rebuild(self) -> wherry.types.RebuildReport:
        """Build a new database from the blobs and the copy of the names.

        The old database stays beside it as ``wherry.db.damaged``.

        Raises:
            StoreError: Another process is adding to the store, the database has a newer
                version, or a file cannot be read or written.
        """
        from wherry.store.rebuild import RebuildReport, rebuild

        self.close()
        with translate_os_errors(self.path):
            root = self._handle.root()
            if root is None or not root.exists("blobs"):
                return RebuildReport(0, 0, ())
            return rebuild(self._handle.files, DATABASE)

    def _collector(self, ingest: Ingest) -> Collector:
        from wherry.store.gc import Collector

        return Collector(self._handle.files, ingest.db)
