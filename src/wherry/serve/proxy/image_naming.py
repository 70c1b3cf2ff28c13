"""Names for images of other registries, once all of one has arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.budget import Budget
from wherry.errors import InvalidDocument, NotFound, Unsupported, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Manifest
from wherry.ops.store_sink import StoreSink
from wherry.transfer.graph import check_layers, select_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.digest import Digest
    from wherry.model.platform import Platform
    from wherry.model.reference import Reference
    from wherry.store import LocalStore
    from wherry.store.ingest import Ingest
    from wherry.transfer.graph import Selection


class ImageNaming:
    """Gives complete images the names that a pull would give them. Thread-safe.

    Args:
        store: The store.
        host: The platform of the image that a name of an index shows.
        warn: Is told why an image could not be named.
        cancel: Ends the calls.
    """

    def __init__(
        self,
        store: LocalStore,
        host: Platform,
        warn: Callable[[str], None],
        cancel: CancelToken,
    ) -> None:
        self._store = store
        self._names = store.cached_names
        self._host = host
        self._warn = warn
        self._cancel = cancel

    def name_above(self, repository: str, digest: Digest) -> None:
        """Name the images of a repository (``host/path``) that a blob or document belongs to."""
        roots: dict[Digest, list[Reference]] = {}
        try:
            for reference, root in self._names.names_above(repository, digest):
                roots.setdefault(root, []).append(reference)
            for root, references in roots.items():
                tagged = [each for each in references if each.tag is not None]
                if tagged or not self._is_below_another(repository, root):
                    self._name(root, tagged or references)
        except WherryError as error:
            self._warn(f"{repository}: {error}")

    def _is_below_another(self, repository: str, root: Digest) -> bool:
        """Tell whether a manifest was fetched as a part of an index."""
        return any(other != root for _, other in self._names.names_above(repository, root))

    def _name(self, root: Digest, references: Sequence[Reference]) -> None:
        complete = self._complete(root)
        if not complete or self._is_named(complete, root, references):
            return
        with self._store.ingest() as ingest:
            sink = StoreSink(self._store, ingest, self._host, verify=False)
            for selection in complete:
                if not self._record(sink, ingest, selection):
                    return
            images = [sink.image(selection.digest) for selection in complete]
            names = {*references, *(each.with_digest(root) for each in references)}
            blobs = {blob for image in images for blob in image.blobs}
            sink.commit(images, root, names, (references[0].name, blobs))

    def _complete(self, root: Digest) -> list[Selection]:
        """Return the images below a root whose config and layers are all stored."""
        fetch = Budget().limit(self._store.document)
        try:
            found = select_all(root, self._store.document(root), fetch, sparse=True)
        except (Unsupported, NotFound, InvalidDocument):  # an artifact, or just collected
            return []
        return [each for each in found if self._is_complete(each)]

    def _is_complete(self, selection: Selection) -> bool:
        try:
            check_layers(selection)
        except Unsupported:
            return False
        return isinstance(selection.manifest, Manifest) and all(
            self._store.holds(blob.digest)
            for blob in (selection.manifest.config, *selection.manifest.layers)
        )

    def _is_named(
        self, complete: Sequence[Selection], root: Digest, references: Sequence[Reference]
    ) -> bool:
        found = map(self._store.find, references)
        return all(ref is not None and ref.root == root for ref in found) and all(
            self._store.image(each.digest) is not None for each in complete
        )

    def _record(self, sink: StoreSink, ingest: Ingest, selection: Selection) -> bool:
        """Record an image and the indexes above it; tell whether it is still stored."""
        manifest = selection.manifest
        assert isinstance(manifest, Manifest)  # noqa: S101 - see `_is_complete`
        edges = [(blob.digest, True) for blob in (manifest.config, *manifest.layers)]
        blobs = {digest for digest, _ in edges}
        if ingest.hold(blobs) != blobs:
            return False
        chosen = Descriptor(manifest.media_type, selection.digest, len(manifest.raw))
        sink.put_document(chosen, manifest.raw, edges, self._cancel)
        below = selection.digest
        for digest, index in reversed(selection.indexes):
            edges = [(each.digest, each.digest == below) for each in index.manifests]
            found = Descriptor(index.media_type, digest, len(index.raw))
            sink.put_document(found, index.raw, edges, self._cancel)
            below = digest
        return True
