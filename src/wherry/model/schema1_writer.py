"""Writing an image as a schema1 manifest, for registries and engines before 2016.

The ids and the history are those that Docker and skopeo write (distribution 2.8,
``manifest/schema1/config_builder.go``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from wherry.errors import Unsupported
from wherry.model import gojson, mediatype, v1
from wherry.model._fields import load_object
from wherry.model.config import MAX_DEPTH, parse_config
from wherry.model.convert import docker_layer_type
from wherry.model.descriptor import Descriptor
from wherry.model.gostruct import Field, Kind, decode, encode
from wherry.model.manifest import parse
from wherry.model.quantity import count
from wherry.model.schema1 import Schema1
from wherry.model.schema1_signatures import sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.digest import Digest
    from wherry.model.manifest import Manifest

# An empty tar, compressed: the layer of steps that have none. All tools use these bytes.
_EMPTY_TAR = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
EMPTY_LAYER = Descriptor.of(_EMPTY_TAR, mediatype.DOCKER_LAYER)._replace(data=_EMPTY_TAR)

_STEP = (
    Field("id", Kind.STRING),
    Field("parent", Kind.STRING, omit_empty=True),
    Field("comment", Kind.STRING, omit_empty=True),
    Field("created", Kind.TIME),
    Field("container_config", (Field("Cmd", Kind.STRINGS),)),
    Field("author", Kind.STRING, omit_empty=True),
    Field("throwaway", Kind.BOOL, omit_empty=True),
)
_HISTORY = (
    Field("created", Kind.TIME),
    Field("created_by", Kind.STRING),
    Field("author", Kind.STRING),
    Field("comment", Kind.STRING),
    Field("empty_layer", Kind.BOOL),
)
_OTHER_FORMAT = "`--format docker` and `--format oci` have no such rule"


def to_schema1(manifest: Manifest, config: bytes, *, name: str, tag: str) -> Schema1:
    """Return an image as a schema1 manifest that is signed with a new key.

    Its digest depends only on the arguments, since it does not cover the signature.

    Args:
        manifest: The manifest of an image.
        config: The image config.
        name: The repository, without its registry; registries compare it.
        tag: The tag.

    Raises:
        Unsupported: Schema1 cannot express the image.
        InvalidDocument: The config is invalid.
    """
    if manifest.artifact is not None:
        raise Unsupported(f"this is {manifest.artifact}, which schema1 cannot describe")
    for layer in manifest.layers:
        docker_layer_type(layer.media_type)  # raises for types that schema1 does not have either
    history = _history(config)
    blobs = _blobs(history, [layer.digest for layer in manifest.layers])
    steps = _steps(config, history, blobs)
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": parse_config(config).architecture,
        "fsLayers": [{"blobSum": str(blob)} for blob in reversed(blobs)],
        "history": [{"v1Compatibility": step} for step in reversed(steps)],
    }
    payload = gojson.indented(document, "   ").encode("utf-8")
    found = parse(sign(payload), mediatype.DOCKER_SCHEMA1_SIGNED)
    assert isinstance(found, Schema1)  # noqa: S101 - of the type that was asked for
    return found


def _history(config: bytes) -> list[dict[str, Any]]:
    """Return the history of a config; a field of a wrong type has no value."""
    fields = load_object(config, "the image config", max_depth=MAX_DEPTH)
    return [decode(_HISTORY, entry.value, problems=[]) for entry in fields.objects("history")]


def _blobs(history: Sequence[dict[str, Any]], layers: Sequence[Digest]) -> list[Digest]:
    """Return the blob of each step; raises `Unsupported` if the history does not fit."""
    filled = sum(not entry.get("empty_layer") for entry in history)
    if not history:
        raise Unsupported("the config has no history, which schema1 needs", hint=_OTHER_FORMAT)
    if filled != len(layers):
        raise Unsupported(
            f"the history has {count(filled, 'step')} with a layer, the image has "
            f"{count(len(layers), 'layer')}; schema1 needs a step for each",
            hint=_OTHER_FORMAT,
        )
    left = iter(layers)
    return [EMPTY_LAYER.digest if entry.get("empty_layer") else next(left) for entry in history]


def _steps(config: bytes, history: Sequence[dict[str, Any]], blobs: Sequence[Digest]) -> list[str]:
    """Return the version 1 JSON of each step, bottom first."""
    found: list[str] = []
    parent = ""
    *lower, top = zip(history, blobs, strict=True)
    for entry, blob in lower:
        v1_id = _id(blob, parent)
        values = entry | {"id": v1_id, "parent": parent}
        values["container_config"] = {"Cmd": [entry.get("created_by", "")]}
        values["throwaway"] = entry.get("empty_layer", False)
        found.append(gojson.encode(encode(_STEP, values)))
        parent = v1_id
    entry, blob = top
    v1_id = _id(blob, parent, config.decode("utf-8"))
    throwaway = bool(entry.get("empty_layer"))
    raw = v1.v1_from_config(_completed(config, entry), v1_id, parent, throwaway=throwaway)
    return [*found, raw.decode("utf-8")]


def _id(blob: Digest, *parts: str) -> str:
    return hashlib.sha256(" ".join([blob.hex, *parts]).encode("utf-8")).hexdigest()


def _completed(config: bytes, entry: dict[str, Any]) -> bytes:
    """Add what only the last step of the history says, so that the history can be read back."""
    fields: dict[str, Any] = dict(gojson.raw_fields(config))
    added = {
        "created": entry.get("created"),
        "author": entry.get("author"),
        "comment": entry.get("comment"),
        "container_config": {"Cmd": [entry["created_by"]]} if entry.get("created_by") else None,
    }
    missing = {key: value for key, value in added.items() if value and key not in fields}
    return gojson.encode(fields | missing).encode("utf-8")
