"""Metadata of version 1 images: one JSON for each layer, linked by ids.

Engines convert them to history entries and configs, and convert configs back to them (moby,
``image/v1/imagev1.go`` and ``distribution/push_v2.go``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument
from wherry.model import gojson, gotime
from wherry.model._fields import load_object
from wherry.model.digest import Digest
from wherry.model.gostruct import Field, Kind, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_DEPTH = 32
RAW_SINCE = (1, 8, 3)  # later engines keep the JSON unchanged

_ID = re.compile(r"[0-9a-f]{64}")


def _container_config(*, modern: bool) -> tuple[Field, ...]:
    """Return the fields of a container config in engine 20.10 or 1.9."""
    fields: list[Field | None] = [
        Field("Hostname", Kind.STRING),
        Field("Domainname", Kind.STRING),
        Field("User", Kind.STRING),
        Field("AttachStdin", Kind.BOOL),
        Field("AttachStdout", Kind.BOOL),
        Field("AttachStderr", Kind.BOOL),
        Field("ExposedPorts", Kind.SET, omit_empty=True),
        None if modern else Field("PublishService", Kind.STRING, omit_empty=True),
        Field("Tty", Kind.BOOL),
        Field("OpenStdin", Kind.BOOL),
        Field("StdinOnce", Kind.BOOL),
        Field("Env", Kind.STRINGS),
        Field("Cmd", Kind.COMMAND),
        Field("Healthcheck", _HEALTH, omit_empty=True, pointer=True) if modern else None,
        Field("ArgsEscaped", Kind.BOOL, omit_empty=True) if modern else None,
        Field("Image", Kind.STRING),
        Field("Volumes", Kind.SET),
        Field("WorkingDir", Kind.STRING),
        Field("Entrypoint", Kind.COMMAND),
        Field("NetworkDisabled", Kind.BOOL, omit_empty=True),
        Field("MacAddress", Kind.STRING, omit_empty=True),
        Field("OnBuild", Kind.STRINGS),
        Field("Labels", Kind.MAP),
        Field("StopSignal", Kind.STRING, omit_empty=True),
        Field("StopTimeout", Kind.INT, omit_empty=True, pointer=True) if modern else None,
        Field("Shell", Kind.COMMAND, omit_empty=True) if modern else None,
    ]
    return tuple(field for field in fields if field is not None)


_HEALTH = (
    Field("Test", Kind.STRINGS, omit_empty=True),
    Field("Interval", Kind.INT, omit_empty=True),
    Field("Timeout", Kind.INT, omit_empty=True),
    Field("StartPeriod", Kind.INT, omit_empty=True),
    Field("Retries", Kind.INT, omit_empty=True),
)


def _image(config: tuple[Field, ...], *, modern: bool) -> tuple[Field, ...]:
    """Return the fields of a version 1 image in engine 20.10 or 1.9."""
    fields: list[Field | None] = [
        Field("id", Kind.STRING, omit_empty=modern),
        Field("parent", Kind.STRING, omit_empty=True),
        Field("comment", Kind.STRING, omit_empty=True),
        Field("created", Kind.TIME),
        Field("container", Kind.STRING, omit_empty=True),
        Field("container_config", config),
        Field("docker_version", Kind.STRING, omit_empty=True),
        Field("author", Kind.STRING, omit_empty=True),
        Field("config", config, omit_empty=True, pointer=True),
        Field("architecture", Kind.STRING, omit_empty=True),
        Field("variant", Kind.STRING, omit_empty=True) if modern else None,
        Field("os", Kind.STRING, omit_empty=True),
        Field("Size", Kind.INT, omit_empty=modern),
        None if modern else Field("parent_id", Kind.STRING, omit_empty=True),
        None if modern else Field("layer_id", Kind.STRING, omit_empty=True),
    ]
    return tuple(field for field in fields if field is not None)


RUN_20_10 = _container_config(modern=True)
IMAGE_20_10 = _image(RUN_20_10, modern=True)
IMAGE_1_9 = _image(_container_config(modern=False), modern=False)

# Fields that a config shares with version 1; its parent is another kind of id.
_IN_CONFIG = tuple(field for field in IMAGE_20_10 if field.name != "parent")
_BELOW_TOP = {"created": "1970-01-01T00:00:00Z"}

# Fields of version 1 that a config does not have.
_NOT_IN_CONFIG = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")
# Fields of a config that version 1 does not have.
_NOT_IN_V1 = ("rootfs", "history", "os.version", "os.features")


def validate_id(text: str, path: str = "id") -> str:
    """Check a version 1 id, 64 lower-case hex digits; raises `InvalidDocument`."""
    if not _ID.fullmatch(text):
        raise InvalidDocument(f"{text[:80]!r} is not an image id: 64 hex digits", path=path)
    return text


def load(raw: bytes, what: str = "the version 1 JSON") -> dict[str, Any]:
    """Parse a version 1 JSON strictly; raises `InvalidDocument`."""
    return load_object(raw, what, max_depth=MAX_DEPTH).value


def image(raw: bytes) -> dict[str, Any]:
    """Return the fields of a version 1 image as decoded by engine 20.10."""
    return decode(IMAGE_20_10, load(raw))


def is_older(version: str, than: Sequence[int] = RAW_SINCE) -> bool:
    """Compare versions as engines do: parts that are not integers count as 0."""
    parts = [_integer(part) for part in version.split(".")]
    length = max(len(parts), len(than))
    padded = [*parts, *[0] * (length - len(parts))]
    return padded < [*than, *[0] * (length - len(than))]


def _integer(text: str) -> int:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else 0


def history_entry(raw: bytes, *, empty_layer: bool) -> dict[str, Any]:
    """Make the history entry of a layer; image ids depend on the order of its keys."""
    found = image(raw)
    command = (found.get("container_config") or {}).get("Cmd") or []
    entry: dict[str, Any] = {
        "created": found.get("created", gotime.ZERO),
        "author": found.get("author", ""),
        "created_by": " ".join(command),
        "comment": found.get("comment", ""),
        "empty_layer": empty_layer,
    }
    return {key: value for key, value in entry.items() if value or key == "created"}


def rootfs(diff_ids: Sequence[Digest]) -> dict[str, Any]:
    """Return a ``rootfs``; without layers it has no ``diff_ids``."""
    found: dict[str, Any] = {"type": "layers"}
    return found | ({"diff_ids": [str(item) for item in diff_ids]} if diff_ids else {})


def config_from_v1(
    raw: bytes, diff_ids: Sequence[Digest], history: Sequence[Mapping[str, Any]]
) -> bytes:
    """Make the image config whose digest is the image id in engines.

    ``raw`` is the version 1 JSON of the top layer. ``history`` is in order, bottom first.
    """
    fields = _base(raw, IMAGE_20_10)
    for name in _NOT_IN_CONFIG:
        fields.pop(name, None)
    fields["rootfs"] = rootfs(diff_ids)
    fields["history"] = [dict(entry) for entry in history]
    return gojson.encode(gojson.sorted_map(fields)).encode("utf-8")


def _base(raw: bytes, struct: tuple[Field, ...]) -> dict[str, Any]:
    """Return the fields of a JSON; those of old engines are encoded anew."""
    found = load(raw)
    version = decode((Field("docker_version", Kind.STRING),), found).get("docker_version", "")
    if is_older(version):
        return encode(struct, decode(struct, found))
    return dict(gojson.raw_fields(raw))


def v1_from_config(
    config: bytes, v1_id: str, parent: str = "", *, throwaway: bool = False
) -> bytes:
    """Make the version 1 JSON of the top layer from the config, for old registries."""
    load(config, "the image config")
    fields: dict[str, Any] = dict(gojson.raw_fields(config))
    for name in _NOT_IN_V1:
        fields.pop(name, None)
    fields["id"] = v1_id
    if parent:
        fields["parent"] = parent
    if throwaway:
        fields["throwaway"] = True
    return gojson.encode(gojson.sorted_map(fields)).encode("utf-8")


def create_id(image: Mapping[str, Any], chain_id: Digest | None, parent: str = "") -> Digest:
    """Compute the id that engines since 1.10 give a version 1 image when they save it.

    Args:
        image: The fields, as from `image`; the id in them is ignored.
        chain_id: The ChainID of the layer; None for an image without layers.
        parent: The id of the layer below, as ``sha256:…``; empty to use the one in ``image``.
    """
    fields = encode(IMAGE_20_10, {key: value for key, value in image.items() if key != "id"})
    fields["layer_id"] = str(chain_id or "")
    if parent:
        fields["parent"] = parent
    return Digest.of(gojson.encode(gojson.sorted_map(fields)).encode("utf-8"))


def strong_id(v1_json: bytes, blob_digest: Digest, parent_strong_id: Digest | None) -> Digest:
    """Compute the content-addressed id of engine 1.9 (moby 1.9, ``image/image.go``).

    ``blob_digest`` is the digest of the compressed layer.
    """
    fields = _base(v1_json, IMAGE_1_9)
    for name in ("id", "parent", "Size"):
        fields.pop(name, None)
    fields["layer_id"] = str(blob_digest)
    if parent_strong_id is not None:
        fields["parent_id"] = str(parent_strong_id)
    return Digest.of(gojson.encode(gojson.sorted_map(fields)).encode("utf-8"))


def parse_throwaway(raw: bytes) -> bool:
    """Tell whether a version 1 JSON has no layer of its own."""
    found = decode((Field("throwaway", Kind.BOOL),), load(raw))
    return bool(found.get("throwaway", False))


def saved_chain(config: bytes, diff_ids: Sequence[Digest]) -> list[tuple[str, bytes]]:
    """Return the id and version 1 JSON of each layer, as engines save them.

    The order is bottom first. Lower layers have only a date, in 1970. The top layer has the
    config as decoded by engine 20.10, without its parent and without invalid fields.
    """
    from wherry.model.config import chain_ids

    top = decode(_IN_CONFIG, load(config, "the image config"), problems=[])
    found: list[tuple[str, bytes]] = []
    parent = ""
    for place, chain_id in enumerate(chain_ids(diff_ids), 1):
        values: dict[str, Any] = dict(top if place == len(diff_ids) else _BELOW_TOP)
        v1_id = create_id(values, chain_id, parent and f"sha256:{parent}").hex
        values |= {"id": v1_id, "parent": parent, "os": top.get("os", "")}
        found.append((v1_id, gojson.encode(encode(IMAGE_20_10, values)).encode("utf-8")))
        parent = v1_id
    return found
