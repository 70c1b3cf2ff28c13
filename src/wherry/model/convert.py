"""Conversion between Docker's manifests and OCI ones, as in skopeo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument, NotFound, Unsupported
from wherry.model import gojson, mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import Index, Manifest, oci_manifest, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.model.digest import Digest
    from wherry.model.manifest import Document

MAX_NESTING = 8
_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_LAYER_TYPES = (
    (mediatype.DOCKER_PLAIN_LAYER, mediatype.OCI_PLAIN_LAYER),
    (_FOREIGN, _OCI_FOREIGN),
)
_DECRYPT = "wherry has no keys: `skopeo copy --decryption-key` writes a plain copy"
_OTHER_FORMAT = "use `--compression gzip` to pack layers anew, or `--format oci`"


def to_oci(
    document: Document, fetch: Callable[[Digest], Document], depth: int = 1
) -> list[Manifest | Index]:
    """Convert a document and its children; the new root comes last.

    The result is empty for OCI documents and schema1 manifests, which are not converted.
    ``fetch`` returns a child, or raises `NotFound` for one to leave out. It must limit the number
    of documents, because indexes may repeat each other.
    """
    if depth > MAX_NESTING:
        raise InvalidDocument(f"indexes are nested deeper than {MAX_NESTING}")
    if isinstance(document, Manifest) and document.media_type == mediatype.DOCKER_MANIFEST:
        layers = [
            layer._replace(media_type=oci_layer_type(layer.media_type)) for layer in document.layers
        ]
        kind = document.config.media_type
        kind = mediatype.OCI_CONFIG if kind == mediatype.DOCKER_CONFIG else kind
        return [oci_manifest(document.config._replace(media_type=kind), layers)]
    if isinstance(document, Index) and document.media_type == mediatype.DOCKER_LIST:
        return _index(document, fetch, depth)
    return []


def _index(index: Index, fetch: Callable[[Digest], Document], depth: int) -> list[Manifest | Index]:
    found: list[Manifest | Index] = []
    entries: list[dict[str, Any]] = json.loads(index.raw)["manifests"]
    for entry, listed in zip(index.manifests, entries, strict=True):
        if not mediatype.may_be_image(entry.media_type):
            continue
        try:
            made = to_oci(fetch(entry.digest), fetch, depth + 1)
        except NotFound:  # the entry of a missing child stays unchanged
            continue
        if made:
            found += made
            descriptor = Descriptor.of(made[-1].raw, made[-1].media_type)
            listed["mediaType"] = descriptor.media_type
            listed["digest"], listed["size"] = str(descriptor.digest), descriptor.size
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    root = parse(gojson.encode(document).encode("utf-8"), mediatype.OCI_INDEX)
    assert isinstance(root, Index)  # noqa: S101 - `document` has the type of an index
    return [*found, root]


def oci_layer_type(media_type: str) -> str:
    """Return the OCI type of a layer; an unknown type stays unchanged."""
    kind = media_type.lower()
    for docker, oci in _LAYER_TYPES:
        if kind.startswith(docker):
            return oci + kind.removeprefix(docker).replace(".", "+", 1)
    return media_type


def docker_layer_type(media_type: str) -> str:
    """Return Docker's type of a layer.

    Raises:
        Unsupported: Docker's manifests have no such layers.
    """
    kind = media_type.lower()
    if kind.startswith(tuple(docker for docker, _ in _LAYER_TYPES)):
        return media_type
    for docker, oci in _LAYER_TYPES:
        if kind in {oci, f"{oci}+gzip"}:
            return docker + kind.removeprefix(oci).replace("+", ".", 1)
    if mediatype.unreadable_layer(media_type) == "is encrypted":
        what, hint = f"that are encrypted ({media_type})", _DECRYPT
    elif kind.endswith(("+zstd", "+zst")):
        what, hint = "packed with zstd", _OTHER_FORMAT
    else:
        what, hint = f"of type {media_type or 'none'}", _OTHER_FORMAT
    raise Unsupported(f"docker's manifests have no layers {what}", hint=hint)
