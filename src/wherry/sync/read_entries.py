"""The entries of files that name images: images.toml, YAML, Dockerfiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.sync.dockerfile_images import find_dockerfile_images
from wherry.sync.found_image import read_text
from wherry.sync.image_list import ImageEntry, read_image_list
from wherry.sync.yaml_images import find_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wherry.sync.found_image import FoundImage

_YAML = {".yaml", ".yml", ".json"}
_DOCKERFILES = ("dockerfile", "containerfile")


def is_image_list(file: Path) -> bool:
    """Tell whether a file is an images.toml, by its name."""
    return file.suffix.lower() not in _YAML and not _is_dockerfile(file)


def _is_dockerfile(file: Path) -> bool:
    name = file.name.lower()
    return name in _DOCKERFILES or any(
        name.startswith(f"{word}.") or name.endswith(f".{word}") for word in _DOCKERFILES
    )


def find_in_file(file: Path, warn: Callable[[str, str], None]) -> tuple[str, list[FoundImage]]:
    """Read a Dockerfile or YAML, and return its text and the images that it names.

    Raises:
        WherryError: The file cannot be read, or breaks a rule.
    """
    text = read_text(file)
    find = find_dockerfile_images if _is_dockerfile(file) else find_images
    return text, find(text, file, warn)


def read_entries(files: Sequence[Path], warn: Callable[[str, str], None]) -> list[ImageEntry]:
    """Return what several files name.

    Args:
        files: Files of images, compose files, Kubernetes YAML and Dockerfiles, by their names.
        warn: Called for each name that is left out, with its place and the reason.

    Raises:
        WherryError: A file cannot be read, or breaks a rule.
    """
    entries: list[ImageEntry] = []
    for file in files:
        if is_image_list(file):
            found = read_image_list(file)
            entries += (each.replace(place=f"{file}: {each.place}") for each in found)
            continue
        for image in find_in_file(file, warn)[1]:
            place = f"{file}:{image.line}"
            entries.append(ImageEntry(place, image.reference.with_default_tag()))
    return entries
