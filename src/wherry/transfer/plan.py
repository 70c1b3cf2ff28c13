"""Planning a copy: what the destination has, and what has to move."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from wherry.content.scheduler import run_tasks
from wherry.errors import Unsupported
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index
from wherry.model.record import Record
from wherry.transfer.collect import collect, keeps_every_root, node_of
from wherry.transfer.plan_blobs import BlobPlanner, NothingKnown
from wherry.transfer.plan_documents import plan_documents, unchanged
from wherry.transfer.plan_values import CopyPlan, Move, PlannedName, Rewrite
from wherry.transfer.rewrite import added_blobs, describe_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import CheckingSink, Sink, Source
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.transfer.collect import Node
    from wherry.transfer.plan_blobs import KnownBlobs
    from wherry.transfer.plan_request import CopyRequest
    from wherry.transfer.plan_values import PlannedDocument


def plan(
    request: CopyRequest,
    digest: Digest,
    load: Callable[[], Document],
    source: Source,
    sink: Sink,
    cancel: CancelToken,
    memory: KnownBlobs | None = None,
) -> CopyPlan:
    """Plan a copy; nothing is written.

    The destination is asked for the root first. If it has the root, only names are left to set.

    Args:
        request: What to copy.
        digest: The digest of the root at the source.
        load: Returns the root; called only if it is needed.
        source: The place that has the image.
        sink: The destination.
        cancel: Cancels the requests.
        memory: What is known of the blobs.

    Raises:
        PlatformMismatch: There is no image for a platform.
        Unsupported: A document cannot be converted.
        WherryError: The source or the destination cannot be asked.
    """
    return _Planner(request, source, sink, cancel, memory or NothingKnown()).plan(digest, load)


class _Presence(Record):
    """Whether the destination has the root, and which of the names stand for it."""

    is_there: bool
    current: tuple[str, ...] = ()


_ABSENT = _Presence(is_there=False)


class _Planner:
    def __init__(
        self,
        request: CopyRequest,
        source: Source,
        sink: Sink,
        cancel: CancelToken,
        memory: KnownBlobs,
    ) -> None:
        self._request = request
        self._source = source
        self._sink = sink
        self._cancel = cancel
        self._memory = memory
        self._warnings: list[str] = []

    def plan(self, digest: Digest, load: Callable[[], Document]) -> CopyPlan:
        request, asked = self._request, None
        self._check_referrers()
        is_known = request.keeps_documents and keeps_every_root(request.wanted)
        if is_known and self._roots_are_whole:
            # before the documents below the root are fetched
            asked = self._look_for(Descriptor("", digest))
            if asked.is_there and not request.referrers:
                if asked.current == request.names and self._source.remote:
                    return self._plan_names(asked, Descriptor("", digest))  # saves a request
                root = unchanged(node_of(digest, load()))
                return self._plan_names(asked, root.source, (root,))
        nodes, kept = collect(digest, load(), request.wanted, self._source.document)
        self._check_index(nodes[-1])
        return self._plan_collected(nodes, kept, asked)

    def _plan_collected(
        self, nodes: tuple[Node, ...], kept: frozenset[Digest] | None, asked: _Presence | None
    ) -> CopyPlan:
        """Plan a copy of collected documents; ``asked`` tells what is known of the root."""
        blobs = BlobPlanner(self._request, self._source, self._sink, self._memory, nodes)
        changes, documents = self._rewritten(nodes, kept, blobs)
        root = documents[-1]
        if asked is None:
            asked = self._look_for(root.target) if root.target is not None else _ABSENT
        if asked.is_there and (self._roots_are_whole or root.is_manifest):
            if not self._request.referrers:
                return self._plan_names(asked, root.source, (root,))
            documents = tuple(each.replace(exists=True) for each in documents)
        elif asked.is_there and self._sink.remote:
            documents = (*documents[:-1], root.replace(exists=True))
        else:
            asked = _ABSENT  # the name is set again after what is added below the root
        more, tags = self._referrers(documents)
        documents = self._find_documents((*documents, *map(unchanged, more)), root, more)
        lacking = {each.source.digest for each in documents if not each.exists}
        wanted = [node for node in (*nodes, *more) if node.digest in lacking]
        added = map(Move, added_blobs(changes)) if lacking else ()
        return self._result(
            root.source,
            documents=documents,
            blobs=(*blobs.steps(wanted, self._cancel), *added),
            names=(*tags, *self._names(root.source.digest, asked)),
            rewrite=changes,
            is_current=not lacking,
            current_names=asked.current,
        )

    def _rewritten(
        self, nodes: tuple[Node, ...], kept: frozenset[Digest] | None, blobs: BlobPlanner
    ) -> tuple[Rewrite, tuple[PlannedDocument, ...]]:
        """Return how documents change, and the documents, as far as they are known."""
        request = self._request
        changes = Rewrite(request.format, kept)
        if request.format == "v2s1":
            tag = request.names[0] if request.names else ""
            changes = changes.replace(repository=request.repository, tag=tag)
        self._warnings += describe_losses(nodes, changes)
        unknown = {
            digest: compression
            for digest, compression in blobs.conversions.items()
            if digest not in blobs.packed
        }
        return changes, plan_documents(nodes, blobs.packed, unknown, changes, self._source.read)

    def _check_referrers(self) -> None:
        """Raise `Unsupported` if referrers are wanted at a destination without any."""
        if self._request.referrers and not self._sink.keeps_referrers:
            raise Unsupported(
                "only registries and OCI layouts keep referrers",
                hint="copy to a registry, oci: or oci-archive:",
            ).within(self._request.destination)

    def _check_index(self, root: Node) -> None:
        """Raise `Unsupported` for an index that the destination cannot hold."""
        if isinstance(root.document, Index) and not self._sink.indexes:
            raise Unsupported(
                "this is an index, and a docker archive holds one platform of an image",
                hint="name one with --platform, or use oci-archive:",
            )

    # The root and its names

    @property
    def _roots_are_whole(self) -> bool:
        """Whether the destination has all below an index that it has.

        A registry takes an index after what it lists, unless the index is copied sparse. Other
        places may have been given some of its images.
        """
        return self._sink.remote and not self._request.wanted.sparse

    def _look_for(self, root: Descriptor) -> _Presence:
        """Ask the destination for the root: by its names, then by its digest."""
        if self._request.force:
            return _ABSENT
        sink = self._sink
        digest = root.digest
        current = tuple(name for name in self._request.names if sink.resolve(name) == digest)
        is_there = bool(current) or (sink.remote and sink.resolve(str(digest)) == digest)
        if not is_there and sink.follows:
            is_there = cast("CheckingSink", sink).has_image(root)
        return _Presence(is_there, current)

    def _names(self, root: Digest, found: _Presence) -> tuple[PlannedName, ...]:
        names = self._request.names
        return tuple(PlannedName(name, root) for name in names if name not in found.current)

    def _plan_names(
        self, found: _Presence, root: Descriptor, documents: tuple[PlannedDocument, ...] = ()
    ) -> CopyPlan:
        """Plan the names of a root that the destination has."""
        return self._result(
            root,
            documents=tuple(each.replace(exists=True) for each in documents),
            names=self._names(root.digest, found),
            is_current=True,
            current_names=found.current,
        )

    # Documents

    def _referrers(
        self, documents: Sequence[PlannedDocument]
    ) -> tuple[tuple[Node, ...], tuple[PlannedName, ...]]:
        """Collect what refers to the documents that do not change."""
        if not self._request.referrers:
            return (), ()
        if not self._source.keeps_referrers:
            only = "only registries and OCI layouts keep them"
            self._warnings.append(f"{self._request.source} has no referrers to copy: {only}")
            return (), ()
        from wherry.transfer.referrers import collect_referrers

        digests = [each.source.digest for each in documents if each.is_unchanged]
        found = collect_referrers(
            self._source,
            digests,
            jobs=self._request.jobs,
            cancel=self._cancel,
            warn=self._warnings.append,
        )
        nodes = tuple(node_of(digest, document) for digest, document in found.documents)
        return nodes, tuple(PlannedName(tag, digest) for tag, digest in found.names.items())

    def _find_documents(
        self,
        documents: Sequence[PlannedDocument],
        root: PlannedDocument,
        referrers: Sequence[Node],
    ) -> tuple[PlannedDocument, ...]:
        """Mark the manifests that the destination has; the ``root`` was asked for before.

        Documents with a subject are stored in any case: only then is it certain that the
        destination lists them as referrers.
        """
        others = {root.source.digest}
        others |= {node.digest for node in referrers if node.subject is not None}
        there: set[Digest] = set()

        def ask(target: Digest, _cancel: CancelToken) -> None:
            if self._sink.resolve(str(target)) == target:
                there.add(target)

        targets = [
            each.target.digest
            for each in documents
            if each.target is not None
            and each.is_manifest
            and not each.exists
            and each.source.digest not in others
        ]
        if targets and self._sink.remote and not self._request.force:
            tasks = [functools.partial(ask, target) for target in targets]
            run_tasks(None, tasks, jobs=self._request.jobs, cancel=self._cancel)
        return tuple(
            each.replace(exists=True)
            if each.target is not None and each.target.digest in there
            else each
            for each in documents
        )

    def _result(self, root: Descriptor, **fields: Any) -> CopyPlan:
        request, documents = self._request, fields.get("documents", ())
        kept = fields.get("rewrite", Rewrite()).kept
        is_asked = request.format or request.compression or kept is not None
        changed = _changed(root, documents) if is_asked else ()
        return CopyPlan(
            source=request.source,
            destination=request.destination,
            root=root,
            notes=(*self._warnings, *changed),
            **fields,
        )


def _changed(root: Descriptor, documents: Sequence[PlannedDocument]) -> Iterator[str]:
    """Yield that the digest of the root changes; the plan has the other digests that change."""
    for each in documents:
        target = each.target
        if each.source.digest == root.digest and target and target.digest != root.digest:
            yield f"{root.digest} becomes {target.digest}"
