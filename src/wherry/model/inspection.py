"""The facts about an image in the form of ``skopeo inspect``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import wherry
from wherry.model import gojson, gotime, v1
from wherry.model.config import ImageConfig, env_of, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.gostruct import Field, Kind, decode, encode
from wherry.model.manifest import Manifest
from wherry.model.problem import DocumentFault
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.schema1 import Schema1

_CONFIG = "the image config"
_RUN = (
    Field("User", Kind.STRING, omit_empty=True),
    Field("ExposedPorts", Kind.SET, omit_empty=True),
    Field("Env", Kind.STRINGS, omit_empty=True),
    Field("Entrypoint", Kind.STRINGS, omit_empty=True),
    Field("Cmd", Kind.STRINGS, omit_empty=True),
    Field("Volumes", Kind.SET, omit_empty=True),
    Field("WorkingDir", Kind.STRING, omit_empty=True),
    Field("Labels", Kind.MAP, omit_empty=True),
    Field("StopSignal", Kind.STRING, omit_empty=True),
    Field("ArgsEscaped", Kind.BOOL, omit_empty=True),
)
_STEP = (
    Field("created", Kind.TIME, omit_empty=True, pointer=True),
    Field("created_by", Kind.STRING, omit_empty=True),
    Field("author", Kind.STRING, omit_empty=True),
    Field("comment", Kind.STRING, omit_empty=True),
    Field("empty_layer", Kind.BOOL, omit_empty=True),
)
# The structs of image-spec 1.1 (specs-go/v1/config.go), in the order of the output.
OCI_IMAGE = (
    Field("created", Kind.TIME, omit_empty=True, pointer=True),
    Field("author", Kind.STRING, omit_empty=True),
    Field("architecture", Kind.STRING),
    Field("variant", Kind.STRING, omit_empty=True),
    Field("os", Kind.STRING),
    Field("os.version", Kind.STRING, omit_empty=True),
    Field("os.features", Kind.STRINGS, omit_empty=True),
    Field("config", _RUN),
    Field("rootfs", (Field("type", Kind.STRING), Field("diff_ids", Kind.STRINGS))),
    Field("history", _STEP, omit_empty=True, many=True),
)

_DOCKERS = (
    Field("docker_version", Kind.STRING),
)  # Docker's field, which is shown for OCI configs too


class Inspection(Record):
    """Facts about an image from its manifest and config, without its layers.

    Attributes:
        name: The full name of the repository; empty if the address has none.
        digest: The digest that the name stands for; that of the index if there is one. None for
            an image in a version 1 registry, which has no digests.
        manifest: The manifest, chosen from the index; None in a version 1 registry.
        raw_config: The bytes of the config; empty for schema1. In a version 1 registry, a
            generated one without DiffIDs.
        repo_tags: The tags of the repository; None if the registry does not list them.
        tag: The tag in a schema1 manifest, or in a version 1 registry.
        created: RFC 3339 text; None if an OCI config has none.
        docker_version: The version of the engine that made the image.
        raw_labels: The labels; None if the config has no such field.
        architecture, os: The platform.
        layers: The layers, bottom first; those of schema1 have no type and no size. None are
            known in a version 1 registry.
        raw_env: ``NAME=value`` entries; None if the config has no such field.
        problems: Fields of the config that could not be read and are not shown.
        v1_layers: The ids of the images of a version 1 registry, bottom first, each with the
            size of its layer in bytes, or None.
    """

    name: str
    digest: Digest | None
    manifest: Manifest | wherry.types.Schema1 | None
    raw_config: bytes
    repo_tags: tuple[str, ...] | None
    tag: str
    created: str | None
    docker_version: str
    raw_labels: Mapping[str, str] | None
    architecture: str
    os: str
    layers: tuple[Descriptor, ...]
    raw_env: tuple[str, ...] | None
    problems: tuple[DocumentFault, ...] = ()
    v1_layers: tuple[tuple[str, int | None], ...] = ()

    def __repr__(self) -> str:
        what = f":{self.tag}" if self.digest is None else f"@{self.digest}"
        return f"<Inspection {self.name}{what} {self.os}/{self.architecture}>"

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, as `ImageConfig.labels`."""
        return self.raw_labels or {}

    @property
    def env(self) -> Mapping[str, str]:
        """The environment, as `ImageConfig.env`."""
        return env_of(self.raw_env or ())

    @property
    def config(self) -> ImageConfig:
        """The parsed config; for an image of schema1 or version 1, one without DiffIDs.

        Raises:
            InvalidDocument: The config is invalid, although its fields can be shown.
        """
        return parse_config(self._config_bytes())

    def _config_bytes(self) -> bytes:
        if isinstance(self.manifest, Manifest | None):
            return self.raw_config
        return schema1_config(self.manifest)

    @property
    def size(self) -> int | None:
        """The compressed bytes of the config and the layers; None for schema1 and version 1."""
        if not isinstance(self.manifest, Manifest):
            return None
        return size_of(self.manifest)

    def fields(self) -> dict[str, Any]:
        """Return the output of ``skopeo inspect``, with its names and order."""
        named = {"Name": self.name, "Tag": self.tag}
        shown: dict[str, Any] = {key: value for key, value in named.items() if value}
        layers = self._layers()
        return shown | {
            "Digest": str(self.digest or ""),
            "RepoTags": self.repo_tags,
            "Created": self.created,
            "DockerVersion": self.docker_version,
            "Labels": None if self.raw_labels is None else gojson.sorted_map(dict(self.raw_labels)),
            "Architecture": self.architecture,
            "Os": self.os,
            "Layers": [data["Digest"] for data in layers],
            "LayersData": layers,
            "Env": self.raw_env,
        }

    def _layers(self) -> list[dict[str, Any]]:
        if self.manifest is None:
            return [_layer("", v1_id, size) for v1_id, size in self.v1_layers]
        sizes = _sizes(self.manifest, self.layers)
        return [
            _layer(each.media_type, str(each.digest), size, each.annotations)
            for each, size in zip(self.layers, sizes, strict=True)
        ]

    def json(self) -> str:
        """Return `fields` as JSON, indented by four spaces, as Go writes it."""
        return gojson.indented(self.fields())

    def oci_config(self) -> dict[str, Any]:
        """Return the known fields of the config, in the order of the OCI image spec.

        The DiffIDs of an image of schema1 or version 1 are empty strings, because they depend
        on its layers.
        """
        source = v1.load(self._config_bytes(), _CONFIG)
        if isinstance(self.manifest, Manifest):
            return encode(OCI_IMAGE, decode(OCI_IMAGE, source, problems=[]))
        found = decode(OCI_IMAGE, source)
        count = len(self.v1_layers)
        if self.manifest is not None:
            count = len([layer for layer in self.manifest.layers if not layer.throwaway])
        found["rootfs"]["diff_ids"] = [""] * count
        return encode(OCI_IMAGE, found)


def inspection(
    name: str,
    digest: Digest,
    manifest: Manifest | Schema1,
    config: bytes,
    repo_tags: tuple[str, ...] | None = (),
) -> Inspection:
    """Collect the facts about an image from its documents.

    Raises:
        InvalidDocument: Go's decoder would refuse the schema1 manifest.
    """
    problems: list[DocumentFault] = []
    if isinstance(manifest, Manifest):
        found = _facts(config, problems, docker=".docker." in manifest.media_type)
        layers, tag = manifest.layers, ""
    else:
        found = _facts(manifest.layers[0].v1_json, None, docker=True)
        layers = tuple(Descriptor("", layer.blob_sum) for layer in reversed(manifest.layers))
        tag = manifest.tag
    return _inspected(
        found,
        tuple(problems),
        name=name,
        digest=digest,
        manifest=manifest,
        raw_config=config,
        repo_tags=repo_tags,
        tag=tag,
        layers=layers,
    )


def v1_inspection(
    name: str,
    tag: str,
    top: bytes,
    history: Sequence[Mapping[str, Any]],
    layers: Sequence[tuple[str, int | None]],
    repo_tags: tuple[str, ...] | None = (),
) -> Inspection:
    """Collect the facts about an image in a version 1 registry.

    Args:
        name: The full name of the repository.
        tag: The tag.
        top: The JSON of the image.
        history: The history entries of the image and those below it, bottom first.
        layers: Their ids and the sizes of their layers, bottom first.
        repo_tags: The tags of the repository; None if the registry does not list them.
    """
    return _inspected(
        _facts(top, None, docker=True),
        (),
        name=name,
        digest=None,
        manifest=None,
        raw_config=v1.config_from_v1(top, [], history),
        repo_tags=repo_tags,
        tag=tag,
        layers=(),
        v1_layers=tuple(layers),
    )


def _inspected(
    found: Mapping[str, Any], problems: tuple[DocumentFault, ...], **more: Any
) -> Inspection:
    """Return an inspection with the decoded fields of a config."""
    run = found.get("config", {})
    return Inspection(
        created=found.get("created"),
        docker_version=found.get("docker_version", ""),
        raw_labels=run.get("Labels"),
        architecture=found.get("architecture", ""),
        os=found.get("os", ""),
        raw_env=tuple(run["Env"]) if "Env" in run else None,
        problems=problems,
        **more,
    )


def size_of(manifest: Manifest) -> int:
    """Return the bytes of an image's config and layers, each blob once."""
    sizes = {blob.digest: blob.size or 0 for blob in (manifest.config, *manifest.layers)}
    return sum(sizes.values())


def schema1_config(manifest: Schema1) -> bytes:
    """Generate the config of a schema1 image, without DiffIDs."""
    steps = reversed(manifest.layers)
    history = [v1.history_entry(step.v1_json, empty_layer=step.throwaway) for step in steps]
    return v1.config_from_v1(manifest.layers[0].v1_json, [], history)


def _facts(raw: bytes, problems: list[DocumentFault] | None, *, docker: bool) -> dict[str, Any]:
    """Decode a config as Docker's struct, or as the OCI struct and more."""
    source = v1.load(raw, _CONFIG)
    if docker:
        found = decode(v1.IMAGE_20_10, source, problems=problems)
        return {"created": gotime.ZERO} | found  # Docker's field is not a pointer
    found = decode(OCI_IMAGE, source, problems=problems)
    return found | decode(_DOCKERS, source, problems=problems)


def _sizes(manifest: Manifest | Schema1, layers: Sequence[Descriptor]) -> list[int]:
    """Return the sizes of the layers in the manifest, even wrong ones, as skopeo does."""
    if not isinstance(manifest, Manifest) or all(layer.size is not None for layer in layers):
        return [-1 if layer.size is None else layer.size for layer in layers]
    return [entry.get("size") or 0 for entry in json.loads(manifest.raw)["layers"]]


def _layer(
    media_type: str,
    digest: str,
    size: int | None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "MIMEType": media_type,
        "Digest": digest,
        "Size": -1 if size is None else size,
        "Annotations": gojson.sorted_map(dict(annotations or {})) or None,
    }
