"""Changing the documents of a copy: other layers, another format, fewer entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Unsupported
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wherry.model.compression import Compression
    from wherry.model.digest import Digest
    from wherry.model.manifest import Document
    from wherry.transfer.collect import Node
    from wherry.transfer.plan_values import Rewrite

    ReadConfig = Callable[[Descriptor], bytes]

# The types of manifests and indexes in each format.
_MANIFESTS = {"oci": mediatype.OCI_MANIFEST, "docker": mediatype.DOCKER_MANIFEST}
_INDEXES = {
    "oci": mediatype.OCI_INDEX,
    "docker": mediatype.DOCKER_LIST,
    "v2s1": mediatype.DOCKER_LIST,
}


def rewrite(
    nodes: Sequence[Node],
    layers: Mapping[Digest, Descriptor],
    changes: Rewrite,
    read_config: ReadConfig,
) -> list[Node]:
    """Return what is written for each document, in the same order.

    A document that does not change is returned as it is, with its bytes. Entries of an index, the
    subject of a manifest, and BuildKit's references to the image of an attestation follow the
    documents that change.

    Args:
        nodes: The documents, children before parents and subjects before their referrers, each
            with its digest at the source.
        layers: What layers of the source have become, with types of any format.
        changes: The format to convert to, and the entries that indexes keep.
        read_config: Reads the config of an image, which schema1 needs.

    Raises:
        Unsupported: A document cannot be converted.
        InvalidDocument: A config that schema1 needs is invalid.
    """
    made: dict[Digest, Descriptor] = {}
    found: list[Node] = []
    for node in nodes:
        try:
            document = _rewritten(node.document, layers, made, changes, read_config)
        except Unsupported as error:
            kind = "index" if isinstance(node.document, Index) else "manifest"
            raise error.within(f"{kind} {node.digest}") from None
        if document is not node.document:
            descriptor = Descriptor(document.media_type, digest_of(document), len(document.raw))
            node = node.replace(descriptor=descriptor, document=document)  # noqa: PLW2901 - both are in the result
        made[nodes[len(found)].digest] = node.descriptor
        found.append(node)
    return found


def _rewritten(
    document: Document,
    layers: Mapping[Digest, Descriptor],
    made: Mapping[Digest, Descriptor],
    changes: Rewrite,
    read_config: ReadConfig,
) -> Document:
    from wherry.model.document_edits import edit_index, edit_manifest  # slow to import

    if isinstance(document, Index):
        return edit_index(document, made, changes.kept, _INDEXES.get(changes.format, ""))
    if isinstance(document, Manifest):
        edited = edit_manifest(document, layers, made, _MANIFESTS.get(changes.format, ""))
        if changes.format != "v2s1":
            return edited
        from wherry.model.schema1_writer import to_schema1

        config = read_config(edited.config)
        return to_schema1(edited, config, name=changes.repository, tag=changes.tag)
    if changes.format in {"", "v2s1"} and not any(
        layer.blob_sum in layers for layer in document.layers
    ):
        return document
    raise Unsupported(
        "a schema1 manifest is copied only as it is",
        hint="`wherry pull` converts the image; leave --format and --compression out to copy it",
    )


def check_rewrite(
    nodes: Sequence[Node],
    layers: Mapping[Digest, Descriptor],
    pending: Mapping[Digest, Compression],
    changes: Rewrite,
    read_config: ReadConfig,
) -> None:
    """Find out whether documents can be rewritten, before layers are packed.

    Args:
        nodes: As for `rewrite`.
        layers: What layers have become already.
        pending: The compressions of layers that will be packed.
        changes: As for `rewrite`.
        read_config: As for `rewrite`.

    Raises:
        Unsupported: A document cannot be converted.
    """
    stand_ins = {
        digest: Descriptor.of(digest.encode(), compression.layer_type(docker=False))
        for digest, compression in pending.items()
    }
    if stand_ins:
        rewrite(nodes, {**layers, **stand_ins}, changes, read_config)


def added_blobs(changes: Rewrite) -> tuple[Descriptor, ...]:
    """Return the blobs, with their content, that only the new documents name."""
    if changes.format != "v2s1":
        return ()
    from wherry.model.schema1_writer import EMPTY_LAYER

    return (EMPTY_LAYER,)


def describe_losses(nodes: Sequence[Node], changes: Rewrite) -> Iterator[str]:
    """Yield what documents lose in another format, one line for each document."""
    target = {"docker": "docker's format", "v2s1": "schema1"}.get(changes.format)
    if target is None:
        return
    from wherry.model.document_edits import losses

    for node in nodes:
        document = node.document
        if isinstance(document, Manifest | Index) and not _is_docker(document.media_type):
            lost = list(losses(document))
            if lost:
                kind = "index" if isinstance(document, Index) else "manifest"
                yield f"{kind} {node.digest.short}… loses {' and '.join(lost)} in {target}"


def _is_docker(media_type: str) -> bool:
    return media_type in {mediatype.DOCKER_MANIFEST, mediatype.DOCKER_LIST}
