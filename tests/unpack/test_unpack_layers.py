"""Directories that layers are unpacked into, compared with those of umoci."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trees import LAYERS, describe, member, tar, tree_layers
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
    keeps_dirlinks: bool = False,
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
            keeps_dirlinks=keeps_dirlinks,
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
    for name in (b"", b"/run"):  # umoci gives them a mode by the umask
        assert ours.pop(name)[1:3] == theirs.pop(name)[1:3]
    assert ours == theirs


@pytest.mark.peer("podman")
@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
def test_the_tree_is_that_of_podman(
    tmp_path: Path, podman: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "layout", layout_files({"x": build_image(LAYERS)}))
    monkeypatch.chdir(tmp_path)  # podman makes a lower-case name of an absolute path
    image = podman("pull", "-q", "oci:layout:x").strip()
    theirs = describe(Path(podman("image", "mount", image).strip()))
    podman("image", "umount", image)
    unpack(tmp_path / "ours", *LAYERS)
    ours = describe(tmp_path / "ours")
    for tree in (ours, theirs):  # podman has a root of its own, and changes times of directories
        del tree[b""]
        for name, about in tree.items():
            tree[name] = (*about[:3], *about[4:]) if str(about[0]).startswith("d") else about
    assert ours == theirs


@pytest.mark.peer("umoci")
@pytest.mark.skipif(not IS_ROOT, reason="extended attributes of all kinds need root")
@pytest.mark.parametrize("keeps", [False, True])
def test_odd_members_give_the_tree_of_umoci(tmp_path: Path, umoci: Peer, *, keeps: bool) -> None:
    layers = tree_layers()
    assert unpack(tmp_path / "ours", *layers, keeps_dirlinks=keeps) == []
    options = ("--keep-dirlinks",) if keeps else ()
    theirs = describe(umoci_tree(umoci, tmp_path, layers, *options))
    ours = describe(tmp_path / "ours")
    assert ours.pop(b"")[:3] == theirs.pop(b"")[:3]
    assert ours == theirs
    assert ours[b"/acl/later"][6] == {}


def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    layers, content = [], bytearray(10 * 2**20)
    with (tmp_path / "s").open("wb") as file:
        file.truncate(len(content))
        for at in range(0, len(content), 2**19):
            file.seek(at)
            file.write(b"x" * 4096)
            content[at : at + 4096] = b"x" * 4096
    for version in (None, "0.0", "0.1", "1.0"):
        form = ["--format=posix", f"--sparse-version={version}"] if version else ["--format=gnu"]
        command = ["tar", "-C", str(tmp_path), "-cS", *form, f"--transform=s/s/{version}/", "s"]
        layers.append(subprocess.run(command, capture_output=True, check=True).stdout)
    unpack(tmp_path / "root", *layers)
    found = list((tmp_path / "root").iterdir())
    assert len(found) == len(layers)
    for path in found:
        assert path.read_bytes() == content, path
        assert path.stat().st_blocks * 512 < len(content) // 4, path


# What is refused, or harmless: nothing outside of the directory may change.

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
