"""Layers for tests of unpacking, and what a file system says about a tree."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

Tree: TypeAlias = dict[bytes, tuple[object, ...]]  # for each path what FIELDS names
FIELDS = ("mode", "uid", "gid", "time", "device", "content", "xattrs", "link")


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


def describe(root: Path) -> Tree:
    """Return all that a file system says about each file below a directory."""
    found: Tree = {}
    names: dict[int, bytes] = {}
    for path in [root, *sorted(root.rglob("*"), key=os.fsencode)]:
        about = path.lstat()
        short = os.fsencode(path)[len(os.fsencode(root)) :]
        content = b""
        if stat.S_ISLNK(about.st_mode):
            content = os.fsencode(path.readlink())
        elif stat.S_ISREG(about.st_mode):
            content = path.read_bytes() if os.access(path, os.R_OK) else b""
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
        member("usr/lib/libc.so.6", tarfile.LNKTYPE, linkname="usr/lib/libc.so", mode=0o755),
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
        member("hard", tarfile.LNKTYPE, linkname="usr/su", mode=0o4755),
        (
            member("times", mode=0o644, pax_headers={"mtime": "1600000000.123456789"}),
            b"nanoseconds",
        ),
    ),
]


def acl(owner: int, named: int, mask: int, others: int = 0) -> str:
    """Return an access control list of Linux that names the user 1234, as a value of PAX."""
    nobody = 2**32 - 1
    rights = (
        (1, owner, nobody),
        (2, named, 1234),
        (4, 5, nobody),
        (16, mask, nobody),
        (32, others, nobody),
    )
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in rights)
    return data.decode("utf-8", "surrogateescape")


def xattrs(**values: str) -> dict[str, str]:
    """Return PAX records of extended attributes; ``__`` stands for a dot."""
    return {f"SCHILY.xattr.{key.replace('__', '.')}": value for key, value in values.items()}


def with_size(data: bytes, name: str, size: int) -> bytes:
    """Change the size in the header of a member."""
    at, made = data.index(name.encode().ljust(100, b"\0")), bytearray(data)
    made[at + 124 : at + 136] = b"%011o\0" % size
    made[at + 148 : at + 156] = b" " * 8
    made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])
    return bytes(made)


def tree_layers() -> list[bytes]:
    """Return layers with members that are easily unpacked in a wrong way; they need root."""
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0).decode()
    directory = tarfile.DIRTYPE
    both = xattrs(trusted__a="v", user__b="w")
    lower = tar(
        member(
            "acl", directory, mode=0o775, pax_headers=xattrs(system__posix_acl_default=acl(7, 7, 7))
        ),
        (member("acl/file", mode=0o640), b"f"),
        member("acl/sub", directory, mode=0o755),
        (
            member("listed", mode=0o640, pax_headers=xattrs(system__posix_acl_access=acl(6, 4, 4))),
            b"l",
        ),
        (member("both", mode=0o644, pax_headers=both), b"b"),
        member("changed", directory, mode=0o755, pax_headers=both),
        (
            member(
                "able",
                mode=0o4755,
                uid=5,
                gid=6,
                pax_headers=xattrs(security__capability=capability),
            ),
            b"c",
        ),
        member("link", tarfile.SYMTYPE, linkname="both", pax_headers=xattrs(trusted__l="v")),
        member("pipe", tarfile.FIFOTYPE, mode=0o600, pax_headers=xattrs(trusted__l="v")),
        member("swapped", directory, mode=0o755),
        (member("swapped/a", mode=0o644), b"a"),
        member("target", directory, mode=0o755),
        (member("n" * 255, mode=0o644), b"n"),
        (member("\udcff\udcfe", mode=0o644), b"n"),
        member("\u00e9" * 127, tarfile.SYMTYPE, linkname="t/" * 1000),
        member("closed", directory, mode=0o555),
        (member("closed/f", mode=0o444), b"f"),
        (member("hidden", mode=0o644), b"x"),
        member("set", directory, mode=0o7777, uid=9, gid=9),
        (member("set/f", mode=0o6755, uid=9, gid=9), b"f"),
        (member("old", mode=0o644, pax_headers={"mtime": "-5.25"}), b"f"),
        member("old link", tarfile.SYMTYPE, linkname="x", pax_headers={"mtime": "-5.25"}),
        (member("linked", mode=0o644), b"l"),
    )
    middle = tar(
        (member("acl/later", mode=0o600), b"l"),
        member("acl/fifo", tarfile.FIFOTYPE, mode=0o600),
        member("changed", directory, mode=0o700, pax_headers=xattrs(user__c="w")),
        member("swapped", tarfile.SYMTYPE, linkname="target"),
        (member("swapped/b", mode=0o600), b"b"),
        member("closed/.wh.f"),
        (member("closed/g", mode=0o400), b"g"),
        member(".wh.hidden", directory),
        member(
            "hard",
            tarfile.LNKTYPE,
            linkname="linked",
            mode=0o4711,
            uid=7,
            mtime=5,
            pax_headers=both,
        ),
        member("sized", directory, mode=0o755),
        (member("after", mode=0o644), b"a"),
    )
    upper = tar(
        member("swapped", directory, mode=0o711),
        (member("swapped/c", mode=0o600), b"c"),
        (member("linked", mode=0o600), b"new"),
    )
    return [lower, with_size(middle, "sized/", 512), upper]
