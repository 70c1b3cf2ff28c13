"""Generating configs and manifests from received ones. This module has no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.model import gojson, mediatype, v1
from wherry.model._fields import load_object
from wherry.model.config import MAX_DEPTH
from wherry.model.descriptor import Descriptor
from wherry.model.manifest import docker_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.content.protocols import Receipt
    from wherry.model.digest import Digest
    from wherry.model.manifest import Manifest
    from wherry.model.platform import Platform
    from wherry.model.schema1 import Schema1


class DerivedImage(NamedTuple):
    """A config, whose digest is the image id, and a schema2 manifest for it."""

    config: bytes
    manifest: Manifest

    def __repr__(self) -> str:
        return f"<DerivedImage {self.manifest.config.digest}>"


def from_schema1(manifest: Schema1, layers: Sequence[Receipt]) -> DerivedImage:
    """Convert a schema1 image; ``layers`` are in order, bottom first.

    The config, and so the image id, is the same as Docker's, byte for byte (moby,
    ``distribution/pull_v2.go`` and ``image/v1/imagev1.go``). The manifest has the form of
    skopeo's conversion.
    """
    steps = list(reversed(manifest.layers))
    history = [v1.history_entry(step.v1_json, empty_layer=step.throwaway) for step in steps]
    return _derived(steps[-1].v1_json, history, layers, [mediatype.DOCKER_LAYER] * len(layers))


def from_v1(
    top: bytes, history: Sequence[Mapping[str, Any]], layers: Sequence[Receipt]
) -> DerivedImage:
    """Convert an image of a version 1 registry, whose images all have a layer.

    The config, and so the image id, is the same as Docker's, byte for byte (moby,
    ``distribution/pull_v1.go``).

    Args:
        top: The version 1 JSON of the image.
        history: The history entry of each image, bottom first.
        layers: The layers in the same order.
    """
    types = [
        mediatype.DOCKER_PLAIN_LAYER if _is_plain(each) else mediatype.DOCKER_LAYER
        for each in layers
    ]
    return _derived(top, history, layers, types)


def _is_plain(layer: Receipt) -> bool:
    return layer.diff_id == layer.descriptor.digest


def _derived(
    top: bytes,
    history: Sequence[Mapping[str, Any]],
    layers: Sequence[Receipt],
    types: Sequence[str],
) -> DerivedImage:
    diff_ids = [layer.diff_id for layer in layers if layer.diff_id is not None]
    config = v1.config_from_v1(top, diff_ids, history)
    entries = [
        layer.descriptor._replace(media_type=media_type)
        for layer, media_type in zip(layers, types, strict=True)
    ]
    descriptor = Descriptor.of(config, mediatype.DOCKER_CONFIG)
    return DerivedImage(config, docker_manifest(descriptor, entries))


def imported_config(
    diff_ids: Sequence[Digest],
    entry: Mapping[str, Any],
    *,
    parent: bytes | None,
    given: bytes | None,
    platform: Platform,
    settings: Mapping[str, Any] | None = None,
    comment: str = "",
) -> bytes:
    """Make the config for an imported layer.

    Args:
        diff_ids: The DiffIDs of all layers, bottom first.
        entry: The history entry of the layer.
        parent: The config of the parent image, which is extended; None for no parent.
        given: A version 1 JSON; the config is made from it as for a schema1 image.
        platform: The platform of an image without a parent.
        settings: Settings for containers, in place of those of the parent.
        comment: The comment of the image.
    """
    history = [*_history(parent), dict(entry)]
    if given is not None:
        found = v1.history_entry(given, empty_layer=bool(entry.get("empty_layer")))
        return v1.config_from_v1(given, diff_ids, [*history[:-1], found])
    fields: dict[str, Any] = {"architecture": platform.architecture, "config": {}}
    fields |= {"os": platform.os} | ({"variant": platform.variant} if platform.variant else {})
    if parent is not None:
        fields = dict(gojson.raw_fields(parent))
    if settings is not None:
        fields["config"] = dict(settings)
    if comment:
        fields["comment"] = comment
    fields["created"] = entry["created"]
    fields["rootfs"] = v1.rootfs(diff_ids)
    fields["history"] = history
    return gojson.encode(gojson.sorted_map(fields)).encode("utf-8")


def _history(config: bytes | None) -> list[dict[str, Any]]:
    if config is None:
        return []
    found = load_object(config, "the image config", max_depth=MAX_DEPTH)
    return [entry.value for entry in found.objects("history")]
