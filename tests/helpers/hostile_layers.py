"""Layers that try to reach what is outside of the directory they are unpacked into."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from trees import member, tar

if TYPE_CHECKING:
    from pathlib import Path

UP = "../" * 30
MANY = "9" * 18
SPARSE = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "9"}
OVERLAP = {"GNU.sparse.map": "0,4,2,4"}
TRUSTED = {"SCHILY.xattr.trusted.k": "v"}
HOSTILE: dict[str, list[bytes]] = {
    "dots": [tar((member("../outside/x"), b"x"))],
    "dots inside": [tar((member("a/../../outside/x"), b"x"))],
    "many dots": [tar((member(UP + "tmp/x"), b"x"))],
    "absolute": [tar((member("/outside/x"), b"x"))],
    "link out": [tar(member("l", tarfile.SYMTYPE, linkname="../outside"), (member("l/x"), b"x"))],
    "absolute link": [
        tar(member("l", tarfile.SYMTYPE, linkname="{outside}"), (member("l/x"), b"x"))
    ],
    "links to links": [
        tar(
            member("a", tarfile.SYMTYPE, linkname=".."),
            member("b", tarfile.SYMTYPE, linkname="a/../outside"),
            (member("b/x"), b"x"),
        )
    ],
    "link in a lower layer": [
        tar(member("l", tarfile.SYMTYPE, linkname="{outside}")),
        tar((member("l/secret"), b"x")),
    ],
    "whiteout through a link": [
        tar(member("l", tarfile.SYMTYPE, linkname="{outside}")),
        tar(member("l/.wh.secret")),
    ],
    "opaque through a link": [
        tar(member("l", tarfile.SYMTYPE, linkname="../outside")),
        tar(member("l/.wh..wh..opq")),
    ],
    "whiteout of dots": [tar(member(".wh..."))],
    "whiteout of a dot": [tar(member("a/.wh.."))],
    "whiteout of nothing": [tar(member(".wh."))],
    "whiteout above": [tar(member("../outside/.wh.secret"))],
    "hard link out": [
        tar(member("h", tarfile.LNKTYPE, linkname="../outside/secret"), (member("h"), b"x"))
    ],
    "absolute hard link": [tar(member("h", tarfile.LNKTYPE, linkname="{outside}/secret"))],
    "hard link through a link": [
        tar(
            member("l", tarfile.SYMTYPE, linkname="{outside}"),
            member("h", tarfile.LNKTYPE, linkname="l/secret"),
        )
    ],
    "hard link to a link": [
        tar(
            member("l", tarfile.SYMTYPE, linkname="{outside}/secret"),
            member("h", tarfile.LNKTYPE, linkname="l"),
            (member("h"), b"x"),
        )
    ],
    "file over a link": [
        tar(member("l", tarfile.SYMTYPE, linkname="{outside}/secret"), (member("l"), b"x"))
    ],
    "fifo over a link": [
        tar(member("l", tarfile.SYMTYPE, linkname="{outside}/x"), member("l", tarfile.FIFOTYPE))
    ],
    "directory over a link": [
        tar(member("l", tarfile.SYMTYPE, linkname="{outside}"), member("l", tarfile.DIRTYPE))
    ],
    "directory swapped for a link": [
        tar(
            member("d", tarfile.DIRTYPE, mode=0o755),
            (member("d/a"), b"a"),
            member("d", tarfile.SYMTYPE, linkname="{outside}"),
            (member("d/secret"), b"x"),
        )
    ],
    "root as a link": [tar(member(".", tarfile.SYMTYPE, linkname="{outside}"))],
    "root as a file": [tar((member("./"), b"x"))],
    "loop": [tar(member("l", tarfile.SYMTYPE, linkname="l"), (member("l/x"), b"x"))],
    "loop of two": [
        tar(
            member("a", tarfile.SYMTYPE, linkname="b"),
            member("b", tarfile.SYMTYPE, linkname="a"),
            member("a/b/c", tarfile.DIRTYPE),
        )
    ],
    "long name": [tar((member("n" * 300), b"x"))],
    "long path": [tar((member("n/" * 3000 + "x"), b"x"))],
    "deep and removed": [tar((member("n/" * 2000 + "x"), b"x")), tar(member(".wh.n"))],
    "newlines": [tar((member("a\nb"), b"x"), member("a\nb/../../x"))],
    "device of the disk": [tar(member("sda", tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666))],
    "setuid directory": [tar(member("d", tarfile.DIRTYPE, mode=0o7777))],
    "case": [tar(member("A", tarfile.SYMTYPE, linkname="{outside}"), (member("a/x"), b"x"))],
    "hard link to a removed file": [
        tar((member("f"), b"f")),
        tar(member(".wh.f"), member("h", tarfile.LNKTYPE, linkname="f")),
    ],
    "size in PAX": [tar((member("f", pax_headers={"size": "99999999999"}), b"x"))],
    "path in PAX": [tar((member("f", pax_headers={"path": "../outside/x"}), b"x"))],
    "link in PAX": [
        tar(
            member("l", tarfile.SYMTYPE, linkname="ok", pax_headers={"linkpath": "../outside"}),
            (member("l/x"), b"x"),
        )
    ],
    "whiteout that is a directory": [
        tar(member("x/y")),
        tar(member(".wh.x/.", tarfile.DIRTYPE), member("../.wh.outside/", tarfile.DIRTYPE)),
    ],
    "metadata of aufs": [tar(member(".wh..wh.plnk/../../outside/x"))],
    "opaque root": [tar(member("x")), tar(member("./.wh..wh..opq"), member("/.wh..wh..opq"))],
    "opaque above": [tar(member("../outside/.wh..wh..opq"))],
    "name of a sparse file": [
        tar(member("f", pax_headers=SPARSE | {"GNU.sparse.name": "../outside/x"}))
    ],
    "sparse file without end": [tar(member("f", pax_headers=SPARSE | {"GNU.sparse.size": MANY}))],
    "holes that overlap": [tar((member("f", pax_headers=SPARSE | OVERLAP), b"x" * 8))],
    "owner without a number": [tar(member("f", pax_headers={"uid": MANY}))],
    "owner that means no change": [tar(member("f", pax_headers={"uid": f"{2**32 - 1}"}))],
    "time without end": [tar(member("f", pax_headers={"mtime": MANY}))],
    "attribute with a NUL": [tar(member("f", pax_headers={"SCHILY.xattr.user.a\0b": "v"}))],
    "attribute of the system": [
        tar(member("f", pax_headers={"SCHILY.xattr.system.posix_acl_access": "v"}))
    ],
    "attribute with a long name": [
        tar(member("f", pax_headers={"SCHILY.xattr.user." + "k" * 300: "v"}))
    ],
    "attribute that is too long": [
        tar(member("f", pax_headers={"SCHILY.xattr.user.k": "v" * 70_000}))
    ],
    "attributes of a link": [
        tar(
            member("l", tarfile.SYMTYPE, linkname="{outside}"),
            member("l", tarfile.SYMTYPE, linkname="../outside", pax_headers=TRUSTED),
        )
    ],
    "chain of hard links": [
        tar(
            (member("0"), b"x"),
            *(member(f"{n + 1}", tarfile.LNKTYPE, linkname=f"{n}") for n in range(200)),
            member("l", tarfile.SYMTYPE, linkname="../outside"),
            member("201", tarfile.LNKTYPE, linkname="l/secret"),
        )
    ],
    "chain of links": [
        tar(
            member("0", tarfile.SYMTYPE, linkname="../outside"),
            *(member(f"{n + 1}", tarfile.SYMTYPE, linkname=f"{n}/..") for n in range(60)),
            (member("60/x"), b"x"),
        )
    ],
    "device of a number without end": [tar(member("d", tarfile.CHRTYPE, devmajor=4104))],
    "device on the way": [
        tar(member("d", tarfile.CHRTYPE, devmajor=1, devminor=3), (member("d/x"), b"x"))
    ],
    "fifo on the way": [tar(member("d", tarfile.FIFOTYPE), (member("d/x"), b"x"))],
    "hard link to a fifo": [
        tar(member("p", tarfile.FIFOTYPE), member("h", tarfile.LNKTYPE, linkname="p"), member("h"))
    ],
    "swapped again and again": [
        tar(
            *(
                each
                for _ in range(20)
                for each in (
                    member("d", tarfile.SYMTYPE, linkname="{outside}"),
                    member("d", tarfile.DIRTYPE, mode=0o755),
                    (member("d/secret"), b"x"),
                )
            )
        )
    ],
    "attributes of the outside": [
        tar(
            member("l", tarfile.SYMTYPE, linkname="{outside}"),
            member("l/.", tarfile.DIRTYPE, mode=0o777),
        )
    ],
}


# The members that are refused, and named; the layers that are not here are harmless.
REFUSED = {
    "dots": "../outside/x",
    "dots inside": "a/../../outside/x",
    "many dots": UP + "tmp/x",
    "whiteout of dots": ".wh...",
    "whiteout of a dot": "a/.wh..",
    "whiteout of nothing": ".wh.",
    "whiteout above": "../outside/.wh.secret",
    "hard link out": "h",
    "absolute hard link": "h",
    "hard link through a link": "h",
    "root as a link": ".",
    "root as a file": "./",
    "loop": "l/x",
    "loop of two": "a/b/c/",
    "long name": "n" * 200,
    "long path": "n/" * 100,
    "newlines": "a\\nb/../../x",
    "hard link to a removed file": "h",
    "size in PAX": "f",
    "whiteout that is a directory": "../.wh.outside/",
    "metadata of aufs": ".wh..wh.plnk/../../outside/x",
    "opaque above": "../outside/.wh..wh..opq",
    "name of a sparse file": "../outside/x",
    "sparse file without end": "f",
    "holes that overlap": "f",
    "owner without a number": "f",
    "owner that means no change": "f",
    "attribute with a NUL": "f",
    "chain of hard links": "201",
    "chain of links": "60/x",
    "device of a number without end": "d",
    "path in PAX": "../outside/x",
}


def fill_in(layer: bytes, outside: Path) -> bytes:
    """Put the path of a directory in the place of ``{outside}`` in the links of a tar."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(layer)) as source,
        tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        if b"{outside}" not in layer:
            return layer
        for each in source:
            each.linkname = each.linkname.replace("{outside}", str(outside))
            each.pax_headers = {}
            target.addfile(each, source.extractfile(each) if each.isreg() else None)
    return made.getvalue()
