"""The members of an archive in each format. This module writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.archive.dir import VERSION, document_name
from wherry.archive.docker import MANIFEST, REPOSITORIES
from wherry.archive.entry import Entry
from wherry.archive.oci import IMAGE_NAME, INDEX, MARK, ORIGINAL, REF_NAME, blob_name
from wherry.model import gojson, v1

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from wherry.archive.entry import Copy
    from wherry.archive.layout_roots import ListedRoot
    from wherry.model.descriptor import Descriptor
    from wherry.model.digest import Digest
    from wherry.model.reference import Reference

    # A root with its names in a layout; each has the full reference, or None for a bare tag.
    NamedRoot: TypeAlias = tuple[ListedRoot, Mapping[str, Reference | None]]

MARK_ENTRY = Entry(MARK, b'{"imageLayoutVersion":"1.0.0"}')
VERSION_ENTRY = Entry(VERSION, b"Directory Transport Version: 1.1\n")


class UncompressedLayer(NamedTuple):
    """An uncompressed layer: its size in bytes, and a function that writes it."""

    size: int
    copy: Copy


class DockerImage(NamedTuple):
    """An image for `docker load`; layers bottom first, one for each DiffID."""

    config: bytes
    config_digest: Digest
    diff_ids: Sequence[Digest]
    layers: Sequence[UncompressedLayer]
    names: Sequence[Reference]


class LayoutBlob(NamedTuple):
    """A blob: the bytes of a document, or a function that copies the blob."""

    descriptor: Descriptor
    data: bytes | None = None
    copy: Copy | None = None


def docker_entries(images: Sequence[DockerImage]) -> Iterator[Entry]:
    """Yield an archive for all engines: ``manifest.json`` and the old layout.

    Each layer has a directory named by its version 1 id. A layer that another directory already
    has is a link to it. The documents that name everything else come last. ``manifest.json`` has
    full names, since podman takes short names for local images; ``repositories`` has short
    names for old engines.
    """
    seen: set[str] = set()
    places: dict[Digest, str] = {}
    items: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        chain = v1.saved_chain(image.config, image.diff_ids)
        for (v1_id, raw), diff_id, layer in zip(chain, image.diff_ids, image.layers, strict=True):
            if v1_id not in seen:
                seen.add(v1_id)
                yield from _legacy_layer(v1_id, raw, layer, places.get(diff_id))
            places.setdefault(diff_id, f"{v1_id}/layer.tar")
        config = f"{image.config_digest.hex}.json"
        if config not in seen:
            seen.add(config)
            yield Entry(config, image.config)
        names = [str(name) for name in image.names]
        layers = [places[diff_id] for diff_id in image.diff_ids]
        items.append({"Config": config, "RepoTags": names or None, "Layers": layers or None})
        if chain:
            for name in image.names:
                repositories.setdefault(name.familiar_name, {})[str(name.tag)] = chain[-1][0]
    yield Entry(MANIFEST, _json(items))
    if repositories:
        ordered = {name: dict(sorted(tags.items())) for name, tags in sorted(repositories.items())}
        yield Entry(REPOSITORIES, _json(ordered))


def _legacy_layer(
    v1_id: str, raw: bytes, layer: UncompressedLayer, known: str | None
) -> Iterator[Entry]:
    yield Entry(f"{v1_id}/")
    yield Entry(f"{v1_id}/VERSION", b"1.0")
    yield Entry(f"{v1_id}/json", raw)
    if known is None:
        yield Entry(f"{v1_id}/layer.tar", size=layer.size, copy=layer.copy)
    else:
        yield Entry(f"{v1_id}/layer.tar", link=f"../{known}")


def layout_entries(roots: Sequence[NamedRoot], contents: Iterable[LayoutBlob]) -> Iterator[Entry]:
    """Yield the files of an OCI layout, ``index.json`` last.

    Source: OCI image spec, image-layout.md.
    """
    yield MARK_ENTRY
    directories: set[str] = set()
    for content in contents:
        digest = content.descriptor.digest
        yield from blob_directories(digest, directories)
        yield _entry(blob_name(digest), content)
    yield Entry(INDEX, index_json(roots))


def blob_directories(digest: Digest, seen: set[str]) -> Iterator[Entry]:
    """Yield the directories that a blob needs and that are not in ``seen``, and add them."""
    for directory in ("blobs/", f"blobs/{digest.algorithm}/"):
        if directory not in seen:
            seen.add(directory)
            yield Entry(directory)


def index_json(roots: Iterable[NamedRoot]) -> bytes:
    """Make the ``index.json`` of a layout, with one entry for each name.

    A root without names is found by its digest.
    """
    manifests = []
    for root, names in roots:
        entry: dict[str, Any] = {
            "mediaType": root.descriptor.media_type,
            "digest": str(root.descriptor.digest),
            "size": root.descriptor.size,
        }
        known = {} if root.original is None else {ORIGINAL: str(root.original)}
        noted = [known | name_annotations(*name) for name in names.items()]
        if not names and known:
            noted = [known]
        manifests += [entry | {"annotations": each} for each in noted] or [entry]
    return _json({"schemaVersion": 2, "manifests": manifests})


def name_annotations(name: str, whole: Reference | None) -> dict[str, str]:
    """Return the annotations that give an entry of ``index.json`` a name."""
    return ({} if whole is None else {IMAGE_NAME: str(whole)}) | {REF_NAME: name}


def flat_entries(root: Digest, contents: Iterable[LayoutBlob]) -> Iterator[Entry]:
    """Yield the files of skopeo's flat directory, with one image or one index."""
    yield VERSION_ENTRY
    last: list[Entry] = []
    for content in contents:
        digest = content.descriptor.digest
        if digest == root:
            last.append(_entry(MANIFEST, content))
        else:
            yield _entry(digest.hex if content.copy else document_name(digest), content)
    yield from last


def _entry(name: str, content: LayoutBlob) -> Entry:
    return Entry(name, content.data, content.descriptor.size or 0, content.copy)


def _json(value: Any) -> bytes:
    return gojson.encode(value).encode("utf-8")
