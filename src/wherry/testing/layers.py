"""Builders of layers: tars with fixed metadata, compressed or not."""

from __future__ import annotations

import bz2
import copy
import io
import lzma
import random
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COMPRESSIONS", "compress", "pseudo_random_files", "tar_layer"]

COMPRESSIONS = ("gzip", "zstd", "none", "bzip2", "xz")
_MTIME = 1704164645  # 2024-01-02T03:04:05Z, as in the configs that `build_image` makes


def tar_layer(files: Mapping[str, bytes | tarfile.TarInfo | None]) -> bytes:
    """Return an uncompressed tar with fixed owners and times.

    Args:
        files: The members by name, in order. A value is the content of a file, None for a
            directory, or a `tarfile.TarInfo` for anything else (links, devices, modes), which
            gets the name of its key. Parent directories are not added.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                member = copy.copy(content)  # `TarInfo.replace` came with Python 3.11.4
                member.name = name
                archive.addfile(member)
                continue
            member = tarfile.TarInfo(name)
            member.mtime = _MTIME
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.mode, member.size = 0o644, len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def compress(data: bytes, how: str) -> bytes:
    """Compress bytes.

    Args:
        data: The bytes.
        how: ``gzip``, ``zstd``, ``bzip2``, ``xz``, or ``none`` to return ``data`` itself.

    Raises:
        ValueError: ``how`` is another text.
    """
    match how:
        case "none":
            return data
        case "gzip":
            from isal import igzip  # ten times as fast as zlib with content that does not compress

            return igzip.compress(data, compresslevel=1, mtime=0)
        case "zstd":
            import zstandard

            return zstandard.ZstdCompressor(level=3).compress(data)
        case "bzip2":
            return bz2.compress(data, 1)
        case "xz":
            return lzma.compress(data, preset=0)
        case _:
            raise ValueError(f"unknown compression {how!r}; known are {', '.join(COMPRESSIONS)}")


def pseudo_random_files(seed: int, total_bytes: int, count: int) -> dict[str, bytes]:
    """Return files of random content that gzip compresses to little more than half.

    The same arguments give the same content. The function makes several hundred megabytes a
    second.

    Args:
        seed: The seed of the random numbers.
        total_bytes: The bytes of all files together.
        count: The number of files.
    """
    source = random.Random(seed)  # noqa: S311 - content that has to repeat, not secrets
    base, rest = divmod(total_bytes, count)
    words = b"".join(b"%08x the same words again and again\n" % seed for _ in range(100))
    files = {}
    for number in range(count):
        size = base + (1 if number < rest else 0)
        noise = source.randbytes(size // 2)
        text = (words * (size // len(words) + 1))[: size - len(noise)]
        files[f"data/{number:05}.bin"] = _interleaved(noise, text)
    return files


def _interleaved(left: bytes, right: bytes, step: int = 4096) -> bytes:
    """Mix two strings block by block, so that all parts of the result compress equally."""
    blocks = []
    for start in range(0, max(len(left), len(right)), step):
        blocks += [left[start : start + step], right[start : start + step]]
    return b"".join(blocks)
