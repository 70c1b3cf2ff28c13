"""Changing manifests and indexes: other layers, other entries, another format.

What does not have to change keeps its place, its spelling and its order. A document without a
change is returned itself, with its bytes and its digest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from wherry.errors import Unsupported
from wherry.model import mediatype
from wherry.model.convert import docker_layer_type, oci_layer_type
from wherry.model.descriptor import Descriptor
from wherry.model.gojson import RawJson, encode
from wherry.model.manifest import Index, Manifest, docker_manifest, parse
from wherry.model.quantity import count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from wherry.model.digest import Digest

    Descriptors = Mapping[Digest, Descriptor]  # what has become of digests of the source

D = TypeVar("D", Manifest, Index)
_ATTESTED = "vnd.docker.reference.digest"  # BuildKit, attestation-storage.md
# Annotations about the bytes of a compressed layer: estargz, zstd:chunked.
_OF_PACKED = ("containerd.io/snapshot/stargz/", "io.github.containers.zstd-chunked.")
_PLATFORM_KEYS = ("architecture", "os", "os.version", "os.features", "variant", "features")


def edit_manifest(
    manifest: Manifest, layers: Descriptors, documents: Descriptors, media_type: str = ""
) -> Manifest:
    """Return a manifest with other layers, or in another format.

    Args:
        manifest: The manifest.
        layers: What layers have become. Their types are turned into those of the format.
        documents: What other documents have become, of which one may be the subject.
        media_type: The type of the format; empty keeps it.

    Raises:
        Unsupported: The format cannot express the manifest.
    """
    target = media_type or manifest.media_type
    if target != manifest.media_type and target == mediatype.DOCKER_MANIFEST:
        return _to_docker(manifest, layers)
    is_same = target == manifest.media_type and not _is_changed(manifest.subject, documents)
    if is_same and not any(layer.digest in layers for layer in manifest.layers):
        return manifest
    fields = _load(manifest.raw)
    if target != manifest.media_type:
        _retype(fields, target)
        if manifest.config.media_type.lower() == mediatype.DOCKER_CONFIG:
            fields["config"]["mediaType"] = mediatype.OCI_CONFIG
        for entry, layer in _pairs(fields, "layers", manifest.layers):
            entry["mediaType"] = oci_layer_type(layer.media_type)
    docker = target == mediatype.DOCKER_MANIFEST
    for entry, layer in _pairs(fields, "layers", manifest.layers):
        if layer.digest in layers:
            _replace_layer(entry, layers[layer.digest], docker=docker)
    _edit_subject(fields, manifest.subject, documents)
    return _parsed(fields, target, Manifest)


def edit_index(
    index: Index,
    documents: Descriptors,
    kept: Collection[Digest] | None = None,
    media_type: str = "",
) -> Index:
    """Return an index with other entries, or in another format.

    Args:
        index: The index.
        documents: What other documents have become.
        kept: The entries that it keeps; None keeps all.
        media_type: The type of the format; empty keeps it.

    Raises:
        Unsupported: The format cannot express an entry.
    """
    target = media_type or index.media_type
    entries = [each for each in index.manifests if kept is None or each.digest in kept]
    is_same = target == index.media_type and len(entries) == len(index.manifests)
    if is_same and not any(_is_changed(each, documents) for each in (*entries, index.subject)):
        return index
    is_converted = target != index.media_type
    if is_converted:
        _check_entries(entries, documents)
    fields = _load(index.raw)
    by_text = {str(digest): new for digest, new in documents.items()}
    fields["manifests"] = [
        _edit_entry(listed, entry, by_text, is_converted=is_converted)
        for listed, entry in _pairs(fields, "manifests", index.manifests)
        if kept is None or entry.digest in kept
    ]
    if is_converted:
        if target == mediatype.DOCKER_LIST:
            fields = _docker_list(fields["manifests"])
        _retype(fields, target)
    _edit_subject(fields, index.subject, documents)
    return _parsed(fields, target, Index)


def losses(document: Manifest | Index) -> Iterator[str]:
    """Yield what a document loses in Docker's format, for people."""
    listed = document.layers if isinstance(document, Manifest) else document.manifests
    own = (document.config,) if isinstance(document, Manifest) else ()
    annotations = len(document.annotations) + sum(len(each.annotations) for each in listed + own)
    if annotations:
        yield count(annotations, "annotation")
    if document.subject is not None:
        yield "the subject"
    if document.artifact_type:
        yield f"the artifact type {document.artifact_type}"


# Manifests


def _to_docker(manifest: Manifest, layers: Descriptors) -> Manifest:
    """Return a schema2 manifest with the bytes that skopeo writes."""
    if manifest.artifact is not None:
        raise Unsupported(
            f"this is {manifest.artifact}, which docker's manifests cannot describe",
            hint="`--format oci` or no --format keeps it; "
            "`--without-attestations` leaves attestations out",
        )
    made = []
    for layer in manifest.layers:
        new = layers.get(layer.digest, layer)
        urls = () if new.digest != layer.digest else layer.urls
        kind = docker_layer_type(new.media_type)
        made.append(Descriptor(kind, new.digest, new.size, urls=urls))
    return docker_manifest(manifest.config._replace(media_type=mediatype.DOCKER_CONFIG), made)


def _replace_layer(entry: dict[str, Any], new: Descriptor, *, docker: bool) -> None:
    kind = docker_layer_type(new.media_type) if docker else oci_layer_type(new.media_type)
    _point(entry, new._replace(media_type=kind))
    annotations = entry.get("annotations") or {}
    for name in [name for name in annotations if name.startswith(_OF_PACKED)]:
        del annotations[name]


# Indexes


def _edit_entry(
    listed: dict[str, Any],
    entry: Descriptor,
    documents: Mapping[str, Descriptor],
    *,
    is_converted: bool,
) -> dict[str, Any]:
    new = documents.get(entry.digest)
    if new is not None and (is_converted or new.digest != entry.digest):
        _point(listed, new)
    attested = documents.get(entry.annotations.get(_ATTESTED, ""))
    if attested is not None:
        listed["annotations"][_ATTESTED] = str(attested.digest)
    return listed


def _check_entries(entries: Sequence[Descriptor], documents: Descriptors) -> None:
    """Raise `Unsupported` for an entry that would stay in the old format."""
    for entry in entries:
        if entry.digest not in documents:
            raise Unsupported(
                f"the index lists {entry.digest}, which is not converted along with it",
                hint="an index with all its images can be converted: leave --sparse out",
            )


def _docker_list(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a manifest list with the fields that Docker knows, in skopeo's order."""
    made = []
    for entry in entries:
        found = {key: entry[key] for key in ("mediaType", "size", "digest")}
        platform = entry.get("platform") or {"architecture": "", "os": ""}
        found["platform"] = {key: platform[key] for key in _PLATFORM_KEYS if key in platform}
        made.append(found)
    return {"schemaVersion": 2, "manifests": made}


# JSON


def _pairs(
    fields: dict[str, Any], key: str, parsed: Sequence[Descriptor]
) -> Iterator[tuple[dict[str, Any], Descriptor]]:
    """Yield the descriptors of a list, each with what was parsed of it; null is an empty list."""
    return zip(fields.get(key) or [], parsed, strict=True)


def _is_changed(descriptor: Descriptor | None, documents: Descriptors) -> bool:
    """Tell whether a document that is named has another digest or type now."""
    if descriptor is None or descriptor.digest not in documents:
        return False
    return documents[descriptor.digest].digest != descriptor.digest


def _edit_subject(
    fields: dict[str, Any], subject: Descriptor | None, documents: Descriptors
) -> None:
    if subject is not None and "subject" in fields and _is_changed(subject, documents):
        _point(fields["subject"], documents[subject.digest])


def _point(entry: dict[str, Any], new: Descriptor) -> None:
    """Make a descriptor name another blob; what was true of the old bytes alone is removed."""
    entry["mediaType"], entry["digest"] = new.media_type, str(new.digest)
    entry["size"] = new.size or 0
    for key in ("data", "urls"):
        entry.pop(key, None)


def _retype(fields: dict[str, Any], media_type: str) -> None:
    """Set the type of a document, after its version where it has none yet."""
    typed = {"schemaVersion": 2, "mediaType": media_type}
    if "mediaType" not in fields:
        rest = {key: value for key, value in fields.items() if key != "schemaVersion"}
        fields.clear()
        fields.update(typed | rest)
    fields.update(typed)


def _load(raw: bytes) -> dict[str, Any]:
    """Load a document that has been parsed before; numbers keep their spelling."""
    found: dict[str, Any] = json.loads(raw, parse_int=RawJson, parse_float=RawJson)
    return found


def _parsed(fields: dict[str, Any], media_type: str, kind: type[D]) -> D:
    document = parse(encode(fields).encode("utf-8"), media_type)
    assert isinstance(document, kind)  # noqa: S101 - the fields are those of such a document
    return document
