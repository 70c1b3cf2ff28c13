"""Import a tar or a directory as a layer, with metadata."""

from __future__ import annotations

import datetime
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    NotFound,
    PlatformMismatch,
    StoreError,
)
from wherry.image_store import local_store
from wherry.model import v1
from wherry.model.reference import Reference
from wherry.ops.directory_tar import DirectoryTar
from wherry.testing import FakeRegistry, build_image, build_index, compress, sha256, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client, Store

TAR = tar_layer({"etc/": None, "etc/f": b"content", "big": b"x" * 3_000_000})
EMPTY = bytes(10240)


def good(image: wherry.Image) -> wherry.Image:
    with wherry.Client(store=image.store) as client:
        report = client.validate(f"store:{image.id}")
    assert [finding for finding in report.findings if finding.error] == []
    return image


@pytest.mark.parametrize("how", ["none", "gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_tar_is_a_layer(client: Client, tmp_path: Path, how: str, *, piped: bool) -> None:
    data = compress(TAR, how)
    (tmp_path / "tar").write_bytes(data)
    source = io.BytesIO(data) if piped else tmp_path / "tar"
    image = good(client.import_(source, "mine:1", platform="linux/arm64/v8"))
    assert image.names == ("docker.io/library/mine:1",)
    assert (image.platform.os, image.platform.architecture) == ("linux", "arm64")
    (layer,) = image.layers
    assert str(layer.diff_id) == sha256(TAR)
    assert str(layer.digest) == sha256(data if how in {"none", "gzip", "zstd"} else TAR)
    assert image.created
    assert client.store.get("mine:1").id == image.id


def test_nothing_is_no_layer_an_empty_tar_is_one(client: Client) -> None:
    nil = good(client.import_(io.BytesIO(), "nil"))
    assert (list(nil.layers), nil.config.diff_ids) == ([], ())
    assert [step.empty_layer for step in nil.config.history] == [True]
    empty = good(client.import_(io.BytesIO(EMPTY), "empty"))
    assert [str(layer.diff_id) for layer in empty.layers] == [sha256(EMPTY)]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no tar", StoreError),
        (b"x" * 5000, StoreError),
        (TAR[:-20_000], IntegrityError),
        (TAR[:520] + b"!" + TAR[521:], IntegrityError),
        (compress(TAR, "gzip")[:-9], IntegrityError),
        (compress(b"", "gzip"), StoreError),
    ],
    ids=["short", "long", "cut", "second header", "gzip", "nothing"],
)
def test_content_that_is_not_a_tar(
    client: Client, tmp_path: Path, data: bytes, error: type[wherry.WherryError]
) -> None:
    with pytest.raises(error, match=r"^the stream: "):
        client.import_(io.BytesIO(data), "mine")
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        client.import_(path, "mine")
    assert str(caught.value).startswith(f"{path}: ")
    with path.open("rb") as file, pytest.raises(error) as caught:
        client.import_(file, "mine")
    assert str(caught.value).startswith(f"{path}: ")
    assert client.store.images() == []


def test_what_the_command_is_given_is_named(wherry: Wherry, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no JSON, no tar")
    done = wherry("import", "-", given="no tar")
    assert (done.returncode, done.stderr) == (1, "wherry: stdin: is not a tar archive\n")
    done = wherry("import", "--config", f"{tmp_path}/text", "-", given=TAR.decode())
    assert done.stderr.startswith(f"wherry: {tmp_path}/text is not JSON: ")
    assert wherry("images", "-q").stdout == ""


def test_headers_of_any_number_but_of_bounded_size(client: Client) -> None:
    def extended(data: bytes) -> bytes:
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, len(data)
        return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)

    many = extended(b"9 path=a\n") * 5000 + TAR
    assert [str(x) for x in good(client.import_(io.BytesIO(many))).config.diff_ids] == [
        sha256(many)
    ]
    with pytest.raises(IntegrityError, match="extended header of 2,097,152 bytes"):
        client.import_(io.BytesIO(extended(bytes(2**21)) + TAR))


def test_a_directory_however_deep(client: Client, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    at = os.open(tree, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    try:
        (layer,) = good(client.import_(tree)).layers
        with layer.open_tar() as tar:
            assert [len(member.name) for member in tar] == [2 * n + 1 for n in range(1100)]
    finally:
        subprocess.run(["rm", "-rf", tree], check=True)  # which goes as deep


def test_packing_takes_no_memory_for_what_is_done(tmp_path: Path) -> None:
    for number in range(4000):
        file = tmp_path / f"{number // 100}" / f"{number % 100}"
        file.parent.mkdir(exist_ok=True)
        file.touch()
    buffer = bytearray(65536)
    tracemalloc.start()
    try:
        with DirectoryTar(tmp_path) as packing:
            while packing.readinto(buffer):
                pass
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_directory_always_makes_the_same_tar(client: Client, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "b" / "deep").mkdir(parents=True)
    (tree / "b" / "deep" / "file").write_bytes(b"x" * 300_000)
    (tree / "a").symlink_to("/etc/passwd")
    os.link(tree / "b" / "deep" / "file", tree / "hard")
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(tree / "socket"))
    first, second = (good(client.import_(tree, f"tree:{number}")) for number in range(2))
    assert first.layers[0].digest == second.layers[0].digest
    with first.layers[0].open_tar() as tar:
        found = {member.name: member for member in tar}
    assert list(found) == ["a", "b", "b/deep", "b/deep/file", "fifo", "hard"]
    assert (found["a"].issym(), found["hard"].islnk(), found["fifo"].isfifo()) == (True,) * 3
    assert found["b/deep/file"].size == 300_000


# Configs


def test_a_whole_config_is_kept_byte_for_byte(client: Client) -> None:
    config = json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [sha256(TAR)]}, "os": "linux", "x": "<&>"},
        indent=3,
    ).encode()
    image = client.import_(io.BytesIO(TAR), "mine", config=config)
    assert image.config.raw == config
    assert str(image.id) == sha256(config)


@pytest.mark.parametrize("diff_ids", [[], [sha256(b"")], [sha256(TAR), sha256(TAR)]])
def test_a_whole_config_has_to_fit(client: Client, diff_ids: list[str]) -> None:
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    with pytest.raises(InvalidDocument, match=r"rootfs\.diff_ids: does not fit") as caught:
        client.import_(io.BytesIO(TAR), "mine", config=config)
    assert sha256(TAR) in caught.value.hint
    assert client.store.images() == []


def test_a_version_1_json_makes_the_config_and_stays(client: Client, store: Store) -> None:
    given = b'{"id": "x", "os":"linux", "architecture":"amd64",  "config": {"Cmd": ["<sh>"]}}'
    image = good(client.import_(io.BytesIO(TAR), "mine", config=given))
    history = [v1.history_entry(given, empty_layer=False)]
    assert image.config.raw == v1.config_from_v1(given, [wherry.Digest.of(TAR)], history)
    store.gc()
    assert local_store(store).read(wherry.Digest.of(given)) == given


@pytest.mark.parametrize("config", [b"", b"[]", b'{"a":1,"a":2}', b"\xff"])
def test_invalid_configs(client: Client, config: bytes) -> None:
    with pytest.raises(InvalidDocument):
        client.import_(io.BytesIO(TAR), config=config)


# Parents


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_a_layer_on_top_of_an_image(fake: FakeRegistry, client: Client, style: str) -> None:
    below = build_image([tar_layer({"a": b"a"})], style=style, cmd=["sh"], labels={"k": "<"})  # type: ignore[arg-type]
    fake.add_image("app", below, "v1")
    client.pull(f"{fake.host}/app:v1")
    name = f"{fake.host}/app:v1"
    for parent in (name, f"docker://{name}", below.id):
        image = good(client.import_(io.BytesIO(compress(TAR, "gzip")), "mine", parent=parent))
        assert [str(found) for found in image.config.diff_ids] == [*below.diff_ids, sha256(TAR)]
        assert (image.config.cmd, image.config.labels) == (("sh",), {"k": "<"})
        assert len(image.config.history) == 2
        assert image.manifest.media_type == below.manifest.media_type
    given = json.dumps({"rootfs": {"diff_ids": [*below.diff_ids, sha256(TAR)]}}).encode()
    assert client.import_(io.BytesIO(TAR), "m", parent=name, config=given).config.raw == given
    nil = good(client.import_(io.BytesIO(), "nil", parent=name))
    assert [str(found) for found in nil.config.diff_ids] == list(below.diff_ids)


PLATFORMS = [
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm64", "variant": "v8"},
    {"os": "linux", "architecture": "s390x"},
]
BOTH = [
    build_image([tar_layer({each["architecture"]: b"a"})], **each)  # type: ignore[arg-type]
    for each in PLATFORMS
]


def test_a_platform_chooses_the_parent(fake: FakeRegistry, client: Client) -> None:
    index = build_index(list(zip(BOTH, PLATFORMS, strict=True)))
    name = f"{fake.host}/app:t"
    fake.add_image("app", index, "t")
    client.pull(name, platform="linux/amd64,linux/arm64")
    for parent in (name, f"store:{name}", f"docker://{name}"):
        for below, chosen in zip(BOTH[:2], ("linux/amd64", "linux/arm64"), strict=True):
            image = client.import_(io.BytesIO(TAR), "mine", parent=parent, platform=chosen)
            assert [str(found) for found in image.config.diff_ids] == [
                *below.diff_ids,
                sha256(TAR),
            ]
            assert str(image.platform).startswith(chosen)
        with pytest.raises(PlatformMismatch, match="there is no image for linux/riscv64"):
            client.import_(io.BytesIO(TAR), "mine", parent=parent, platform="linux/riscv64")
    given = json.dumps({"rootfs": {"diff_ids": [*BOTH[1].diff_ids, sha256(TAR)]}}).encode()
    image = client.import_(io.BytesIO(TAR), parent=name, platform="linux/arm64", config=given)
    assert image.config.raw == given
    with pytest.raises(NotFound) as saving:  # the index has it, the store has not
        client.save(name, io.BytesIO(), platform="linux/s390x")
    with pytest.raises(NotFound) as importing:
        client.import_(io.BytesIO(TAR), "mine", parent=name, platform="linux/s390x")
    assert str(importing.value) == str(saving.value)


def test_a_parent_for_another_platform(fake: FakeRegistry, client: Client, wherry: Wherry) -> None:
    name = f"{fake.host}/app:arm"
    fake.add_image("app", BOTH[1], "arm")
    client.pull(name, platform="linux/arm64")
    for parent in (name, f"docker://{name}", BOTH[1].id):
        with pytest.raises(PlatformMismatch, match="is for linux/arm64, not for linux/amd64"):
            client.import_(io.BytesIO(TAR), "mine", parent=parent, platform="linux/amd64")
        client.import_(io.BytesIO(TAR), parent=parent, platform="linux/arm64")
        client.import_(io.BytesIO(TAR), parent=parent)
    saved = wherry("save", "--platform", "linux/amd64", name)
    done = wherry("import", "--parent", name, "--platform", "linux/amd64", "-", "mine", given="x")
    assert (done.returncode, done.stderr) == (saved.returncode, saved.stderr)


def test_a_platform_beside_a_config(client: Client, wherry: Wherry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="states its own platform"):
        client.import_(io.BytesIO(TAR), config=b"{}", platform="linux/amd64")
    (tmp_path / "config").write_text("{}")
    done = wherry("import", "--config", str(tmp_path / "config"), "--platform", "linux", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--platform" in done.stderr.splitlines()[0]


def test_a_missing_parent_or_file_is_not_found(client: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        client.import_(io.BytesIO(TAR), "mine", parent="nothing")
    with pytest.raises(NotFound, match="no such file"):
        client.import_(tmp_path / "nothing", "mine")
    with pytest.raises(InvalidReference):
        client.import_(io.BytesIO(TAR), "Mine")


def test_a_digest_is_not_a_name_that_can_be_given(
    fake: FakeRegistry, client: Client, wherry: Wherry, tmp_path: Path
) -> None:
    (tmp_path / "tar").write_bytes(TAR)
    there = build_image([tar_layer({"a": b"a"})])
    fake.add_image("app", there, "t")
    for name in (f"{fake.host}/app@{there.digest}", f"{fake.host}/app:t@{there.digest}"):
        with pytest.raises(InvalidReference, match="a digest is not a name that can be given"):
            client.import_(tmp_path / "tar", name)
        done = wherry("import", str(tmp_path / "tar"), name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "a digest is not a name that can be given" in done.stderr
    assert client.store.images() == []
    image = client.import_(tmp_path / "tar")
    digest = Reference.parse(f"{fake.host}/app@{there.digest}")
    with pytest.raises(InvalidReference, match="this digest is not"):
        local_store(client.store).pin(digest, image.digest, image.record.manifest)
    assert str(client.pull(str(digest)).id) == there.id


def test_the_command(wherry: Wherry, tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "rootfs.tar").write_bytes(TAR)
    config = json.dumps({"rootfs": {"diff_ids": [sha256(TAR)]}})
    (tmp_path / "config.json").write_text(config)
    done = wherry(
        "import", "--config", str(tmp_path / "config.json"), str(tmp_path / "rootfs.tar"), "mine:1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == sha256(config.encode()) + "\n"
    piped = subprocess.run(
        [sys.executable, "-m", "wherry", "import", "-", "mine:2"],
        input=TAR,
        capture_output=True,
        env=environment,
        check=True,
        timeout=60,
    )
    assert piped.stdout.startswith(b"sha256:")
    assert "mine" in wherry("images").stdout
    missing = wherry("import", str(tmp_path / "nothing"))
    assert missing.returncode == 3


def test_tar_unpacks_imported_layers(client: Client, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"x")
    image = client.import_(tmp_path / "tree")
    with tarfile.open(fileobj=io.BytesIO(image.layers[0].open().read())) as tar:
        assert tar.getnames() == ["file"]


# Settings, comments and times


def config_of(image: wherry.Image) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image.config.raw)
    return found


def test_changes_and_a_message(client: Client) -> None:
    image = client.import_(
        io.BytesIO(TAR), "mine", changes=['CMD ["sh"]', "ENV A=b"], message="from a backup"
    )
    config = config_of(image)
    assert config["config"] == {"Cmd": ["sh"], "Env": ["A=b"]}
    assert config["comment"] == config["history"][0]["comment"] == "from a backup"
    plain = config_of(client.import_(io.BytesIO(TAR), "plain"))
    assert (plain["config"], plain["history"][0]["comment"]) == ({}, "imported")
    assert "comment" not in plain


def test_changes_of_a_parent(fake: FakeRegistry, client: Client) -> None:
    below = build_image([tar_layer({"a": b"a"})], cmd=["sh"], env=["A=1"], labels={"k": "<"})
    fake.add_image("app", below, "v1")
    parent = f"docker://{fake.host}/app:v1"
    image = good(client.import_(io.BytesIO(TAR), parent=parent, changes=["ENV B=$A"]))
    assert config_of(image)["config"] == {
        "Cmd": ["sh"],
        "Env": ["A=1", "B=1"],
        "Labels": {"k": "<"},
    }


@pytest.mark.parametrize("change", ["RUN x", "", "ENV A", "CMD [1]"])
def test_a_change_that_does_not_parse(wherry: Wherry, tmp_path: Path, change: str) -> None:
    (tmp_path / "tar").write_bytes(TAR)
    done = wherry("import", "--change", change, str(tmp_path / "tar"), "mine")
    assert (done.returncode, done.stdout) == (2, "")
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"wherry: the change {change!r}: ")
    assert wherry("images", "-q").stdout == ""
    assert not list((tmp_path / "store").rglob("blobs/*/*"))


def test_a_config_takes_no_changes(client: Client, wherry: Wherry, tmp_path: Path) -> None:
    for options in ({"changes": ["USER me"]}, {"message": "x"}):
        with pytest.raises(ValueError, match="cannot be combined with changes or a message"):
            client.import_(io.BytesIO(TAR), config=b"{}", **options)
    (tmp_path / "config").write_text("{}")
    done = wherry("import", "--config", str(tmp_path / "config"), "-c", "USER me", "-", given="x")
    assert done.returncode == 2
    assert "--change" in done.stderr.splitlines()[0]


def test_a_date_makes_the_same_image_each_time(
    client: Client, tmp_path: Path, environment: dict[str, str]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, when in (("old", 1_000_000), ("young", 2_000_000_000)):
        (tree / name).write_bytes(b"x")
        os.utime(tree / name, (when, when))
    ids = []
    for turn in range(2):
        os.utime(tree, (1_800_000_000 + turn, 1_800_000_000 + turn))
        (tree / "young").touch()
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "import", "-c", "USER me", str(tree), f"mine:{turn}"],
            env={**environment, "SOURCE_DATE_EPOCH": "1700000000"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        ids.append(done.stdout)
    assert ids[0] == ids[1]
    image = client.store.get("mine:0")
    assert image.config.created == "2023-11-14T22:13:20Z"
    assert config_of(image)["history"][0]["created"] == image.config.created
    with image.layers[0].open_tar() as tar:
        assert {member.name: member.mtime for member in tar} == {
            "old": 1_000_000,
            "young": 1_700_000_000,
        }
    made = client.import_(tree, changes=["USER me"], created=1_700_000_000)
    assert f"{made.id}\n" == ids[0]
    assert client.import_(io.BytesIO(TAR), created=0).created == datetime.datetime.fromtimestamp(
        0, datetime.UTC
    )


@pytest.mark.parametrize("epoch", ["x", "-1", "1.5", "9" * 30, "253402300800"])
def test_an_invalid_date(tmp_path: Path, environment: dict[str, str], epoch: str) -> None:
    (tmp_path / "tar").write_bytes(TAR)
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "import", str(tmp_path / "tar")],
        env={**environment, "SOURCE_DATE_EPOCH": epoch},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: SOURCE_DATE_EPOCH is ")


def test_an_invalid_time(client: Client) -> None:
    for created in (-1, 253402300800):
        with pytest.raises(ValueError, match="expected seconds since 1970"):
            client.import_(io.BytesIO(TAR), created=created)


def test_a_warning_names_what_is_imported_without_a_name(wherry: Wherry, tmp_path: Path) -> None:
    member = tarfile.TarInfo("volume")
    member.type = b"V"  # a volume label of GNU tar, which container engines do not unpack
    (tmp_path / "in.tar").write_bytes(tar_layer({"a": b"1", "label": member}))
    done = wherry("import", str(tmp_path / "in.tar"))
    assert done.returncode == 0
    assert done.stderr.startswith(f"Warning: {tmp_path / 'in.tar'}: converted for other tools")
    named = wherry("import", str(tmp_path / "in.tar"), "app:1")
    assert named.stderr.startswith("Warning: app:1: converted for other tools")
