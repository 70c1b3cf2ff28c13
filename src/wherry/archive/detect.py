"""What an archive is known by, and what is said of what is none, or not all of one."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from wherry.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wherry.archive.files import Files
    from wherry.archive.tar import UnsafeLink
    from wherry.content.protocols import RawStream
    from wherry.errors import WherryError

KNOWN = (
    "what docker, podman, skopeo and wherry save can be read: a directory or a tar (which may be\n"
    "compressed with gzip, zstd, xz or bzip2) that holds a manifest.json or an index.json"
)
IMPORT = f"{KNOWN};\n`wherry import` makes an image of other files"
MARKS = {"manifest.json", "index.json", "oci-layout", "repositories"}
# What tools call the files that these lead to: by an id, or as tars, at most in a directory.
_PART = re.compile(r"(blobs/\w+/|sha256[:-])?[0-9a-f]{64}.*|([^/]+/)?[^/]+\.(tar(\.\w+)?|tgz)")


def called(source: Path | RawStream) -> str:
    """Say what errors call an archive: by its path, where a stream has one too."""
    if isinstance(source, os.PathLike):
        return str(source)
    name = getattr(source, "name", "")
    if name in (0, "<stdin>"):  # as `open` and `sys.stdin` have it
        return "stdin"
    return name if name and isinstance(name, str) else "the stream"


def no_archive(
    path: str, message: str = "is no image archive or layout that wherry knows", hint: str = KNOWN
) -> StoreError:
    """Make the error for what is no archive, damaged or not."""
    return StoreError(f"{message}", hint=hint).within(path)


def is_part(name: str) -> bool:
    """Tell whether a file of a tar may be part of an archive, by its name."""
    return name in MARKS or _PART.fullmatch(name) is not None


def outside(path: str, found: Iterable[str], error: UnsafeLink) -> WherryError:
    """Return the error for a link that leads outside: in a tar of a file system many do."""
    if any(map(is_part, (*found, error.member))):
        return error.within(path)
    return no_archive(path, hint=IMPORT)


def check_ended(files: Files) -> None:
    """Raise `IntegrityError` for a tar without its end: what is missing may have been there."""
    if not files.ended:
        raise IntegrityError(
            "the archive is cut off: the marker of its end is missing",
            expected="a whole archive",
            actual="the beginning of one",
        ).within(files.path)
