"""Images that tests save and load, and readers of archives and directories."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from wherry.testing import build_image, build_index, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    import wherry
    from wherry.ops.save_options import Format


TARS = [tar_layer({f"f{number}": b"x" * 9999 * number}) for number in range(3)]
IMAGE = build_image(TARS, compression=["gzip", "zstd", "none"], cmd=["sh"])
OTHER = build_image([*TARS[:2], TARS[0]], style="docker", env=["A=b"])
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
INDEX = build_index([(IMAGE, AMD64), (build_image(TARS, architecture="arm64"), ARM64)])
FORMATS: list[Format] = ["docker", "oci-archive", "oci", "dir"]


def contents(path: Path) -> dict[str, bytes]:
    """Return all files of an archive or directory."""
    if path.is_file():
        with tarfile.open(path) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def facts(image: wherry.Image) -> tuple[object, ...]:
    return image.id, image.config.diff_ids, [layer.diff_id for layer in image.layers]


def link(target: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.linkname = tarfile.SYMTYPE, target
    return made
