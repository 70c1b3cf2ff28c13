"""Images that the battery pulls, made once and the same in each run."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

from wherry.testing import build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.testing import BuiltImage

_MB = 10**6


@functools.cache
def tar(seed: int, size: int) -> bytes:
    """Return the tar of a layer, which compresses to a little over half its size."""
    return tar_layer(pseudo_random_files(seed, size, 4))


@functools.cache
def small() -> BuiltImage:
    """Return an image of 1.2 MB with four layers, each with another compression."""
    tars = [tar(1, 1_400_000), tar(2, 400_000), tar(3, 100_000), tar(4, 200)]
    return build_image(tars, compression=["gzip", "zstd", "none", "gzip"])


@functools.cache
def pushed() -> BuiltImage:
    """Return an image of 2.5 MB with four layers; the first is too large for one request."""
    return build_image(
        [tar(40 + n, size) for n, size in enumerate([3_000_000, 900_000, 300_000, 200])]
    )


@functools.cache
def noise() -> BuiltImage:
    """Return an image of 50 MB with two layers, which takes a while to send."""
    sizes = [40 * _MB, 10 * _MB]
    tars = [tar_layer({"noise": random.Random(size).randbytes(size)}) for size in sizes]
    return build_image(tars, compression="zstd")


@functools.cache
def large() -> BuiltImage:
    """Return an image of about 24 MB with five layers."""
    sizes = [20 * _MB, 12 * _MB, 6 * _MB, 2 * _MB, 50_000]
    return build_image([tar(10 + number, size) for number, size in enumerate(sizes)])


@functools.cache
def one_blob(size: int) -> BuiltImage:
    """Return an image of one layer that does not compress."""
    return build_image(
        [tar_layer({"noise": random.Random(size).randbytes(size)})], compression="none"
    )


@functools.cache
def overlapping(count: int) -> Sequence[BuiltImage]:
    """Return images of four layers each, where neighbours share three layers."""
    tars = [tar(30 + number, 600_000 + 400_000 * (number % 4)) for number in range(count)]
    tars.append(tar(99, 3_000))
    return [
        build_image([tars[(first + step) % count] for step in range(3)] + tars[-1:])
        for first in range(count)
    ]


def contents(*images: BuiltImage) -> Mapping[str, bytes]:
    """Return all blobs and documents of the images by digest."""
    pieces = [piece for image in images for piece in (*image.blobs(), image.manifest)]
    return {piece.digest: piece.data for piece in pieces}


def blob_bytes(*images: BuiltImage) -> int:
    """Return the bytes of all layers and configs, each once."""
    return sum(len(data) for data in contents(*images).values()) - sum(
        len(data) for data in {image.digest: image.manifest.data for image in images}.values()
    )
