"""Images that are easily unpacked in a wrong way, as their layers."""

from __future__ import annotations

import tarfile

from trees import LAYERS, member, tar, tree_layers, xattrs

_DIRECTORY, _FIFO = tarfile.DIRTYPE, tarfile.FIFOTYPE
_LINK, _HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


def _file(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.REGTYPE, **fields), content


def _sparse() -> bytes:
    """Return a layer with sparse files in the forms 0.1 and 1.0 of PAX."""
    size, end = {"GNU.sparse.size": "300003", "GNU.sparse.numblocks": "1"}, b"end"
    pairs = {"GNU.sparse.map": "300000,3", "GNU.sparse.name": "pairs"}
    version = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "300003"}
    return tar(
        _file("holes", b"1\n300000\n3\n".ljust(512, b"\0") + end, pax_headers=version),
        _file(
            "GNUSparseFile.0/pairs", end, pax_headers=size | pairs | {"GNU.sparse.numblocks": "1"}
        ),
    )


CACHED = [
    *LAYERS,
    tar(
        member("owned", _DIRECTORY, mode=0o755, uid=7, gid=8),
        _file("owned/file", b"owned", mode=0o640, uid=7, gid=8),
        member("owned/link", _LINK, linkname="file", uid=7),
        _file("user", b"c", pax_headers=xattrs(user__k="v\udcff")),
        _file("writable", b"w" * 70_000, mode=0o666),
        member("below", _HARD, linkname="etc/passwd"),
    ),
    tar(_file("usr/su", b"new su", mode=0o4711), member(".wh.writable")),
]
IMAGES: dict[str, list[bytes]] = {
    "usual": LAYERS,
    "cached": CACHED,
    "odd": tree_layers(),
    "attributes": tree_layers()[:1],
    "owners": [
        tar(
            member(".", _DIRECTORY, mode=0o711, uid=3, gid=4),
            _file("file", mode=0o6711, uid=1000, gid=1001),
            member("directory", _DIRECTORY, mode=0o2755, uid=3, gid=4),
            member("link", _LINK, linkname="file", uid=8, gid=9),
            member("pipe", _FIFO, mode=0o640, uid=5, gid=6),
        )
    ],
    "devices": [
        tar(
            member("null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
            member("disk", tarfile.BLKTYPE, mode=0o660, gid=6, devmajor=8, devminor=1),
        )
    ],
    "opaque": [
        tar(
            member("before", _DIRECTORY, mode=0o755),
            _file("before/old"),
            _file("before/sub/old"),
            _file("after/old"),
            _file("after/kept"),
            _file("only/old"),
        ),
        tar(
            member("before/.wh..wh..opq"),
            member("before", _DIRECTORY, mode=0o750),
            _file("before/sub/new"),
            _file("after/new"),
            _file("after/kept", b"again"),
            member("after/.wh..wh..opq"),
            member("only/.wh..wh..opq"),
        ),
    ],
    "links": [
        tar(
            _file("removed"),
            member("second", _HARD, linkname="removed"),
            _file("kept", mode=0o600),
            member("alias", _HARD, linkname="kept", mode=0o600),
            member("link", _LINK, linkname="removed"),
            member("link again", _HARD, linkname="link"),
        ),
        tar(
            member("third", _HARD, linkname="removed"),
            member(".wh.removed"),
            _file("kept", b"new"),
        ),
        tar(
            member("new/directory/fourth", _HARD, linkname="second"),
            member(".wh.second"),
            member("alias of alias", _HARD, linkname="alias"),
        ),
    ],
    "swaps": [
        tar(
            member("target", _DIRECTORY, mode=0o755),
            _file("target/in"),
            member("directory to link", _DIRECTORY, mode=0o755),
            _file("directory to link/x"),
            member("link to directory", _LINK, linkname="target"),
            _file("file to directory"),
            _file("directory to file/x"),
            _file("file to link"),
            member("link to file", _LINK, linkname="target/in"),
            member("pipe to file", _FIFO),
            _file("removed and back"),
        ),
        tar(
            member("directory to link", _LINK, linkname="target"),
            _file("directory to link/y"),
            member("link to directory", _DIRECTORY, mode=0o711),
            _file("link to directory/z"),
            member("file to directory", _DIRECTORY, mode=0o755),
            _file("file to directory/x"),
            _file("directory to file", b"now"),
            member("file to link", _LINK, linkname="target"),
            _file("link to file", b"file"),
            _file("pipe to file", b"file"),
            member(".wh.removed and back"),
        ),
        tar(_file("removed and back", b"back", mode=0o755)),
    ],
    "sparse": [_sparse()],
    "names": [
        tar(
            _file("a/" + "long" * 60 + "/" + "b" * 200),
            _file("caf\udce9\n"),
            _file("\u00e9t\u00e9 \\"),
            _file(" "),
            member("link", _LINK, linkname="t/" * 200),
            _file("times", pax_headers={"mtime": "1600000000.123456789"}),
        )
    ],
}
