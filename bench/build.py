"""Build images from files of this machine and push them to the registry once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import sys
import sysconfig
import tarfile
import zlib
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wherry.testing import document, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.testing import Distribution

__all__ = ["SHAPES", "Built", "Shape", "copy_repository", "provide"]

_VERSION = 1  # version of the images; increase it to rebuild them
_MTIME = 1704164645
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_KB, _MB = 10**3, 10**6


@dataclass(frozen=True)
class Shape:
    """Shape of an image: the compressed size of each layer, and the size of its files.

    ``ordered`` files are in the order of their directories, as in layers of real images. Others
    are mixed, so that all layers compress equally well.
    """

    name: str
    layers: tuple[int, ...]
    file_mean: int = 40 * _KB
    file_limit: int = 8 * _MB
    level: int = 6
    ordered: bool = False


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("small", (50 * _MB,)),
        Shape("five", (60 * _MB, 45 * _MB, 30 * _MB, 12 * _MB, 3 * _MB)),
        # As five, with some 14,000 files.
        Shape(
            "files",
            (60 * _MB, 45 * _MB, 30 * _MB, 12 * _MB, 3 * _MB),
            file_mean=37 * _KB,
            ordered=True,
        ),
        Shape(
            "many",
            tuple(20 * _KB * (1 + 17 * number % 42) for number in range(42)),
            file_mean=10 * _KB,
            file_limit=200 * _KB,
        ),
        # A low level, so that building takes less time.
        Shape("big", (1000 * _MB,), file_limit=32 * _MB, level=1),
    )
}


@dataclass(frozen=True)
class Built:
    """A built image: number of layers and files, bytes raw and compressed."""

    layers: int = 0
    files: int = 0
    raw: int = 0
    compressed: int = 0

    def __str__(self) -> str:
        layers = f"{self.layers} layer{'s' if self.layers > 1 else ''}"
        sizes = f"{self.compressed / _MB:.0f} MB compressed, {self.raw / _MB:.0f} MB raw"
        return f"{layers}, {sizes}, {self.files:,} files"


class _File(NamedTuple):
    path: str
    size: int


class _LayerFile:
    """A file that compresses what is written to it, and hashes both forms."""

    def __init__(self, path: Path, level: int) -> None:
        self.path = path
        self.raw = self.compressed = 0
        self._diff, self._blob = hashlib.sha256(), hashlib.sha256()
        self._packer = zlib.compressobj(level, zlib.DEFLATED, 31)  # 31: gzip format without a time
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        self.raw += len(data)
        self._diff.update(data)
        self._store(self._packer.compress(data))
        return len(data)

    def tell(self) -> int:
        return self.raw

    def close(self) -> None:
        self._store(self._packer.flush())
        self._file.close()

    def descriptor(self) -> dict[str, object]:
        digest = "sha256:" + self._blob.hexdigest()
        return {"mediaType": _LAYER, "digest": digest, "size": self.compressed}

    def diff_id(self) -> str:
        return "sha256:" + self._diff.hexdigest()

    def _store(self, data: bytes) -> None:
        self.compressed += len(data)
        self._blob.update(data)
        self._file.write(data)


def provide(shape: Shape, registry: Distribution) -> Built:
    """Push the image ``bench/NAME:latest``, unless the registry has it."""
    note = registry.root / f"{shape.name}.json"
    wanted = json.loads(json.dumps({"version": _VERSION, **asdict(shape)}))
    if note.exists():
        known = json.loads(note.read_text())
        if known["shape"] == wanted:
            return Built(**known["built"])
    built = _build(shape, registry)
    note.write_text(json.dumps({"shape": wanted, "built": asdict(built)}, indent=1))
    return built


def _build(shape: Shape, registry: Distribution) -> Built:
    """Build and push one layer after the other, to save disk space."""
    pusher = registry.pusher(f"bench/{shape.name}")
    files = _endless(_found(shape), shape)
    descriptors, diff_ids, built = [], [], Built()
    for size in shape.layers:
        layer = _LayerFile(registry.root / "layer.tmp", shape.level)
        count = _fill(layer, files, size)
        descriptor = layer.descriptor()
        pusher.push_blob(layer.path, str(descriptor["digest"]))
        layer.path.unlink()
        descriptors.append(descriptor)
        diff_ids.append(layer.diff_id())
        built = Built(
            built.layers + 1,
            built.files + count,
            built.raw + layer.raw,
            built.compressed + layer.compressed,
        )
    config = document(_config(diff_ids))
    pusher.push_blob(config)
    pusher.push_manifest(document(_manifest(config, descriptors)), _MANIFEST, "latest")
    return built


def _fill(layer: _LayerFile, files: Iterator[tuple[str, _File]], size: int) -> int:
    """Write files until the layer is large enough; return how many."""
    count = 0
    # The type stubs require a whole file object; tarfile uses only `tell` and `write`.
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        while layer.compressed < size:
            prefix, file = next(files)
            content = Path(file.path).read_bytes()
            member = tarfile.TarInfo(prefix + file.path.lstrip("/"))
            member.size, member.mode, member.mtime = len(content), 0o644, _MTIME
            archive.addfile(member, io.BytesIO(content))
            count += 1
    layer.close()
    return count


def _endless(found: list[_File], shape: Shape) -> Iterator[tuple[str, _File]]:
    """Yield files of about the wanted mean size; repeat them if there are too few.

    Repeated files have another directory. gzip looks back only 32 KiB, so they do not compress
    better.
    """
    taken = size = turn = 0
    while found:
        prefix = f"again{turn}/" if turn else ""
        piles = (
            deque(file for file in found if file.size <= shape.file_mean),
            deque(file for file in found if file.size > shape.file_mean),
        )
        while pile := piles[size < taken * shape.file_mean]:
            file = pile.popleft()
            taken, size = taken + 1, size + file.size
            yield prefix, file
        turn += 1
    raise FileNotFoundError("there are no files to build images of")


def _found(shape: Shape) -> list[_File]:
    """Return the files of installed packages in a reproducible order, mixed or not."""
    roots = ["/usr/lib", "/usr/share", "/usr/bin", "/usr/local", *_python_directories()]
    files = {file.path: file for root in roots for file in _regular_files(root, shape.file_limit)}
    if shape.ordered:
        return sorted(files.values())
    return sorted(files.values(), key=lambda file: (zlib.crc32(file.path.encode()), file.path))


def _python_directories() -> Iterable[str]:
    return {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {sys.prefix}


def _regular_files(root: str, limit: int) -> Iterator[_File]:
    """Yield readable files that are neither empty nor caches."""
    for directory, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(directory, name)  # noqa: PTH118 - 100,000 of them
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= limit:
                continue
            if path.isascii() and os.access(path, os.R_OK):
                yield _File(path, status.st_size)


def _config(diff_ids: list[str]) -> dict[str, object]:
    created = "2024-01-02T03:04:05Z"
    return {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": "bench"} for _ in diff_ids],
    }


def _manifest(config: bytes, layers: list[dict[str, object]]) -> dict[str, object]:
    described = {"mediaType": _CONFIG, "digest": sha256(config), "size": len(config)}
    return {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layers}


def copy_repository(kept: Path, data: Path, image: str) -> None:
    """Copy a repository, and the blobs that it links to, between directories of registries."""
    below = Path("docker", "registry", "v2")
    repository = below / "repositories" / "bench" / image
    shutil.copytree(kept / repository, data / repository)
    for link in (kept / repository).rglob("link"):
        algorithm, _, value = link.read_text().partition(":")
        blob = below / "blobs" / algorithm / value[:2] / value
        shutil.copytree(kept / blob, data / blob, dirs_exist_ok=True)
