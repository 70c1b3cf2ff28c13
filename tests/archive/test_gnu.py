"""Members that engines do not unpack: converted or refused."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.archive.gnu import ConvertedTar
from wherry.archive.tar_stream import TarStream
from wherry.content.cancel import CancelToken
from wherry.errors import IntegrityError, Unsupported
from wherry.testing import compress, sha256, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client

pytestmark = pytest.mark.peer("tar")
FORMATS = {
    "gnu": ["--format=gnu"],
    "oldgnu": ["--format=oldgnu"],
    "pax 0.0": ["--format=pax", "--sparse-version=0.0"],
    "pax 0.1": ["--format=pax", "--sparse-version=0.1"],
    "pax 1.0": ["--format=pax", "--sparse-version=1.0"],
}
LONG = "d" * 90 + "/" + "n" * 90


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files with holes: none, at the end, at the beginning, many, nothing else; and others."""
    root = tmp_path / "tree"
    (root / "sub" / ("d" * 90)).mkdir(parents=True)
    (root / "sub" / "plain").write_bytes(b"plain")
    (root / "link").symlink_to("sub/plain")
    os.link(root / "sub" / "plain", root / "hard")
    for name, places in {
        "many": range(40),  # more than a header has room for
        "beginning": [9],
        f"sub/{LONG}": [1, 3],
        "ö": [2],
    }.items():
        with (root / name).open("wb") as file:
            for place in places:
                file.seek(place * 100_000)
                file.write(b"x" * 5000)
    with (root / "end").open("wb") as file:
        file.write(b"y" * 5000)
        file.truncate(300_123)
    with (root / "nothing").open("wb") as file:
        file.truncate(1_000_000)
    return root


def tar(tree: Path, *options: str | Path, names: str = ".") -> bytes:
    return subprocess.check_output(["tar", "-C", tree, *options, "-cf", "-", names])


def kinds(data: bytes) -> set[bytes]:
    """Return the types of all headers of a tar, extended ones included."""
    found, at = set(), 0
    while any(block := data[at : at + 512]):
        found.add(block[156:157])
        size = int(block[124:135].rstrip(b"\0 ") or b"0", 8)
        alone = block[156:157] in {b"1", b"2", b"3", b"4", b"5", b"6"}
        at += 512 + (0 if alone else -(-size // 512) * 512)
    return found


def stored(image: wherry.Image) -> bytes:
    return image.layers[0].open().read()


def files(root: Path) -> dict[str, bytes | str | None]:
    """Return the files, the targets of links and the directories below a directory."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def unpacked(data: bytes, place: Path) -> dict[str, bytes | str | None]:
    place.mkdir()
    subprocess.run(["tar", "-C", place, "-xf", "-"], input=data, check=True)
    return files(place)


@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("how", ["none", "gzip"])
def test_sparse_files_become_whole_ones(
    client: Client, tree: Path, tmp_path: Path, options: list[str], how: str
) -> None:
    data = tar(tree, *options, "-S")
    assert len(data) < 1_000_000
    events: list[wherry.Event] = []
    image = client.import_(io.BytesIO(compress(data, how)), "t", on_event=events.append)
    made = stored(image)
    assert kinds(made) <= {b"0", b"1", b"2", b"5", b"L", b"x"}
    assert b"GNU.sparse" not in made
    assert unpacked(made, tmp_path / "out") == files(tree)
    with tarfile.open(fileobj=io.BytesIO(made)) as found:
        assert all(not member.issparse() for member in found)
        assert {member.uid for member in found} == {tree.stat().st_uid}
    (warning,) = [event.message for event in events if event.status is wherry.Status.WARNING]
    assert "sparse file (6)" in warning
    report = client.validate(f"store:{image.id}")
    assert report.findings == []


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "ustar"])
def test_a_tar_without_such_members_is_kept(client: Client, tree: Path, form: str) -> None:
    data = tar(tree, f"--format={form}", names="end")
    image = client.import_(io.BytesIO(data))
    assert [str(diff_id) for diff_id in image.config.diff_ids] == [sha256(data)]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_an_incremental_archive(client: Client, tree: Path, tmp_path: Path, form: str) -> None:
    data = tar(tree, f"--format={form}", "-g", tmp_path / "state")
    made = stored(client.import_(io.BytesIO(data)))
    assert kinds(made) <= {b"0", b"1", b"2", b"5", b"L", b"x"}
    assert unpacked(made, tmp_path / "out") == files(tree)
    (tree / "new").write_bytes(b"new")
    data = tar(tree, f"--format={form}", "-g", tmp_path / "state")
    made = stored(client.import_(io.BytesIO(data)))
    found = unpacked(made, tmp_path / "second")
    assert {name for name, content in found.items() if content is not None} == {"new"}


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax"])
def test_a_volume_label_is_left_out(client: Client, tree: Path, tmp_path: Path, form: str) -> None:
    data = tar(tree, f"--format={form}", "-S", "-V", "a label")
    made = stored(client.import_(io.BytesIO(data)))
    assert kinds(made) <= {b"0", b"1", b"2", b"5", b"L", b"x"}
    assert b"a label" not in made
    assert unpacked(made, tmp_path / "out") == files(tree)


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_parts_of_an_archive_of_several_volumes(
    client: Client, wherry: Wherry, tree: Path, tmp_path: Path, form: str
) -> None:
    (tree / "random").write_bytes(os.urandom(40_000))
    volumes = [tmp_path / f"volume{number}" for number in range(1, 7)]
    named = [option for volume in volumes for option in ("-f", volume)]
    command = ["tar", "-C", tree, f"--format={form}", "-M", "-L", "20", "-c", *named, "random"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    for volume in [volume for volume in volumes if volume.exists()][1:]:
        done = wherry("import", str(volume))
        assert (done.returncode, done.stdout) == (1, "")
        first, hint = done.stderr.splitlines()
        says = "random: its beginning is in another volume of the archive"
        assert first == f"wherry: {volume}: {says}"
        assert "tar -M" in hint
    with pytest.raises(IntegrityError, match="cut off"):
        client.import_(volumes[0])
    assert client.store.images() == []


def header(name: str, kind: bytes, size: int = 0) -> bytes:
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, size
    return made.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [b"A", b"I", b"N", b"M", b"Z", b"8", b"!"])
def test_members_that_engines_do_not_unpack_are_refused_by_name(
    client: Client, kind: bytes
) -> None:
    data = tar_layer({"a": b"a"})[:1024] + header("odd/member", kind) + bytes(1024)
    with pytest.raises(Unsupported, match=r"^the stream: odd/member: "):
        client.import_(io.BytesIO(data))
    assert client.store.images() == []


def test_other_members_that_are_converted(client: Client, tmp_path: Path) -> None:
    record = b"13 path=name\n"
    data = header("contiguous", b"7", 5) + b"12345".ljust(512, b"\0")
    data += header("x", b"X", len(record)) + record.ljust(512, b"\0")
    data += header("other", b"0", 3) + b"abc".ljust(512, b"\0") + bytes(1024)
    made = stored(client.import_(io.BytesIO(data)))
    assert kinds(made) == {b"0", b"x"}
    assert unpacked(made, tmp_path / "out") == {"contiguous": b"12345", "name": b"abc"}


def test_a_global_header_of_git_is_kept(client: Client) -> None:
    record = b"52 comment=0123456789012345678901234567890123456789\n"
    data = header("pax_global_header", b"g", len(record)) + record.ljust(512, b"\0")
    data += tar_layer({"a": b"a"})
    image = client.import_(io.BytesIO(data))
    assert stored(image) == data


def test_holes_have_a_bound(client: Client, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "lastlog").open("wb") as file:
        file.truncate(2**38)
    for options in FORMATS.values():
        data = tar(tmp_path / "tree", *options, "-S")
        with pytest.raises(Unsupported, match=r"lastlog: a sparse file of 274,877,906,944 bytes"):
            client.import_(io.BytesIO(data))


@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
def test_maps_that_are_damaged(tree: Path, options: list[str]) -> None:
    """After a change of any header byte: an error, or a tar of limited size."""
    data = tar(tree, *options, "-S", names="end")
    limit = 2**22
    for at in [*range(0, 512 * 4, 7), *range(380, 512)]:
        changed = bytearray(data)
        changed[at] ^= 5
        for start in range(0, 512 * 5, 512):  # the checksums hold
            block = changed[start : start + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                changed[start + 148 : start + 156] = b"%06o\0 " % sum(block)
        source = ConvertedTar(TarStream(io.BytesIO(bytes(changed)), CancelToken()), limit)
        buffer, total = bytearray(65536), 0
        try:
            while count := source.readinto(buffer):
                total += count
        except (IntegrityError, Unsupported):
            continue
        assert total < limit + 65536


@pytest.mark.timeout(60)
def test_a_map_of_one_endless_line(client: Client) -> None:
    """Joining the line block by block would take minutes, and all memory."""
    content = b"1" * 2**25
    records = (b"22 GNU.sparse.major=1\n", b"22 GNU.sparse.minor=0\n")
    pax = b"".join([*records, b"28 GNU.sparse.realsize=9999\n"])
    data = header("pax", b"x", len(pax)) + pax.ljust(512, b"\0")
    data += header("f", b"0", len(content)) + content
    with pytest.raises(IntegrityError, match="map of a sparse file is damaged"):
        client.import_(io.BytesIO(data))
