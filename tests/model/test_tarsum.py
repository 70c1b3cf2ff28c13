"""TarSum version 0 and payload checksums, with digests from moby's own tests."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import IntegrityError, Unsupported
from wherry.model.tarsum import TarSum, payload_hasher, tar_sum
from wherry.testing import tar_layer

NO_MEMBERS = hashlib.sha256().hexdigest()


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar(
    *entries: tuple[tarfile.TarInfo, bytes],
    format: int = tarfile.USTAR_FORMAT,  # noqa: A002 - the name in `tarfile`
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in entries:
            if content:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tarsum_of(data: bytes, v1_json: bytes = b"") -> str:
    return tar_sum(io.BytesIO(data), v1_json)


def expected(*sums: str, extra: bytes = b"") -> str:
    return "tarsum+sha256:" + hashlib.sha256(extra + "".join(sums).encode()).hexdigest()


def member_sum(content: bytes = b"", **changed: object) -> str:
    """Hash the fields in the order of the specification."""
    fields: dict[str, object] = {
        "name": "f",
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": len(content),
        "mtime": 0,
        "typeflag": "0",
        "linkname": "",
        "uname": "",
        "gname": "",
        "devmajor": 0,
        "devminor": 0,
    }
    text = "".join(f"{key}{value}" for key, value in (fields | changed).items())
    return hashlib.sha256(text.encode("utf-8", "surrogateescape") + content).hexdigest()


class TestVectors:
    """Digests of moby, ``pkg/tarsum/tarsum_test.go``, over tars that are built anew."""

    @pytest.mark.parametrize(
        ("info", "content", "digest"),
        [
            (
                member("/testdata0", tarfile.AREGTYPE, mode=0o755),
                bytes(2**20),
                "8bf12d7e67c51ee2e8306cba569398b1b9f419969521a12ffb9d8875e8836738",
            ),
            (
                member("file.txt", mode=0),
                b"",
                "626c4a2e9a467d65c33ae81f7f3dedd4de8ccaee72af73223c4bc4718cbc7bbd",
            ),
            (
                member(
                    "xattrs.txt",
                    mode=0,
                    uid=1000,
                    gid=1000,
                    uname="slartibartfast",
                    gname="users",
                    pax_headers={"SCHILY.xattr.user.NOT": "CALCULATED"},
                ),
                b"test",
                "c12bb6f1303a9ddbf4576c52da74973c00d14c109bcfa76b708d5da1154a07fa",
            ),
        ],
    )
    def test_one_member(self, info: tarfile.TarInfo, content: bytes, digest: str) -> None:
        data = tar((info, content), format=tarfile.PAX_FORMAT)
        assert tarsum_of(data) == f"tarsum+sha256:{digest}"

    @pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024), bytes(10240)])
    def test_no_members(self, data: bytes) -> None:
        assert tarsum_of(data) == f"tarsum+sha256:{NO_MEMBERS}"


class TestFields:
    @pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
    def test_each_type(self, format_: int) -> None:
        data = tar(
            (member("d", tarfile.DIRTYPE, mode=0o755), b""),
            (member("./x", mtime=1704164645, uid=7, gid=8, uname="u", gname="g"), b"text"),
            (member("h", tarfile.LNKTYPE, linkname="./x", size=0), b""),
            (member("l", tarfile.SYMTYPE, linkname="../x/"), b""),
            (member("c", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
            (member("p", tarfile.FIFOTYPE), b""),
            format=format_,
        )
        sums = [
            member_sum(name="d/", mode=0o755, typeflag="5"),
            member_sum(b"text", name="./x", mtime=1704164645, uid=7, gid=8, uname="u", gname="g"),
            member_sum(name="h", typeflag="1", linkname="./x"),
            member_sum(name="l", typeflag="2", linkname="../x/"),
            member_sum(name="c", typeflag="3", devmajor=1, devminor=3),
            member_sum(name="p", typeflag="6"),
        ]
        assert tarsum_of(data) == expected(*sorted(sums))

    def test_the_json_comes_first(self) -> None:
        data = tar((member("f"), b"x"))
        assert tarsum_of(data, b'{"id":1}') == expected(member_sum(b"x"), extra=b'{"id":1}')

    @pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    @pytest.mark.parametrize("name", ["n/" * 120 + "f", "é" * 80, "a/" * 60 + "ü"])
    def test_long_names(self, format_: int, name: str) -> None:
        link = member(name, tarfile.SYMTYPE, linkname="t/" + name)
        assert tarsum_of(tar((link, b""), format=format_)) == expected(
            member_sum(name=name, typeflag="2", linkname="t/" + name)
        )

    def test_a_prefix(self) -> None:
        name = "p" * 90 + "/" + "n" * 90
        assert tarsum_of(tar((member(name), b""))) == expected(member_sum(name=name))

    def test_large_numbers(self) -> None:
        info = member("f", uid=2**31, gid=2**32, uname="é", gname="ü")
        for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            assert tarsum_of(tar((info, b""), format=format_)) == expected(
                member_sum(uid=2**31, gid=2**32, uname="é", gname="ü")
            )

    @pytest.mark.parametrize(
        ("time", "seconds"), [("1704164645.999999999", 1704164645), ("-5", -5), ("7", 7)]
    )
    def test_fractions_of_seconds_do_not_count(self, time: str, seconds: int) -> None:
        info = member("f", mtime=3, pax_headers={"mtime": time})
        data = tar((info, b""), format=tarfile.PAX_FORMAT)
        assert tarsum_of(data) == expected(member_sum(mtime=seconds))

    def test_a_name_that_is_not_utf8(self) -> None:
        name = b"\xff\xfe".decode("utf-8", "surrogateescape")
        assert tarsum_of(tar((member(name), b""))) == expected(member_sum(name=name))

    def test_a_header_without_magic(self) -> None:
        block = bytearray(tar((member("f", tarfile.AREGTYPE, uname="u"), b""))[:512])
        block[257:265] = bytes(8)
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
        assert tarsum_of(bytes(block)) == expected(member_sum(typeflag="\0"))


class TestOrder:
    def test_the_order_of_members_does_not_count(self) -> None:
        entries = [(member(f"f{number}"), b"%d" % number) for number in range(20)]
        assert tarsum_of(tar(*entries)) == tarsum_of(tar(*reversed(entries)))

    def test_the_order_of_equal_names_counts(self) -> None:
        one, two = (member("./f"), b"1"), (member("f"), b"2")
        sums = [member_sum(b"1", name="./f"), member_sum(b"2")]
        assert tarsum_of(tar(one, two)) == expected(*sums)
        assert tarsum_of(tar(two, one)) == expected(*reversed(sums))


class TestDamage:
    WHOLE = tar((member("f"), b"x" * 1000))

    @pytest.mark.parametrize("length", [1, 511, 513, 1000])
    def test_a_cut(self, length: int) -> None:
        with pytest.raises(IntegrityError, match="cut off"):
            tarsum_of(self.WHOLE[:length])

    def test_a_cut_extended_header(self) -> None:
        data = tar((member("n" * 200), b""), format=tarfile.PAX_FORMAT)
        with pytest.raises(IntegrityError, match="cut off"):
            tarsum_of(data[:600])

    def test_no_tar(self) -> None:
        with pytest.raises(IntegrityError, match="no tar header at byte 0"):
            tarsum_of(b"x" * 512)

    def test_bytes_after_the_end_do_not_count(self) -> None:
        assert tarsum_of(self.WHOLE + b"more") == tarsum_of(self.WHOLE)

    @pytest.mark.parametrize(
        "records", [{"mtime": "soon"}, {"uid": "x"}, {"size": "1" * 40}, {"size": "-1"}]
    )
    def test_wrong_numbers(self, records: dict[str, str]) -> None:
        data = tar((member("f", pax_headers=records), b""), format=tarfile.PAX_FORMAT)
        with pytest.raises(IntegrityError):
            tarsum_of(data)

    @pytest.mark.parametrize("content", [b"x", b"5 a=", b"99 a=b\n", b"0 a=b\n", b"7 ab \n"])
    def test_records_that_are_not_pax(self, content: bytes) -> None:
        data = tar((member("x", tarfile.XHDTYPE), content), (member("f"), b""))
        with pytest.raises(IntegrityError, match="not PAX"):
            tarsum_of(data)

    def test_a_huge_extended_header(self) -> None:
        info = member("x", tarfile.XHDTYPE, size=2**21)
        with pytest.raises(IntegrityError, match="extended header of 2,097,152"):
            tarsum_of(info.tobuf(tarfile.USTAR_FORMAT))

    def test_sparse_members(self) -> None:
        records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        pax = tar((member("f", pax_headers=records), b""), format=tarfile.PAX_FORMAT)
        old = tar((member("f", tarfile.GNUTYPE_SPARSE), b""), format=tarfile.GNU_FORMAT)
        for data in (pax, old):
            with pytest.raises(Unsupported, match="sparse"):
                tarsum_of(data)


@given(st.lists(st.integers(1, 2000), max_size=30))
def test_pieces_of_any_size(sizes: list[int]) -> None:
    data = tar_layer({"d/": None, "d/" + "n" * 150: b"y" * 700, "e": b"", "f": b"z" * 512})
    found = TarSum()
    at = 0
    for size in sizes:
        found.update(data[at : at + size])
        at += size
    found.update(data[at:])
    assert found.checksum() == tarsum_of(data)


def test_payload_checksum() -> None:
    wanted = hashlib.sha256(b'{"id":"a"}\nlayer').hexdigest()
    hasher = payload_hasher(b'{"id":"a"}')
    hasher.update(b"layer")
    assert hasher.hexdigest() == wanted
