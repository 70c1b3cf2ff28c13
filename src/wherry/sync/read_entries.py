"""The entries of files that name images: images.toml, YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.sync.image_list import ImageEntry, read_image_list
from wherry.sync.yaml_images import find_images, read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_YAML = {".yaml", ".yml", ".json"}


def is_image_list(file: Path) -> bool:
    """Tell whether a file is an images.toml, by its name."""
    return file.suffix.lower() not in _YAML


def read_entries(files: Sequence[Path], warn: Callable[[str, str], None]) -> list[ImageEntry]:
    """Return what several files name.

    Args:
        files: Files of images, compose files and Kubernetes YAML, by their suffixes.
        warn: Called for each name that is left out, with its place and the reason.

    Raises:
        WherryError: A file cannot be read, or breaks a rule.
    """
    entries: list[ImageEntry] = []
    for file in files:
        if is_image_list(file):
            entries += read_image_list(file)
            continue
        for image in find_images(read_yaml(file), file, warn):
            place = f"{file}:{image.line}"
            entries.append(ImageEntry(place, image.reference.with_default_tag()))
    return entries
