"""Recognition of image archives by the names of their files."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, StoreError
from wherry.model.address import Address

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wherry.archive.files import Files
    from wherry.archive.tar import UnsafeLink
    from wherry.content.protocols import RawStream
    from wherry.errors import WherryError

KNOWN = (
    "wherry reads what docker, podman, skopeo and wherry save: a directory or a tar with a\n"
    "manifest.json or an index.json; the tar may be compressed with gzip, zstd, xz or bzip2"
)
IMPORT = f"{KNOWN};\n`wherry import` makes an image of other files"
MARKS = {"manifest.json", "index.json", "oci-layout", "repositories"}
# Names that tools give to configs, blobs and layers: a digest or id, or a tar that is at most one
# directory deep.
_PART = re.compile(r"(blobs/\w+/|sha256[:-])?[0-9a-f]{64}.*|([^/]+/)?[^/]+\.(tar(\.\w+)?|tgz)")


def source_name(source: Path | RawStream | Address) -> str:
    """Return the name of an archive for errors: its path, if it has one."""
    if isinstance(source, Address):
        return source.path
    if isinstance(source, os.PathLike):
        return str(source)
    name = getattr(source, "name", "")
    if name in (0, "<stdin>"):  # set by `open` and by `sys.stdin`
        return "stdin"
    return name if name and isinstance(name, str) else "the stream"


def no_archive(
    path: str,
    message: str = "is not an image archive or layout that wherry knows",
    hint: str = KNOWN,
) -> StoreError:
    """Make the error for a file or directory that is not an archive or layout."""
    return StoreError(message, hint=hint).within(path)


def is_part(name: str) -> bool:
    """Tell whether the name of a file suggests that it is part of an image archive."""
    return name in MARKS or _PART.fullmatch(name) is not None


def link_error(path: str, names: Iterable[str], error: UnsafeLink) -> WherryError:
    """Return the error for a link out of a tar with the files ``names``.

    Many links do in a tar of a file system, which is not an unsafe archive but no archive.
    """
    if any(map(is_part, (*names, error.member))):
        return error.within(path)
    return no_archive(path, hint=IMPORT)


def check_ended(files: Files) -> None:
    """Raise `IntegrityError` if a missing file may have been in the lost end of a tar."""
    if not files.ended:
        raise IntegrityError(
            "the archive is cut off: the marker of its end is missing",
            expected="a whole archive",
            actual="the beginning of one",
        ).within(files.path)
