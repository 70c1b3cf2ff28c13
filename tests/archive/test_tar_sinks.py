"""Writing OCI archives and docker archives: bytes, orders, pipes, failures, bad input."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sink_images import (
    BASE,
    ONE,
    TWO,
    copy_to,
    descriptor_of,
    open_sink,
    put,
    put_image,
    put_manifest,
    tree,
)
from wherry import Store
from wherry.archive.entry import Entry
from wherry.archive.tar_writer import FileTar, move_content
from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Opened
from wherry.content.streams import blob_of
from wherry.errors import (
    IntegrityError,
    InvalidReference,
    NotFound,
    StoreError,
    StoreFull,
    Unsupported,
)
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.testing import build_image, build_index, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry import Client
    from wherry.archive.archive_sink import ArchiveSink
    from wherry.testing import BuiltImage

FORMS = ["oci-archive", "docker-archive"]
NAME = "docker.io/library/app:1"
# The same layer several times, an empty one, and a config with a history.
ODD = build_image([BASE, tar_layer({}), BASE, tar_layer({"x": b"y"}), BASE], compression="none")
LARGE = build_image([BASE, tar_layer({"large": bytes(5 * 2**20)})], compression="none")


class Broken(Exception):
    """What ends a copy in these tests."""


IMAGES = {
    "one": ONE,
    "odd": ODD,
    "large": LARGE,
    "empty": build_image([]),
    "docker": build_image([BASE, tar_layer({})], style="docker", compression="none"),
}


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> BuiltImage:
    """An image whose layers are not compressed."""
    return IMAGES[request.param]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """A format of archives."""
    return str(request.param)


@pytest.fixture
def saved(client: Client, tmp_path: Path, image: BuiltImage, form: str) -> bytes:
    """The bytes of the archive that `save` writes."""
    write_files(tmp_path / "layout", layout_files({NAME: image}))
    client.load(tmp_path / "layout")
    short: Any = {"oci-archive": "oci-archive", "docker-archive": "docker"}[form]
    client.save(NAME, tmp_path / "saved", format=short)
    return (tmp_path / "saved").read_bytes()


# Bytes


def test_the_bytes_are_those_of_save(
    saved: bytes, image: BuiltImage, form: str, tmp_path: Path
) -> None:
    for number in range(2):
        copy_to(f"{form}:{tmp_path}/{number}", image, NAME)
        assert (tmp_path / str(number)).read_bytes() == saved


def test_sizes_that_are_not_known(
    saved: bytes, image: BuiltImage, form: str, tmp_path: Path
) -> None:
    """A header is written after its member, so a wrong size or none does no harm."""
    for number, size in enumerate((None, 5 * 2**20, 10**10)):
        with open_sink(f"{form}:{tmp_path}/{number}") as sink:
            put(sink, image.config)
            for layer in image.layers:
                blob = blob_of(descriptor_of(layer)._replace(size=size), layer.data)
                if size is not None and size < layer.size:
                    blob = blob_of(descriptor_of(layer), layer.data)
                receipt = sink.put(blob, cancel=CancelToken(), on_bytes=lambda _: None)
                assert receipt.descriptor.size == layer.size
            sink.name(NAME, put_manifest(sink, image))
        assert (tmp_path / str(number)).read_bytes() == saved


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 0, 3, 2], [1, 2, 3, 0], [0, 3, 1, 2]])
def test_a_docker_archive_has_the_same_bytes_in_any_order(tmp_path: Path, order: list[int]) -> None:
    pieces = [ODD.config, ODD.layers[0], ODD.layers[1], ODD.layers[3]]
    copy_to(f"docker-archive:{tmp_path}/first", ODD, "app:1")
    with open_sink(f"docker-archive:{tmp_path}/second") as sink:
        put(sink, *(pieces[number] for number in order))
        put(sink, TWO.layers[1])  # a blob that no image needs is not written
        sink.name("app:1", put_manifest(sink, ODD))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    with tarfile.open(tmp_path / "second") as tar:
        layers = json.loads(tar.extractfile("manifest.json").read())[0]["Layers"]  # type: ignore[union-attr]
        assert [tar.extractfile(name).read() for name in layers] == [  # type: ignore[union-attr]
            layer.data for layer in ODD.layers
        ]


def test_several_images_and_names(tmp_path: Path, client: Client) -> None:
    with open_sink(f"oci-archive:{tmp_path}/two") as sink:
        first, second = put_image(sink, ONE), put_image(sink, TWO)
        sink.name("app:1", first)
        sink.name("app:2", second)
        sink.name("app:3", second)
        sink.name("app:3", first)
    copy_to(f"docker-archive:{tmp_path}/names", ONE, "app:4", "team/app:5")
    for source in ("two", "names"):
        client.load(tmp_path / source)
    assert client.store.get("app:3") == client.store.get("app:1")
    assert str(client.store.get("app:2").id) == TWO.id
    assert client.store.get("team/app:5").id == client.store.get("app:4").id
    assert str(client.store.get("app:4").id) == ONE.id


def test_an_index_in_an_oci_archive(tmp_path: Path, client: Client) -> None:
    index = build_index([(ONE, {"os": "linux", "architecture": "amd64"})])
    with open_sink(f"oci-archive:{tmp_path}/index") as sink:
        put_image(sink, ONE)
        root = descriptor_of(index.index)
        children = [(Digest.parse(ONE.digest), True)]
        sink.put_document(root, index.index.data, children, CancelToken())
        sink.name("", root)
    assert client.validate(f"oci-archive:{tmp_path}/index").documents == 2


def test_sha512(tmp_path: Path) -> None:
    """Its members have names that do not fit into the oldest header."""
    data = bytes(5 * 2**20)
    descriptor = Descriptor("application/x", Digest.of(data, "sha512"), len(data))
    with open_sink(f"oci-archive:{tmp_path}/x") as sink:
        sink.put(blob_of(descriptor, data), cancel=CancelToken(), on_bytes=lambda _: None)
        sink.name("", put_image(sink, ONE))
    with tarfile.open(tmp_path / "x") as tar:
        member = tar.extractfile(f"blobs/sha512/{descriptor.digest.hex}")
        assert member is not None
        assert member.read() == data


# When the file gets its name


def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path: Path, form: str) -> None:
    target = tmp_path / "archive"
    target.write_bytes(b"before")
    with open_sink(f"{form}:{target}") as sink:
        sink.name("app:1", put_image(sink, ONE))
        assert target.read_bytes() == b"before"
        assert list(tmp_path.iterdir()) == [target]
    assert tarfile.is_tarfile(target)


def test_a_failed_copy_leaves_the_old_file(tmp_path: Path, form: str) -> None:
    target = tmp_path / "archive"
    for before in (None, b"before"):
        if before is not None:
            target.write_bytes(before)
        with pytest.raises(Broken), open_sink(f"{form}:{target}") as sink:  # noqa: PT012 - fails
            sink.name("app:1", put_image(sink, LARGE))
            raise Broken
        with open_sink(f"{form}:{target}") as sink:
            put_image(sink, ONE)  # without a name
        assert tree(tmp_path) == ({} if before is None else {"archive": before})


def test_a_blob_that_failed_can_be_put_again(tmp_path: Path, form: str) -> None:
    copy_to(f"{form}:{tmp_path}/good", LARGE, "app:1")
    with open_sink(f"{form}:{tmp_path}/archive") as sink:
        put(sink, LARGE.config)
        for layer in LARGE.layers:
            wrong = blob_of(descriptor_of(layer), layer.data[:-1] + b"x")
            with pytest.raises(IntegrityError):
                sink.put(wrong, cancel=CancelToken(), on_bytes=lambda _: None)
            assert not sink.has(wrong.descriptor)
            put(sink, layer)
        sink.name("app:1", put_manifest(sink, LARGE))
    assert (tmp_path / "archive").read_bytes() == (tmp_path / "good").read_bytes()


@pytest.mark.parametrize("where", ["oci-archive", "docker-archive", "oci", "dir"])
def test_a_thread_that_does_not_stop(tmp_path: Path, where: str) -> None:
    """After an error, a thread that is stuck in its source does not delay the end."""
    reading, go_on = threading.Event(), threading.Event()
    descriptor = descriptor_of(ONE.config)

    def open_stuck(offset: int, _: object) -> Opened:
        reading.set()
        go_on.wait(30)
        return blob_of(descriptor, ONE.config.data).open(offset, lambda: False)

    def work(sink: ArchiveSink) -> None:
        blob = Blob(descriptor, open_stuck)
        sink.put(blob, cancel=CancelToken(), on_bytes=lambda _: None)

    with pytest.raises(Broken), open_sink(f"{where}:{tmp_path}/x") as sink:  # noqa: PT012 - it fails
        thread = threading.Thread(target=work, args=(sink,))
        thread.start()
        reading.wait(30)
        raise Broken
    assert thread.is_alive()
    go_on.set()
    thread.join(30)
    assert not (tmp_path / "x").exists()


def test_names_that_are_not_there(tmp_path: Path, form: str) -> None:
    with (
        pytest.raises(NotFound, match="was not written"),
        open_sink(f"{form}:{tmp_path}/x") as sink,
    ):
        sink.name("app:1", descriptor_of(ONE.manifest))
    with pytest.raises(InvalidReference), open_sink(f"{form}:{tmp_path}/x") as sink:
        sink.name("app/UPPER:1", put_image(sink, ONE))
    assert list(tmp_path.iterdir()) == []


# Bad targets, pipes and devices


def test_other_things_at_the_path(tmp_path: Path, form: str) -> None:
    (tmp_path / "directory").mkdir()
    for name, kind, says in (
        ("directory", StoreError, "is a directory, a file is expected"),
        ("nowhere/archive", NotFound, "no such directory"),
    ):
        with pytest.raises(kind, match=says) as caught:
            open_sink(f"{form}:{tmp_path}/{name}")
        assert str(tmp_path) in str(caught.value)


def test_a_link_is_followed(tmp_path: Path, form: str) -> None:
    (tmp_path / "link").symlink_to("target")
    copy_to(f"{form}:{tmp_path}/link", ONE, "app:1")
    assert (tmp_path / "link").is_symlink()
    assert tarfile.is_tarfile(tmp_path / "target")


def test_a_pipe_gets_the_same_bytes(tmp_path: Path, form: str) -> None:
    copy_to(f"{form}:{tmp_path}/file", LARGE, "app:1")
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    with open_sink(f"{form}:{tmp_path}/pipe") as sink:  # does not wait for a reader
        reader.start()
        wrong = blob_of(descriptor_of(LARGE.layers[1]), bytes(LARGE.layers[1].size))
        with pytest.raises(IntegrityError):  # the pipe gets only what was verified
            sink.put(wrong, cancel=CancelToken(), on_bytes=lambda _: None)
        sink.name("app:1", put_image(sink, LARGE))
    reader.join(30)
    assert got == [(tmp_path / "file").read_bytes()]


def test_a_reader_that_closes_the_pipe(tmp_path: Path, form: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    address = f"{form}:{tmp_path}/pipe"
    with pytest.raises(StoreError, match="closed the pipe"), open_sink(address) as sink:  # noqa: PT012
        sink.name("app:1", put_image(sink, ONE))
        os.close(reader)


def test_a_terminal_gets_no_archive(form: str) -> None:
    controller, terminal = os.openpty()
    try:
        with pytest.raises(Unsupported, match="terminal"):
            copy_to(f"{form}:{os.ttyname(terminal)}", ONE, "app:1")
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_device_that_is_full(form: str) -> None:
    with pytest.raises(StoreFull, match="/dev/full: No space left") as caught:
        copy_to(f"{form}:/dev/full", LARGE, "app:1")
    assert "make room" in caught.value.hint


def test_spools_are_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that comes too early does not go to a small /tmp."""
    monkeypatch.setenv("TMPDIR", "/proc")
    with open_sink(f"docker-archive:{tmp_path}/x") as sink:
        put(sink, LARGE.layers[1], LARGE.layers[0], LARGE.config)
        sink.name("", put_manifest(sink, LARGE))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


# What a docker archive cannot hold


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[ArchiveSink]:
    """A docker archive that will not be written."""
    with open_sink(f"docker-archive:{tmp_path}/x") as sink:
        yield sink
    assert not (tmp_path / "x").exists()


def test_compressed_layers_are_refused(docker: ArchiveSink) -> None:
    packed = build_image([BASE])
    put(docker, packed.config, *packed.layers)
    with pytest.raises(IntegrityError, match="was not written uncompressed"):
        put_manifest(docker, packed)


def test_an_index_is_refused(docker: ArchiveSink) -> None:
    index = build_index([(ONE, {"os": "linux", "architecture": "amd64"})])
    put_image(docker, ONE)
    with pytest.raises(Unsupported, match="holds one platform") as caught:
        docker.put_document(descriptor_of(index.index), index.index.data, [], CancelToken())
    assert "--platform" in caught.value.hint


def test_a_second_image_is_refused(docker: ArchiveSink) -> None:
    put_image(docker, ONE)
    with pytest.raises(Unsupported, match="holds one image"):
        put_image(docker, TWO)


def test_an_artifact_is_refused(docker: ArchiveSink) -> None:
    chart = json.loads(ONE.manifest.data)
    chart["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    raw = json.dumps(chart).encode()
    put(docker, ONE.config, *ONE.layers)
    with pytest.raises(Unsupported, match="cannot hold a helm chart"):
        docker.put_document(Descriptor.of(raw, ONE.manifest.media_type), raw, [], CancelToken())


def test_a_config_with_other_layers_is_refused(docker: ArchiveSink) -> None:
    wrong = json.loads(ONE.manifest.data)
    wrong["layers"].pop()
    raw = json.dumps(wrong).encode()
    put(docker, ONE.config, *ONE.layers)
    with pytest.raises(IntegrityError, match="don't match image configuration"):
        docker.put_document(Descriptor.of(raw, ONE.manifest.media_type), raw, [], CancelToken())


# Tars


def test_content_that_moves() -> None:
    """A header of another length is found out only when the content is there."""
    content = os.urandom(3 * 2**20 + 17)
    for start, target in ((512, 1536), (1536, 512), (0, 5 * 2**20)):
        with open(os.memfd_create("moved"), "wb+") as file:  # noqa: PTH123 - a descriptor
            os.pwrite(file.fileno(), content, start)
            move_content(file.fileno(), start, len(content), target)
            assert os.pread(file.fileno(), len(content), target) == content


def test_a_member_that_fails_leaves_the_tar_as_it_was() -> None:
    with open(os.memfd_create("tar"), "wb+") as file:  # noqa: PTH123 - a descriptor
        tar = FileTar(file.fileno())
        tar.add(Entry("first", b"one"))
        with pytest.raises(Broken), tar.member("second", None) as part:  # noqa: PT012 - it fails
            part.append(b"x" * 9999)
            raise Broken
        with tar.member("third", 10**10) as part:
            part.append(b"x" * 9999)
            part.restart()
            part.append(gzip.compress(b""))
        tar.finish()
        file.seek(0)
        with tarfile.open(fileobj=io.BytesIO(file.read())) as read:
            assert [(each.name, each.size) for each in read] == [("first", 3), ("third", 20)]


def test_errors_of_the_file_system_name_the_archive(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match=os.strerror(errno.EACCES)):
            copy_to(f"oci-archive:{tmp_path}/x", ONE)
    finally:
        tmp_path.chmod(0o755)


def test_the_store_takes_what_was_written(tmp_path: Path, form: str, client: Client) -> None:
    copy_to(f"{form}:{tmp_path}/x", LARGE, "app:1")
    with Store(tmp_path / "other") as store:
        assert str(client.load(tmp_path / "x", store=store)[0].id) == LARGE.id
