"""Layers for tests of unpacking, and what a file system says about a tree."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mtime = kind, 1_600_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    form = tarfile.PAX_FORMAT
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as made:
        for each in members:
            info, content = each if isinstance(each, tuple) else (each, b"")
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def describe(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return all that a file system says about each file below a directory."""
    found: dict[bytes, tuple[object, ...]] = {}
    names: dict[int, bytes] = {}
    for path in [root, *sorted(root.rglob("*"), key=os.fsencode)]:
        about = path.lstat()
        short = os.fsencode(path)[len(os.fsencode(root)) :]
        content = b""
        if stat.S_ISLNK(about.st_mode):
            content = os.fsencode(path.readlink())
        elif stat.S_ISREG(about.st_mode):
            content = path.read_bytes()
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        is_shared = about.st_nlink > 1 and not stat.S_ISDIR(about.st_mode)
        found[short] = (
            stat.filemode(about.st_mode),
            about.st_uid,
            about.st_gid,
            about.st_mtime_ns,
            about.st_rdev,
            content,
            xattrs,
            names.setdefault(about.st_ino, short) if is_shared else b"",
        )
    return found


LAYERS = [
    tar(
        member("etc", tarfile.DIRTYPE, mode=0o755),
        (member("etc/passwd", mode=0o644), b"root:x:0:0\n"),
        member("etc/empty", mode=0o600),
        member("usr", tarfile.DIRTYPE, mode=0o555, mtime=1_500_000_000),
        member("usr/lib", tarfile.DIRTYPE, mode=0o2775),
        member("lib", tarfile.SYMTYPE, linkname="usr/lib"),
        (member("lib/libc.so", mode=0o755), b"\x7fELF" * 100),
        member("usr/lib/libc.so.6", tarfile.LNKTYPE, linkname="usr/lib/libc.so"),
        (member("usr/su", mode=0o4755), b"su"),
        (member("usr/" + "long" * 40, mode=0o644), b"long"),
        (member("usr/caf\udce9\n", mode=0o644), b"odd"),
        member("tmp", tarfile.DIRTYPE, mode=0o1777),
        member("run/pipe", tarfile.FIFOTYPE, mode=0o640),
        member("gone", tarfile.DIRTYPE, mode=0o700),
        (member("gone/a", mode=0o644), b"a"),
        (member("file-then-directory", mode=0o644), b"f"),
        member("directory-then-file", tarfile.DIRTYPE, mode=0o755),
        (member("directory-then-file/x", mode=0o644), b"x"),
        member("opaque", tarfile.DIRTYPE, mode=0o755),
        (member("opaque/old", mode=0o644), b"old"),
        member("dangling", tarfile.SYMTYPE, linkname="/nowhere"),
    ),
    tar(
        (member("etc/passwd", mode=0o640, mtime=1_600_000_001), b"root:x:0:0:root\n"),
        member("etc/.wh.empty"),
        member(".wh.gone"),
        member("file-then-directory", tarfile.DIRTYPE, mode=0o711),
        (member("file-then-directory/in", mode=0o644), b"in"),
        (member("directory-then-file", mode=0o644), b"now a file"),
        member("opaque", tarfile.DIRTYPE, mode=0o750),
        member("opaque/.wh..wh..opq"),
        (member("opaque/new", mode=0o644), b"new"),
        member("hard", tarfile.LNKTYPE, linkname="usr/su"),
        (
            member("times", mode=0o644, pax_headers={"mtime": "1600000000.123456789"}),
            b"nanoseconds",
        ),
    ),
]
