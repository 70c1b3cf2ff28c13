"""Put the artifacts of indexes into the store: attestations and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget, BudgetExceeded
from wherry.errors import Cancelled, NotFound, StoreError, WherryError
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Manifest
from wherry.transfer.plan import plan
from wherry.transfer.plan_request import CopyRequest
from wherry.transfer.progress import LayerProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Source
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document, Index
    from wherry.ops.store_sink import StoreSink
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.graph import Selection
    from wherry.transfer.progress import Emitter


class ArtifactPuller:
    """Put the artifacts that indexes list into a store.

    So an index can be copied whole later. ``fetch`` returns a document. An artifact that cannot
    be fetched causes a warning, not an error. A ``sparse`` source may lack artifacts; those
    cause no warning.
    """

    def __init__(
        self,
        sink: StoreSink,
        source: Source,
        fetch: Callable[[Digest], Document],
        emitter: Emitter,
        options: CopyOptions,
        cancel: CancelToken,
        *,
        sparse: bool = False,
    ) -> None:
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
        from wherry.transfer.blob_steps import Ends
        from wherry.transfer.execute import execute

        request = CopyRequest(
            self._source.label, self._sink.label, names=(), jobs=self._options.jobs
        )
        made = plan(request, digest, lambda: manifest, self._source, self._sink, self._cancel)
        # Its config is content like its layers.
        documents = tuple(each.replace(config=None) for each in made.documents)
        execute(
            made.replace(documents=documents),
            Ends(self._source, self._sink),
            self._options,
            LayerProgress(self._emitter),
            self._cancel,
        )
