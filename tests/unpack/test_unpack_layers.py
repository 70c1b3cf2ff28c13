"""Directories that layers are unpacked into, compared with those of umoci."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from hostile_layers import HOSTILE, REFUSED, fill_in
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


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_outside_is_touched(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o751)
    (outside / "secret").write_bytes(b"secret")
    os.utime(outside, (1, 1))
    before = describe(outside)
    layers = [fill_in(layer, outside) for layer in HOSTILE[name]]
    if name in REFUSED:
        with pytest.raises(IntegrityError) as caught:
            unpack(tmp_path / "root", *layers)
        assert REFUSED[name] in str(caught.value)
    else:
        unpack(tmp_path / "root", *layers)
    assert describe(outside) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["outside", "root"]
