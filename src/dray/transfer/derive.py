"""Documents that are made from what was received; pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dray.model import mediatype, v1
from dray.model.descriptor import Descriptor
from dray.model.manifest import docker_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dray.content.ports import Receipt
    from dray.model.manifest import Manifest
    from dray.model.schema1 import Schema1


@dataclass(frozen=True, slots=True)
class Derived:
    """A config, whose digest is the image id, and a schema2 manifest over it."""

    config: bytes = field(repr=False)
    manifest: Manifest


def from_schema1(manifest: Schema1, layers: Sequence[Receipt]) -> Derived:
    """Make what docker makes of a schema1 image; ``layers`` run from the bottom up.

    The config, and so the image id, is docker's byte for byte (SPEC: "schema1"); the
    manifest is of the form that skopeo converts to.
    """
    steps = list(reversed(manifest.layers))
    history = [v1.history_entry(step.v1_json, empty_layer=step.throwaway) for step in steps]
    diff_ids = [layer.diff_id for layer in layers if layer.diff_id is not None]
    config = v1.config_from_v1(steps[-1].v1_json, diff_ids, history)
    entries = [replace(layer.descriptor, media_type=mediatype.DOCKER_LAYER) for layer in layers]
    descriptor = Descriptor.of(config, mediatype.DOCKER_CONFIG)
    return Derived(config, docker_manifest(descriptor, entries))
