"""Put the artifacts of indexes into the store: attestations and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget, BudgetExceeded
from wherry.errors import Cancelled, NotFound, StoreError, WherryError
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Manifest
from wherry.transfer.copy import ImageCopy
from wherry.transfer.progress import LayerProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import ContentSink, Source
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document, Index
    from wherry.store import LocalStore
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.graph import Selection
    from wherry.transfer.progress import Emitter


class ArtifactPuller:
    """Put the artifacts that indexes list into a sink.

    So an index can be copied whole later. ``fetch`` returns a document. An artifact that cannot
    be fetched causes a warning, not an error. A ``sparse`` source may lack artifacts; those
    cause no warning.
    """

    def __init__(
        self,
        store: LocalStore,
        sink: ContentSink,
        source: Source,
        fetch: Callable[[Digest], Document],
        emitter: Emitter,
        options: CopyOptions,
        cancel: CancelToken,
        *,
        sparse: bool = False,
    ) -> None:
        self._store = store
        self._sink = sink
        self._source = source
        self._fetch = Budget().limit(fetch)
        self._emitter = emitter
        self._options = options.replace(verify_layers=False)
        self._cancel = cancel
        self._sparse = sparse

    def obtain(self, selections: Iterable[Selection]) -> None:
        """Fetch the artifacts that the indexes above ``selections`` list."""
        for digest, index in {d: i for each in selections for d, i in each.indexes}.items():
            children = [(child, True) for child in self._fetch_artifacts(index)]
            if children:
                root = Descriptor(index.media_type, digest, len(index.raw))
                self._sink.put_document(root, index.raw, children, self._cancel)

    def _fetch_artifacts(self, index: Index) -> Iterator[Digest]:
        for entry in index.manifests:
            if entry.media_type.lower() not in mediatype.MANIFESTS:
                continue
            try:
                document = self._fetch(entry.digest)
                if isinstance(document, Manifest) and (
                    entry.is_attestation or document.artifact is not None
                ):
                    self._copy(entry.digest, document)
                    yield entry.digest
            except (Cancelled, StoreError, BudgetExceeded):
                raise
            except WherryError as error:
                if not (self._sparse and isinstance(error, NotFound)):
                    self._emitter.warn(f"{entry.digest.short}… of the index: {error}; skipped")

    def _copy(self, digest: Digest, manifest: Manifest) -> None:
        """Store the blobs of an artifact, then its manifest."""
        blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
        ImageCopy(
            None,
            list(blobs.values()),
            self._source,
            self._sink,
            self._store.read,
            self._options,
            LayerProgress(self._emitter),
        ).run(lambda _: None, self._cancel)
        root = Descriptor(manifest.media_type, digest, len(manifest.raw))
        self._sink.put_document(root, manifest.raw, [(b, True) for b in blobs], self._cancel)
