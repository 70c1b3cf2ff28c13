"""Fuzz targets that change what they read: documents, configs and layers."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.codec import LONGEST_MAGIC, detect
from wherry.content.protocols import Receipt
from wherry.content.streams import blob_of
from wherry.errors import WherryError
from wherry.model import mediatype
from wherry.model.compression import Compression
from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.document_edits import edit_index
from wherry.model.manifest import Index, Manifest, digest_of, oci_manifest, parse, parse_verified
from wherry.model.schema1_signatures import verify_signatures
from wherry.model.schema1_writer import to_schema1
from wherry.transfer.collect import Node, node_of
from wherry.transfer.derive import from_schema1
from wherry.transfer.pack import pack_layer
from wherry.transfer.plan_values import Rewrite
from wherry.transfer.rewrite import describe_losses, rewrite
from wherry.transfer.spool import spooled_blob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

_PACKINGS = ("gzip:1", "zstd:1", "none")


def rewrites(data: bytes) -> bool:
    """Write a document anew in each format, with each layer or entry replaced."""
    document = parse(data, "")
    node = node_of(digest_of(document), document)
    if _rewritten(node, {}, "").document is not document:
        raise AssertionError("a document without a change is written anew")
    accepted = False
    new = Descriptor.of(b"new", Compression.parse("zstd").layer_type(docker=False))
    for target in ("", "oci", "docker"):
        for blob in (None, *node.children):
            layers = {} if blob is None else {blob: new}
            try:
                found = _rewritten(node, layers, target)
            except WherryError:
                continue
            _check(node, found, layers)
            accepted = True
    if isinstance(document, Index):
        _convert_entries(document)
        accepted = True
    list(describe_losses([node], Rewrite(format="docker")))
    return accepted


def _convert_entries(index: Index) -> None:
    """Convert an index together with all that it lists."""
    for target, kind in (
        (mediatype.OCI_INDEX, mediatype.OCI_MANIFEST),
        (mediatype.DOCKER_LIST, mediatype.DOCKER_MANIFEST),
    ):
        made = {each.digest: Descriptor.of(each.digest.encode(), kind) for each in index.manifests}
        found = edit_index(index, made, None, target)
        expected = [made[each.digest].digest for each in index.manifests]
        if [each.digest for each in found.manifests] != expected:
            raise AssertionError("other entries")
        if [each.platform for each in found.manifests if each.platform] != [
            each.platform for each in index.manifests if each.platform
        ] and target == mediatype.OCI_INDEX:
            raise AssertionError("other platforms")


def _rewritten(node: Node, layers: Mapping[Digest, Descriptor], target: str) -> Node:
    nodes = [node]
    if isinstance(node.document, Index):
        return rewrite(nodes, {}, Rewrite(target, frozenset(layers) or None), lambda _: b"")[0]
    return rewrite(nodes, layers, Rewrite(target), lambda _: b"")[0]


def _check(old: Node, new: Node, layers: Mapping[Digest, Descriptor]) -> None:
    """Raise `AssertionError` if more than the layers and the types has changed."""
    again = parse_verified(new.digest, new.document.raw, new.descriptor.media_type)
    if again.raw != new.document.raw or _children(again) != _children(new.document):
        raise AssertionError("it is read back as another document")
    before, after = old.document, new.document
    if type(before) is not type(after):
        raise AssertionError("another kind of document")
    if isinstance(before, Manifest) and isinstance(after, Manifest):
        expected = [layers.get(layer.digest, layer).digest for layer in before.layers]
        if [layer.digest for layer in after.layers] != expected:
            raise AssertionError("other layers")
        if after.config.digest != before.config.digest:
            raise AssertionError("another config")
        is_same_format = before.media_type == after.media_type
        if is_same_format and _facts(before) != _facts(after):
            raise AssertionError("other fields")


def _children(document: Document) -> object:
    """Return what a document names, as far as both its readers must agree on it."""
    return document.manifests if isinstance(document, Index) else document.layers


def _facts(manifest: Manifest) -> object:
    found = json.loads(manifest.raw, parse_int=str)
    keys = {"layers", *found}  # a manifest without layers need not say so
    return keys, manifest.annotations, manifest.subject


def schema1_writers(data: bytes) -> None:
    """Write the image of a config as schema1, and read it back as a pull does."""
    config = parse_config(data)
    kind = Compression.parse("gzip").layer_type(docker=False)
    layers = [Descriptor(kind, each, 1) for each in config.diff_ids]
    manifest = oci_manifest(Descriptor.of(data, "application/vnd.oci.image.config.v1+json"), layers)
    found = to_schema1(manifest, data, name="fuzz/app", tag="1")
    verify_signatures(found.signatures, found.payload)
    made = from_schema1(found, [Receipt(layer, layer.digest) for layer in layers])
    again = parse_config(made.config)
    if again.diff_ids != config.diff_ids or len(again.history) != len(config.history):
        raise AssertionError("another image is read back")


def packs(data: bytes) -> None:
    """Pack a layer in each way; all have to unpack to the same content."""
    found = set()
    for packing in _PACKINGS:
        with tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as plain:
            layer = blob_of(Descriptor.of(data, ""), data)
            packed = pack_layer(
                layer, Compression.parse(packing), None, spool, CancelToken(), lambda _: None
            )
            spool.seek(0)
            if packing == "none" and detect(spool.read(LONGEST_MAGIC)) is not None:
                continue  # a layer in a layer, which would be unpacked twice
            unpacked = pack_layer(
                spooled_blob(spool, packed.descriptor),
                Compression("none"),
                packed.diff_id,
                plain,
                CancelToken(),
                lambda _: None,
            )
            found.add((packed.diff_id, unpacked.diff_id, packed.raw_size, unpacked.raw_size))
    ((first, second, size, other),) = found
    if (first, size) != (second, other):
        raise AssertionError("another content is unpacked")
