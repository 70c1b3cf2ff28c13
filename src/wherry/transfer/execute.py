"""Executing the plan of a copy: blobs first, then documents, names last."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, cast

from wherry.errors import NotFound, RegistryError
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index
from wherry.model.record import Record
from wherry.transfer.blob_steps import BlobSteps
from wherry.transfer.plan_documents import final_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import MountingSink
    from wherry.model.digest import Digest
    from wherry.transfer.blob_steps import Ends
    from wherry.transfer.collect import Node
    from wherry.transfer.copy_options import CopyOptions
    from wherry.transfer.plan_values import CopyPlan
    from wherry.transfer.progress import LayerProgress


_SPARSE_HINT = (
    "the index lists images that were not copied: copy all of them (--all-platforms), or "
    "make a smaller index (without --sparse)"
)
_FOREIGN_HINT = (
    "the image has layers at other addresses, and a registry may refuse those "
    "(Distribution: validation.manifests.urls)"
)
_MISSING_CONTENT = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}  # OCI distribution spec, error codes


class CopyResult(Record):
    """What a copy has done.

    Attributes:
        destination: The address of the destination.
        root: The root document as it was written.
        names: The names that were set on it, or that stood for it already.
        sent: Bytes of blobs that were sent.
        mounted: Bytes of blobs that were mounted.
        notes: Digests that changed, and why.
        v1_id: The id of the image in a version 1 registry, which has no digests. ``root`` is then
            the manifest at the source.
    """

    destination: str
    root: Descriptor
    names: tuple[str, ...]
    sent: int = 0
    mounted: int = 0
    notes: tuple[str, ...] = ()
    v1_id: str = ""


def execute(
    plan: CopyPlan,
    ends: Ends,
    options: CopyOptions,
    progress: LayerProgress,
    cancel: CancelToken,
    *,
    force: bool = False,
) -> CopyResult:
    """Carry out a plan that was made just now.

    A name is set only after everything below its root is stored.

    Args:
        plan: The plan.
        ends: Where the copy reads and writes.
        options: How blobs are copied.
        progress: Is told every step.
        cancel: Stops the copy.
        force: Whether to send all blobs of the plan without asking.

    Raises:
        IntegrityError: The source is damaged; nothing is named at the destination.
        RegistryError: The registry refuses a blob or a document.
        WherryError: The source cannot be read, or the destination cannot be written.
    """
    steps = BlobSteps(plan, ends, options, progress, cancel, force=force)
    return _Execution(plan, ends, steps, cancel).run()


class _Execution:
    def __init__(self, plan: CopyPlan, ends: Ends, steps: BlobSteps, cancel: CancelToken) -> None:
        self._plan = plan
        self._ends = ends
        self._sink = ends.sink
        self._steps = steps
        self._cancel = cancel

    def run(self) -> CopyResult:
        plan = self._plan
        self._steps.run()
        written = self._write_documents()
        sent = [step.source.digest for step in plan.blobs if not step.is_foreign]
        targets = self._steps.targets
        self._ends.remember_stored({digest: targets[digest].digest for digest in sent})
        self._set_names(written)
        root = written.get(plan.root.digest, plan.root)._replace(data=None)
        names = tuple(each.name for each in plan.names if each.root == plan.root.digest)
        return CopyResult(
            plan.destination,
            root,
            (*plan.current_names, *names),
            self._steps.sent,
            self._steps.mounted,
            plan.notes,
        )

    def _set_names(self, written: Mapping[Digest, Descriptor]) -> None:
        """Set the names, in their order; those of one root together where that is possible."""
        for root, names in itertools.groupby(self._plan.names, lambda each: each.root):
            texts = [each.name for each in names]
            if self._sink.mounts:
                cast("MountingSink", self._sink).set_tags(texts, written[root])
                continue
            for text in texts:
                self._sink.name(text, written[root])

    # Documents

    def _write_documents(self) -> dict[Digest, Descriptor]:
        """Write the documents, children first.

        Returns:
            What those of the source have become, with their bytes.
        """
        written: dict[Digest, Descriptor] = {}
        there: set[Digest] = set()
        targets, read = self._steps.targets, self._ends.source.read
        for planned, node in final_documents(self._plan, targets, read):
            written[planned.source.digest] = node.descriptor._replace(data=node.document.raw)
            there.add(node.digest)
            if not planned.exists:
                self._write(node, there)
        return written

    def _write(self, node: Node, written: AbstractSet[Digest]) -> None:
        is_index = isinstance(node.document, Index)
        put = functools.partial(
            self._sink.put_document,
            node.descriptor,
            node.document.raw,
            [(child, not is_index or child in written) for child in node.children],
            self._cancel,
        )
        try:
            put()
        except (RegistryError, NotFound) as error:
            error.hint = error.hint or _hint(node, written)
            if _lacks_images(node, written):
                raise
            if not _MISSING_CONTENT.intersection(error.codes):
                raise
            self._repair(node, put)

    def _repair(self, node: Node, put: Callable[[], None]) -> None:
        """Send what the destination has lost since it was asked, then the document.

        If that is not enough, the destination says that it has what it has lost: then all blobs
        of the document are sent.
        """
        self._steps.send_again(node, asks=True)
        try:
            put()
        except (RegistryError, NotFound) as error:
            if not _MISSING_CONTENT.intersection(error.codes):
                raise
            self._steps.send_again(node, asks=False)
            put()


def _lacks_images(node: Node, written: AbstractSet[Digest]) -> bool:
    """Tell whether a document is an index that lists images which were not copied."""
    document = node.document
    return isinstance(document, Index) and any(
        entry.digest not in written for entry in document.manifests
    )


def _hint(node: Node, written: AbstractSet[Digest]) -> str:
    """Return what to try when a destination refuses a document."""
    if _lacks_images(node, written):
        return _SPARSE_HINT
    return _FOREIGN_HINT if any(blob.urls for blob in node.blobs) else ""
