"""The local store: content-addressed blobs, the documents over them, names on top.

What changes a store stands here and in the modules that this one calls; `reading` holds the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import wherry
from wherry.errors import InvalidReference, StoreError, StoreFull
from wherry.model.arguments import checked
from wherry.store import refs, reserve
from wherry.store.db import Database
from wherry.store.hints import FULL
from wherry.store.os_errors import translated
from wherry.store.parameters import RULES
from wherry.store.readable_store import DATABASE, ReadableStore
from wherry.store.root_directory import make_store

if TYPE_CHECKING:
    import sqlite3

    from wherry.store.gc import Collector
    from wherry.store.removal import RemovalPlan


_CHANGED = "nothing was changed; `wherry gc` makes room: it removes what no name holds"


class LocalStore(ReadableStore):
    """A store at ``path``, made on the first write; any number of processes may share it."""

    def check_writable(self) -> None:
        """Make the directory; raises `StoreError` where nothing can be written to it."""
        with self._lock, translated(self.path):
            make_store(str(self.path.absolute()))
            root = self._root()
            if root is None or not self._is_writable(root):
                raise StoreError(
                    f"{self.path}: the store cannot be written",
                    hint="choose another place with --store or WHERRY_STORE",
                )

    def ingest(self) -> wherry.types.Ingest:
        """Begin to add to the store; use the result in a ``with`` statement."""
        self.check_writable()
        db = self._existing()
        if db is not None and db.read_only:
            raise StoreFull(f"{self.path}: no space left on device", hint=FULL)
        with self._lock, translated(self.path):
            if db is None:
                db = self._db = self._db or Database(self._files.root, DATABASE)
                reserve.lay(self._files.root)
        from wherry.content.pipeline import Limits
        from wherry.store.ingest import Ingest

        return Ingest(self._files, db, self._limits or Limits())

    @checked(RULES)
    @contextlib.contextmanager
    def held(self, root: wherry.Digest) -> Iterator[None]:
        """Keep an image to the end of the block, whoever takes its names away meanwhile.

        What cannot be kept, in a store that cannot be written, is read all the same.
        """
        with contextlib.ExitStack() as held:
            with contextlib.suppress(StoreError):
                held.enter_context(self.ingest()).hold_below(root)
            yield

    # Naming and removing

    @checked(RULES)
    def pin(
        self, reference: wherry.Reference, root: wherry.Digest, manifest: wherry.Digest
    ) -> None:
        """Give a stored image one more name, or move the name to it. Idempotent.

        Raises `NotFound` if some of the image is missing, and leaves the name as it was, and
        `InvalidReference` for the digest of something else.
        """
        if reference.digest not in {None, root}:
            text = str(reference)
            message = f"this digest is not {root}"
            raise InvalidReference(message, text=text, position=text.index("@"))
        with reserve.advised(_CHANGED), self.ingest() as ingest:
            ingest.pin(reference, root, manifest)

    @checked(RULES)
    def unpin(self, reference: wherry.Reference) -> None:
        """Drop one name; the image stays until it is collected. Raises `NotFound`."""
        if self._existing() is None:
            raise refs.not_there(reference)
        with (
            reserve.advised(_CHANGED),
            self.ingest() as ingest,
            ingest.db.write() as connection,
        ):
            if refs.find(connection, reference) is None:
                raise refs.not_there(reference)
            ingest.drop(connection, [reference])

    @checked(RULES)
    def remove_name(self, reference: wherry.Reference) -> wherry.types.RemovalReport:
        """Drop a name, and what only it held; raises `NotFound`.

        With a repository's last tag of an image the digest goes that came along with it.
        """
        if self._existing() is None:
            raise refs.not_there(reference)
        from wherry.store import removal

        return self._remove(lambda connection: removal.names_with(connection, reference))

    @checked(RULES)
    def remove_images(
        self, records: Sequence[wherry.types.ImageRecord], *, force: bool
    ) -> wherry.types.RemovalReport:
        """Drop all names of an image, and what only they held.

        Raises `StoreError` for one that several repositories name unless ``force`` is given.
        """
        from wherry.store import removal

        return self._remove(lambda connection: removal.names_of(connection, records, force=force))

    def _remove(
        self, choose: Callable[[sqlite3.Connection], RemovalPlan]
    ) -> wherry.types.RemovalReport:
        from wherry.store import removal

        with translated(self.path), self._removing() as ingest:
            return removal.remove(ingest, self._collector(ingest), choose)

    @contextlib.contextmanager
    def _removing(self) -> Iterator[wherry.types.Ingest]:
        """Begin to remove, on a full disk with the room that was kept for this; keep it anew."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(reserve.advised(reserve.NEEDED))
            yield reserve.with_room(self._files.root, lambda: stack.enter_context(self.ingest()))
        reserve.lay(self._files.root)

    @checked(RULES)
    def gc(self, *, dry_run: bool = False) -> wherry.types.GarbageReport:
        """Remove what no name and no operation holds, here or in another process.

        Downloads that were broken off go too, unless somebody is adding to the store. With
        ``dry_run`` nothing is changed, and the answer is what would be removed now.
        """
        from wherry.store import backup, leases
        from wherry.store.gc import Collector, GarbageReport, sweep

        db = self._existing()
        if db is None:
            return GarbageReport([], 0, [])
        with translated(self.path):
            if not dry_run:
                leases.sweep(self._files.root)
            # First of all: it makes room and asks for none.
            parts, size = sweep(self._files, dry_run=dry_run)
            if dry_run:
                found = Collector(self._files, db).plan()
            else:
                with self._removing() as ingest:
                    collector = self._collector(ingest)
                    found = collector.collect()
                    ingest.renamed |= collector.renamed or backup.is_behind(
                        ingest.db, self._files.root
                    )
        return found.replace(parts=parts, part_size=size)

    @checked(RULES)
    def check(
        self,
        cancel: wherry.CancelToken | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> wherry.types.CheckReport:
        """Hash every blob and compare what names need with what is there; changes nothing.

        ``on_progress`` is told the bytes read so far and those that there are; it is called from
        several threads, one at a time. Others may be at work meanwhile. Raises `StoreError`
        where the database is damaged.
        """
        from wherry.content.cancel import CancelToken
        from wherry.store.check import CheckReport, check

        db = self._existing()
        if db is None:
            return CheckReport([], 0, 0)
        with translated(self.path):
            return check(db, self._files, cancel or CancelToken(), on_progress)

    def usage(self) -> wherry.types.Usage:
        """Measure what the store takes on the disk."""
        from wherry.store.usage import Usage, usage

        db = self._existing()
        with translated(self.path):
            return Usage() if db is None else usage(db, self._files)

    @checked(RULES)
    def remove_damaged(self, digests: Collection[str]) -> None:
        """Remove files that are not what their names say, so that they can be put again."""
        from wherry.store.check import remove_damaged

        with self.ingest() as ingest, translated(self.path):
            remove_damaged(ingest.db, self._files, digests)

    def rebuild(self) -> wherry.types.RebuildReport:
        """Make the database anew from the blobs, with the names from the copy that is kept.

        The old one stays beside it as ``wherry.db.damaged``. Raises `StoreError` while another
        process is adding to the store, and for a database of a newer version.
        """
        from wherry.store.rebuild import RebuildReport, rebuild

        self.close()
        with translated(self.path):
            with self._lock:
                root = self._root()
            if root is None or not root.exists("blobs"):
                return RebuildReport(0, 0, ())
            return rebuild(self._files, DATABASE)

    def _collector(self, ingest: wherry.types.Ingest) -> Collector:
        from wherry.store.gc import Collector

        return Collector(self._files, ingest.db)
