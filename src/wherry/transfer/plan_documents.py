"""The documents of a copy as they will be written, before and after layers are converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.manifest import Manifest, parse
from wherry.transfer.collect import Node
from wherry.transfer.plan_values import PlannedDocument, Rewrite
from wherry.transfer.rewrite import check_rewrite, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherry.model.compression import Compression
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.transfer.plan_values import CopyPlan

    ReadConfig = Callable[[Descriptor], bytes]


def unchanged(node: Node) -> PlannedDocument:
    """Return a document that is written as it is."""
    raw = node.document.raw
    return PlannedDocument(node.descriptor, raw, node.descriptor, raw, config=_config(node))


def plan_documents(
    nodes: Sequence[Node],
    packed: Mapping[Digest, Descriptor],
    unknown: Mapping[Digest, Compression],
    changes: Rewrite,
    read: ReadConfig,
) -> tuple[PlannedDocument, ...]:
    """Return documents as they will be written, as far as that is known.

    Args:
        nodes: The documents at the source, children before parents.
        packed: What layers become.
        unknown: Layers whose converted form is not known yet, and their new compression.
        changes: How documents change.
        read: Reads a config.

    Raises:
        Unsupported: A document cannot be converted.
    """
    if not packed and not unknown and changes == Rewrite():
        return tuple(unchanged(node) for node in nodes)
    waiting: set[Digest] = set()
    for node in nodes:
        if waiting.union(unknown).intersection(node.children):
            waiting.add(node.digest)
    check_rewrite(nodes, packed, unknown, changes, read)
    known = [node for node in nodes if node.digest not in waiting]
    made = {
        node.digest: new
        for node, new in zip(known, rewrite(known, packed, changes, read), strict=True)
    }
    return tuple(_planned(node, made.get(node.digest)) for node in nodes)


def final_documents(
    plan: CopyPlan, targets: Mapping[Digest, Descriptor], read: ReadConfig
) -> list[tuple[PlannedDocument, Node]]:
    """Return every document of a plan with what is written for it.

    What follows the root are referrers, which stay as they are.

    Args:
        plan: The plan.
        targets: What the blobs of the source have become.
        read: Reads a config.
    """
    nodes = [_node(each) for each in plan.documents]
    if any(each.target is None for each in plan.documents):
        packed = {digest: target for digest, target in targets.items() if target.digest != digest}
        for each in plan.documents:
            packed |= _packed_layers(each)
        digests = [each.source.digest for each in plan.documents]
        end = digests.index(plan.root.digest) + 1
        originals = [original_node(each) for each in plan.documents[:end]]
        nodes[:end] = rewrite(originals, packed, plan.rewrite, read)
    return list(zip(plan.documents, nodes, strict=True))


def _node(document: PlannedDocument) -> Node:
    """Return a document as it will be written, as far as that is known."""
    target = document.target or document.source
    return Node(target, parse(document.raw, target.media_type))


def original_node(document: PlannedDocument) -> Node:
    """Return a document as it is at the source."""
    return Node(document.source, parse(document.original, document.source.media_type))


def _packed_layers(document: PlannedDocument) -> dict[Digest, Descriptor]:
    """Return what the layers of a planned manifest become, if the plan knows its target."""
    if document.target is None or document.is_unchanged or document.config is None:
        return {}
    before = parse(document.original, document.source.media_type)
    after = parse(document.raw, document.target.media_type)
    if not isinstance(before, Manifest) or not isinstance(after, Manifest):
        return {}
    pairs = zip(before.layers, after.layers, strict=True)
    return {old.digest: new for old, new in pairs if new.digest != old.digest}


def _planned(node: Node, new: Node | None) -> PlannedDocument:
    raw = node.document.raw
    if new is None:
        return PlannedDocument(node.descriptor, raw, None, raw, config=_config(node))
    return PlannedDocument(
        node.descriptor, raw, new.descriptor, new.document.raw, config=_config(node)
    )


def _config(node: Node) -> Digest | None:
    return node.document.config.digest if isinstance(node.document, Manifest) else None
