"""Damaged archives raise a `WherryError`, or give a whole image."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.archive.tar_files import TarFiles
from wherry.content.cancel import CancelToken
from wherry.errors import IntegrityError, InvalidDocument, Unsupported, WherryError
from wherry.testing import (
    build_image,
    docker_files,
    flat_files,
    layout_files,
    sha256,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wherry import Client

TARS = [tar_layer({f"f{number}": b"x" * 99 * number}) for number in range(2)]
IMAGE = build_image(TARS)
V1_ID = "a" * 64
SEEDS = {
    "docker": tar_layer(docker_files(IMAGE, TARS, ["app:1"])),
    "layout": tar_layer(layout_files({"app:1": IMAGE})),
    "flat": tar_layer(flat_files(IMAGE)),
    "legacy": tar_layer(
        {
            "repositories": json.dumps({"app": {"1": V1_ID}}).encode(),
            f"{V1_ID}/VERSION": b"1.0",
            f"{V1_ID}/json": json.dumps({"id": V1_ID}).encode(),
            f"{V1_ID}/layer.tar": TARS[0],
        }
    ),
}
FIELDS = (0, 100, 124, 135, 148, 156, 157, 257, 345)  # where a header's fields begin
TURNS = 60


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, most of them in headers, and make most checksums good again."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found))
        if chance.random() < 0.6:
            at = min(at // 512 * 512 + chance.choice(FIELDS), len(found) - 1)
        match chance.randrange(8):
            case 0:
                del found[at : at + chance.randint(1, 600)]
            case 1:
                found[at:at] = chance.randbytes(chance.randint(1, 600))
            case _:
                found[at] = chance.randrange(256)
    for at in range(0, len(found) - 511, 512):
        block = found[at : at + 512]
        if block[257:262] == b"ustar" and chance.random() < 0.8:
            total = 8 * 32 + sum(block[:148]) + sum(block[156:])
            found[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(found)


@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.parametrize("piped", [False, True])
def test_damage_of_all_kinds(client: Client, tmp_path: Path, kind: str, *, piped: bool) -> None:
    chance = random.Random(f"{kind} {piped}")  # noqa: S311 - content that has to repeat
    for _ in range(TURNS):
        data = damaged(SEEDS[kind], chance)
        (tmp_path / "archive").write_bytes(data)
        try:
            loaded = client.load(io.BytesIO(data) if piped else tmp_path / "archive")
        except WherryError as error:
            str(error).encode()  # it can be printed
            continue
        for image in loaded:
            report = client.validate(f"store:{image.id}")
            assert not any(finding.error for finding in report.findings)


def extended(*records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Make an extended header of PAX records."""
    data = b"".join(records)
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE])
@pytest.mark.parametrize("prefix", [b"GNU.sparse.", b"GNU.volume.", b"GNU.others."])
def test_extended_headers_take_no_memory(tmp_path: Path, prefix: bytes, kind: bytes) -> None:
    """Each may have 1 MiB, and a member may have any number of them."""
    keys = iter(range(10**9, 10**9 + 10**6))
    found = [
        extended(*(b"27 %s%010d=x\n" % (prefix, next(keys)) for _ in range(38_000)), kind=kind)
        for _ in range(2)
    ]
    path = tmp_path / "archive"
    path.write_bytes(b"".join(found) + extended(b"5 a=\n" * 50_000) + tar_layer({"f": b"1"}))
    del found
    tracemalloc.start()
    try:
        with contextlib.suppress(Unsupported):  # for sparse members
            TarFiles(str(path), CancelToken())
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()


def test_names_have_a_bound_together(client: Client) -> None:
    # What would be an archive, so that it is read on.
    long = tar_layer({"oci-layout": b""})[:512] + b"".join(
        extended(b"%d%s" % (place, b"n" * 900_000), kind=tarfile.GNUTYPE_LONGNAME)
        + tar_layer({"f": b""})[:512]
        for place in range(40)
    )
    with pytest.raises(IntegrityError, match="names of more than"):
        client.load(io.BytesIO(gzip.compress(long, 1)))


def test_names_that_are_not_utf_8_do_no_harm(client: Client, tmp_path: Path) -> None:
    data = bytearray(tar_layer({"xyz": bytes(4096), **docker_files(IMAGE, TARS)}))
    data[1] = 0xFF
    data[148:156] = b"%06o\0 " % (8 * 32 + sum(data[:148]) + sum(data[156:512]))
    (tmp_path / "archive").write_bytes(data)
    for source in (tmp_path / "archive", io.BytesIO(data)):
        (loaded,) = client.load(source, store=wherry.Store(tmp_path / str(type(source))))
        assert str(loaded.id) == IMAGE.id


def test_configs_are_not_kept_in_memory(client: Client, tmp_path: Path) -> None:
    config = json.loads(IMAGE.config.data)
    files = {"0": TARS[0], "1": TARS[1]}
    for number in range(30):
        long = config | {"author": f"{number}" + "a" * 2_000_000}
        files[f"{number}.json"] = json.dumps(long).encode()
    items = [{"Config": f"{number}.json", "Layers": ["0", "1"]} for number in range(30)]
    path = tmp_path / "archive"
    path.write_bytes(tar_layer({**files, "manifest.json": json.dumps(items).encode()}))
    del files
    tracemalloc.start()
    try:
        assert len(client.load(path)) == 30
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_images_have_a_bound_of_layers_together(client: Client, tmp_path: Path) -> None:
    """If each image has all layers of the previous one, their number grows with the square."""
    ids = [f"{number:064x}" for number in range(1, 600)]
    files = {
        f"{v1_id}/json": json.dumps({"id": v1_id, "parent": parent} if parent else {"id": v1_id})
        for parent, v1_id in zip(["", *ids], ids, strict=False)
    }
    files["repositories"] = json.dumps({"app": {f"t{v1_id}": v1_id for v1_id in ids}})
    archives = [
        files,
        {"manifest.json": json.dumps([{"Config": "c", "Layers": ["l"] * 10_000}] * 11)},
    ]
    for found in archives:
        path = tmp_path / "archive"
        path.write_bytes(tar_layer({name: text.encode() for name, text in found.items()}))
        with pytest.raises(InvalidDocument, match="more than 100,000 layers"):
            client.load(path)


def test_documents_of_a_layout_have_a_bound_together(client: Client, tmp_path: Path) -> None:
    manifest = json.loads(IMAGE.manifest.data)
    entries, files = [], layout_files({"v1": IMAGE})
    for number in range(18):
        manifest["annotations"] = {"x": f"{number}" + "a" * 4_000_000}
        raw = json.dumps(manifest).encode()
        entries.append(IMAGE.manifest.descriptor() | {"digest": sha256(raw), "size": len(raw)})
        files[f"blobs/sha256/{sha256(raw)[7:]}"] = raw
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    layout = write_files(tmp_path / "layout", files)
    with pytest.raises(InvalidDocument, match="documents have more than 64 MiB"):
        client.load(layout)
    assert client.store.images() == []
