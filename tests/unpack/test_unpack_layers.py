"""Directories that layers are unpacked into, compared with those of umoci."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from trees import LAYERS, describe, member, tar
from wherry.content.cancel import CancelToken
from wherry.content.verify import RawLimit
from wherry.errors import IntegrityError
from wherry.model.digest import Digest
from wherry.testing import build_image, layout_files, write_files
from wherry.unpack.apply import UnpackLimits
from wherry.unpack.entry_filter import EntryFilter
from wherry.unpack.owners import Owners
from wherry.unpack.unpack_layers import PackedLayer, unpack_layers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Peer = Callable[..., str]

IS_ROOT = os.geteuid() == 0


def packed(layer: bytes) -> PackedLayer:
    digest = Digest(f"sha256:{hashlib.sha256(layer).hexdigest()}")
    return PackedLayer(digest, digest, lambda: contextlib.closing(io.BytesIO(layer)), len(layer))


def unpack(
    directory: Path,
    *layers: bytes,
    owners: Owners | None = None,
    limits: UnpackLimits | None = None,
    wanted: EntryFilter | None = None,
) -> list[str]:
    """Unpack layers, and return the warnings."""
    directory.mkdir(exist_ok=True)
    warnings: list[str] = []
    root = os.open(directory, os.O_RDONLY)
    try:
        unpack_layers(
            map(packed, layers),
            root,
            owners or Owners(sets=IS_ROOT),
            wanted or EntryFilter(),
            limits or UnpackLimits(),
            RawLimit(),
            CancelToken(),
            warnings.append,
        )
    finally:
        os.close(root)
    return warnings


def umoci_tree(umoci: Peer, directory: Path, layers: list[bytes], *options: str) -> Path:
    image = build_image(layers, style="oci", compression="gzip")
    write_files(directory / "layout", layout_files({"x": image}))
    tree = directory / "theirs"
    umoci("raw", "unpack", *options, "--image", f"{directory / 'layout'}:x", str(tree))
    return tree


@pytest.mark.peer("umoci")
@pytest.mark.skipif(not IS_ROOT, reason="owners and devices need root")
def test_root_gets_the_tree_of_umoci(tmp_path: Path, umoci: Peer) -> None:
    owned = tar(
        (member("owned", mode=0o644, uid=1000, gid=1001), b"owned"),
        member("null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
        (member("capable", mode=0o755, pax_headers={"SCHILY.xattr.user.k": "v"}), b"c"),
    )
    layers = [*LAYERS, owned]
    assert unpack(tmp_path / "ours", *layers) == []
    theirs = describe(umoci_tree(umoci, tmp_path, layers))
    ours = describe(tmp_path / "ours")
    for name in (b"", b"/run"):  # without an entry their time is that of unpacking
        assert ours.pop(name)[:3] == theirs.pop(name)[:3]
    assert ours == theirs


@pytest.mark.peer("umoci")
def test_rootless_trees_are_those_of_umoci(tmp_path: Path, umoci: Peer) -> None:
    own = tar(
        (member("owned", mode=0o644, uid=1000, gid=0), b"o"), member("d", tarfile.DIRTYPE, gid=5)
    )
    layers = [*LAYERS, own]
    assert unpack(tmp_path / "ours", *layers, owners=Owners(records=True)) == []
    theirs = describe(umoci_tree(umoci, tmp_path, layers, "--rootless"))
    ours = describe(tmp_path / "ours")
    for name in (b"", b"/run"):
        assert ours.pop(name)[:3] == theirs.pop(name)[:3]
    assert ours == theirs


# What is refused, or harmless: nothing outside of the directory may change.

UP = "../" * 30
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
    "attributes of the outside": [
        tar(
            member("l", tarfile.SYMTYPE, linkname="{outside}"),
            member("l/.", tarfile.DIRTYPE, mode=0o777),
        )
    ],
}


# The member that is named where one is refused; the others are harmless.
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
    "loop": "l/x",
    "loop of two": "a/b/c/",
    "long name": "n" * 200,
    "long path": "n/" * 100,
    "newlines": "a\\nb/../../x",
    "hard link to a removed file": "h",
    "size in PAX": "f",
    "path in PAX": "../outside/x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_outside_is_touched(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o751)
    (outside / "secret").write_bytes(b"secret")
    os.utime(outside, (1, 1))
    before = describe(outside)
    layers = [_fill_in(layer, outside) for layer in HOSTILE[name]]
    if name in REFUSED:
        with pytest.raises(IntegrityError) as caught:
            unpack(tmp_path / "root", *layers)
        assert REFUSED[name] in str(caught.value)
    else:
        unpack(tmp_path / "root", *layers)
    assert describe(outside) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["outside", "root"]


def _fill_in(layer: bytes, outside: Path) -> bytes:
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
