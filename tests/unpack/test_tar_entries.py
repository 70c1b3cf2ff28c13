"""Entries of layers, as tars of other tools have them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import IntegrityError, UnsafeArchive, Unsupported
from wherry.unpack.entry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Entry,
    Extent,
)
from wherry.unpack.layer_reader import LayerReader
from wherry.unpack.tar_entries import MAX_EXTENDED, read_entries

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    tarfile.REGTYPE: FILE,
    tarfile.AREGTYPE: FILE,
    tarfile.CONTTYPE: FILE,
    tarfile.DIRTYPE: DIRECTORY,
    tarfile.SYMTYPE: SYMLINK,
    tarfile.LNKTYPE: HARDLINK,
    tarfile.CHRTYPE: CHARACTER,
    tarfile.BLKTYPE: BLOCK_DEVICE,
    tarfile.FIFOTYPE: FIFO,
}


def reader(data: bytes, piece: int = 4096) -> LayerReader:
    source = io.BytesIO(data)
    return LayerReader(lambda: memoryview(source.read(piece)))


def read(data: bytes, piece: int = 4096) -> list[tuple[Entry, bytes]]:
    layer = reader(data, piece)
    return [
        (entry, b"".join(map(bytes, layer.content(entry.stored)))) for entry in read_entries(layer)
    ]


def tar(*members: tarfile.TarInfo, style: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style, errors="surrogateescape") as made:
        for each in members:
            made.addfile(each, io.BytesIO(bytes(each.size)))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
NAMES = st.one_of(TEXT, st.integers(90, 300).map(lambda count: "n" * count))
MEMBERS = st.builds(
    member,
    NAMES.map(lambda name: name.rstrip("/") or "x"),
    st.sampled_from(sorted(KINDS)),
    linkname=NAMES,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(2**33), 2**40),
    devmajor=st.integers(0, 4095),
    devminor=st.integers(0, 2**20 - 1),
)


@given(
    st.lists(MEMBERS, max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from([100, 512, 700, 65536]),
)
def test_entries_are_those_of_tarfile(
    members: list[tarfile.TarInfo], style: int, piece: int
) -> None:
    found = [entry for entry, _ in read(tar(*members, style=style), piece)]
    assert (
        [
            (
                each.name.decode().rstrip("/"),  # those of directories end with a slash
                each.kind,
                each.attributes[:4],
                each.link.decode() if each.kind in {SYMLINK, HARDLINK} else "",
            )
            for each in found
        ]
        == [
            (
                each.name,
                KINDS[each.type],
                (each.mode, each.uid, each.gid, int(each.mtime) * 10**9),
                each.linkname if each.type in {tarfile.SYMTYPE, tarfile.LNKTYPE} else "",
            )
            for each in members
        ]
    )


def test_names_need_not_be_text() -> None:
    name = b"caf\xe9 \xff\n".decode("utf-8", "surrogateescape")
    assert [entry.name for entry, _ in read(tar(member(name), style=tarfile.GNU_FORMAT))] == [
        b"caf\xe9 \xff\n"
    ]


def test_content_and_times_and_xattrs() -> None:
    pax = {"mtime": "1700000000.123456789", "SCHILY.xattr.user.k": "v=1", "comment": "no"}
    info = member("f", size=700, pax_headers=pax)
    [(entry, content)] = read(tar(info))
    assert content == bytes(700)
    assert (entry.size, entry.stored) == (700, 700)
    assert entry.attributes.mtime == 1700000000_123456789
    assert entry.attributes.xattrs == {b"user.k": b"v=1"}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1.5", 1_500_000_000),
        ("-1.5", -1_500_000_000),
        ("0.1234567899", 123456789),
        ("7.", 7 * 10**9),
    ],
)
def test_times_have_any_fraction(text: str, time: int) -> None:
    [(entry, _)] = read(tar(member("f", pax_headers={"mtime": text})))
    assert entry.attributes.mtime == time


def test_directories_of_old_tars_end_with_a_slash() -> None:
    data = bytearray(tar(member("d"), style=tarfile.USTAR_FORMAT))
    data[0:2] = b"d/"
    data[156] = 0
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert [entry.kind for entry, _ in read(bytes(data))] == [DIRECTORY]


def test_a_file_may_end_with_a_slash() -> None:
    data = damaged(tar(member("d"), style=tarfile.USTAR_FORMAT), 0, b"d/")
    assert [(entry.name, entry.kind) for entry, _ in read(data)] == [(b"d/", FILE)]


def test_directories_have_no_content() -> None:
    data = damaged(PLAIN, 156, b"5")[:512] + PLAIN
    assert [(entry.kind, entry.stored) for entry, _ in read(data)] == [(DIRECTORY, 0), (FILE, 600)]


def test_empty_records_leave_what_the_header_has() -> None:
    pax = dict.fromkeys(("uid", "gid", "size", "mtime", "path"), "")
    info = member("f", uid=5, gid=6, mtime=7, size=8)
    info.pax_headers = pax
    [(entry, content)] = read(tar(info))
    assert (entry.name, entry.attributes[1:4], len(content)) == (b"f", (5, 6, 7 * 10**9), 8)


def test_links_and_devices_have_no_content() -> None:
    [(first, _), (second, _)] = read(
        tar(member("l", tarfile.SYMTYPE, linkname="t"), member("f", size=1))
    )
    assert (first.stored, second.name) == (0, b"f")


@pytest.mark.parametrize(
    "style",
    [
        "gnu",
        "posix --sparse-version=0.0",
        "posix --sparse-version=0.1",
        "posix --sparse-version=1.0",
    ],
)
def test_sparse_files(tmp_path: Path, style: str) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for at in range(0, 64 * 2**16, 2 * 2**16):
            file.seek(at)
            file.write(b"x" * 4096)
        file.truncate(10 * 2**20)
    form, *more = style.split()
    command = ["tar", "-C", str(tmp_path), "-cS", f"--format={form}", *more, "sparse"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    [(entry, content)] = read(data)
    assert (entry.name, entry.kind, entry.size) == (b"sparse", FILE, 10 * 2**20)
    assert entry.extents is not None
    stored = [extent for extent in entry.extents if extent.size]
    assert stored == [Extent(at, 4096) for at in range(0, 64 * 2**16, 2 * 2**16)]
    assert content[: 4096 * len(stored)] == b"x" * 4096 * len(stored)


def damaged(data: bytes, at: int, value: bytes, *, fixed: bool = True) -> bytes:
    made = bytearray(data)
    made[at : at + len(value)] = value
    if fixed:
        made[148:156] = b" " * 8
        made[148:156] = b"%06o\0 " % sum(made[:512])
    return bytes(made)


PLAIN = tar(member("f", size=600), style=tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (PLAIN[:700], "cut off"),
        (PLAIN[: 512 + 599], "cut off"),
        (PLAIN[:300], "cut off"),
        (b"no tar at all".ljust(1024, b"."), "octal"),
        (damaged(PLAIN, 0, b"g", fixed=False), "no tar header"),
        (damaged(PLAIN, 124, b"\xff" * 12), "a size of -"),
        (damaged(PLAIN, 124, b"9" * 11), "octal"),
        (damaged(PLAIN, 136, b"\x80" + b"\x7f" * 11), "f: .*mtime is"),
        (damaged(PLAIN, 136, b"\xff" + b"\0" * 11), "f: .*mtime is"),
        (damaged(PLAIN, 108, b"\x80" + b"\x01" * 7), "f: .*the owner is"),
        (damaged(PLAIN, 116, b"\xff" * 8), "f: .*the owner is 0:-1"),
        (damaged(damaged(PLAIN, 156, b"3"), 329, b"0010000"), "f: .*major number of 4096"),
        (damaged(damaged(PLAIN, 156, b"4"), 337, b"\xff" * 8), "f: .*minor number of -1"),
        (damaged(PLAIN, 124, b"1_0"), "octal"),
        (tar(member("f", pax_headers={"size": "-1"})), "size is '-1'"),
        (tar(member("f", pax_headers={"uid": "9" * 30})), "uid is"),
        (tar(member("f", pax_headers={"mtime": "yesterday"})), "mtime is"),
        (tar(member("f", pax_headers={"comment": "c" * (MAX_EXTENDED + 1)})), "extended headers"),
        (
            tar(member("f", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "x"})),
            "map",
        ),
        (tar(member("f", pax_headers={"GNU.sparse.map": "0,9", "GNU.sparse.size": "5"})), "map"),
        (tar(member("f", pax_headers={"GNU.sparse.map": "0,0,5", "GNU.sparse.size": "9"})), "map"),
        (
            tar(member("f", pax_headers={"GNU.sparse.map": "", "GNU.sparse.size": f"{2**63}"})),
            "map",
        ),
        (tar(member("f", pax_headers={"SCHILY.xattr.": "v"})), "extended attribute"),
    ],
)
def test_damage_is_found(data: bytes, text: str) -> None:
    with pytest.raises(IntegrityError, match=text):
        read(data)


def test_headers_that_repeat_have_a_limit() -> None:
    one = tar(member("f", pax_headers={"comment": "c" * 500_000}))
    header = one[: one.index(b"f".ljust(100, b"\0"))]
    with pytest.raises(IntegrityError, match="extended headers"):
        read(header * 3 + one[len(header) :])


def test_a_nul_in_a_name_is_refused() -> None:
    for key in ("path", "linkpath", "GNU.sparse.name"):
        with pytest.raises(UnsafeArchive, match="NUL"):
            read(tar(member("f", pax_headers={key: "a\0b"})))


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(Unsupported, match="unknown type"):
        read(damaged(PLAIN, 156, b"Z"))


def test_nothing_behind_the_end_is_read_as_entries() -> None:
    assert len(read(PLAIN + PLAIN)) == 1


def test_a_tar_without_its_end_is_whole_between_members() -> None:
    assert len(read(PLAIN[: 512 + 1024])) == 1


def test_a_tar_may_end_behind_the_content_of_a_file() -> None:
    assert len(read(PLAIN[: 512 + 600])) == 1
