"""Places of each kind to copy from and to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    FakeRegistry,
    build_image,
    build_index,
    docker_files,
    flat_files,
    layout_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wherry import Client

TARS = [tar_layer({f"f{number}": bytes([number]) * 9999}) for number in range(3)]
# Uncompressed layers are compressed on the way into a registry, so there is none here.
IMAGE = build_image([*TARS, TARS[0]], compression=["gzip", "zstd", "gzip", "gzip"], cmd=["sh"])
DOCKER = build_image(TARS, style="docker")
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (build_image(TARS, architecture="arm64"), {"os": "linux", "architecture": "arm64"}),
    ]
)
IMAGES = {"oci": IMAGE, "docker": DOCKER}
ALL: dict[str, BuiltImage | BuiltIndex] = {**IMAGES, "index": INDEX}
SOURCES = ["docker://", "store", "oci", "oci-archive", "docker-archive", "dir"]
TARGETS = [*SOURCES, "existing oci", "existing dir", "existing docker-archive"]


class Places:
    """Places of each kind, with and without images."""

    def __init__(self, path: Path, registry: FakeRegistry, client: Client) -> None:
        self._path = path
        self._registry = registry
        self._client = client

    def source(self, kind: str, name: str) -> str:
        """Make a place that has an image; return its address."""
        image, path = ALL[name], self._path / "source"
        self._registry.add_image("source", image, name)
        reference = f"{self._registry.host}/source:{name}"
        match kind:
            case "docker://":
                return reference
            case "store":
                self._client.pull(reference)
                return f"store:{reference}"
            case "oci":
                write_files(path, layout_files({name: image}))
            case "oci-archive":
                path.write_bytes(tar_layer(layout_files({name: image})))
            case "docker-archive":
                assert isinstance(image, BuiltImage)
                tars = [*TARS, TARS[0]][: len(image.layers)]
                path.write_bytes(tar_layer(docker_files(image, tars, [f"app:{name}"])))
                return f"docker-archive:{path}:app:{name}"
            case _:
                write_files(path, flat_files(image))
                return f"dir:{path}"
        return f"{kind}:{path}:{name}"

    def target(self, kind: str) -> str:
        """Return an address that can be written to."""
        path = self._path / "target"
        match kind:
            case "docker://":
                return f"{self._registry.host}/target:1"
            case "store":
                return "store:target:1"
            case "dir":
                return f"dir:{path}"
            case "existing oci":
                write_files(path, layout_files({"before": DOCKER}))
                return f"oci:{path}:target"
            case "existing dir":
                write_files(path, flat_files(build_image([tar_layer({"other": b""})])))
                return f"dir:{path}"
            case "existing docker-archive":
                path.write_bytes(b"another file")
                return f"docker-archive:{path}:target:1"
            case _:
                pass
        return f"{kind}:{path}:target:1"
