"""Storing layers of version 1 registries, which are known by ids until they have arrived."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.content.protocols import Busy
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store import v1_ids
from wherry.store.blob_receiver import BlobReceiver, part_size
from wherry.store.blobs import part_name
from wherry.store.os_errors import translate_os_errors
from wherry.store.parts import open_part
from wherry.store.v1_ids import V1Id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from wherry.content.cancel import CancelToken
    from wherry.content.pipeline import ContentCheck
    from wherry.content.protocols import RawStream, Receipt


class V1LayerReceiver(BlobReceiver):
    """Stores layers by the ids that a registry has for them; see `BlobReceiver`."""

    def known_v1_layers(self, registry: str, ids: Iterable[str]) -> dict[str, Digest]:
        """Return the layers of those ids that are known at a registry (its host)."""
        with self.db.read() as connection:
            return v1_ids.layers(connection, registry, ids)

    def find_v1_layer(self, registry: str, v1_id: str, cancel: CancelToken) -> Receipt | None:
        """Return the receipt of a layer that was fetched before by this id, or None.

        Args:
            registry: The host of the registry.
            v1_id: The id.
            cancel: Ends the computation of a DiffID.
        """
        known = self.known_v1_layers(registry, [v1_id]).get(v1_id)
        if known is None:
            return None
        with translate_os_errors(self.db.path):
            return self.find(Descriptor("", known), follow=True, cancel=cancel)

    def put_v1_layer(
        self,
        registry: str,
        v1_id: str,
        parent: str,
        source: RawStream,
        cancel: CancelToken,
        *,
        content_check: Callable[[], ContentCheck],
        on_bytes: Callable[[int], None],
    ) -> Receipt:
        """Store a layer unless it was stored before by this id. Idempotent.

        Threads and processes that want the same layer fetch it once. What arrives before a
        failure is discarded, since nothing shows later that it belongs to the rest.

        Args:
            registry: The host of the registry.
            v1_id: The id.
            parent: The id of the image below; empty for the lowest.
            source: The layer; it is not read if the layer is there.
            cancel: Ends the transfer.
            content_check: Makes a check of the decompressed layer.
            on_bytes: Called with the number of bytes that have arrived.

        Raises:
            Busy: Another thread or process is fetching the layer.
            IntegrityError: The layer is damaged, too large, or fails the check.
        """
        name = part_name(Digest.of(f"{registry} {v1_id}".encode()))
        with translate_os_errors(self.db.path):
            self._files.prepare(Digest.of(b""))
            part = open_part(self._files.ingest, name)
            if part is None:
                raise Busy(part_size(self._files.ingest, name))
            with contextlib.closing(part):
                found = self._find_published(registry, v1_id, cancel)
                if found is not None:
                    part.discard()
                    return found
                if part.size:  # of a process that was killed
                    part.restart()

                def record(connection: sqlite3.Connection, digest: Digest) -> None:
                    v1_ids.record(connection, registry, [V1Id(v1_id, parent, digest)])

                return self._receive_unknown(
                    part,
                    source,
                    cancel,
                    on_bytes=on_bytes,
                    content_check=content_check,
                    record=record,
                )

    def _find_published(self, registry: str, v1_id: str, cancel: CancelToken) -> Receipt | None:
        """Return the receipt of a layer if another writer finished before this one got the lock.

        Writers publish a layer in a transaction, for whose end this waits.
        """
        with self.db.write(durable=False) as connection:
            known = v1_ids.layers(connection, registry, [v1_id]).get(v1_id)
        if known is None:
            return None
        return self.find(Descriptor("", known), follow=True, cancel=cancel)

    def record_v1_ids(self, registry: str, ids: Iterable[V1Id]) -> None:
        """Record what a registry has by ids, within this operation. Idempotent."""
        with self.db.write(durable=False) as connection:
            v1_ids.record(connection, registry, ids)
