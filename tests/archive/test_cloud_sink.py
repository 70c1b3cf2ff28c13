"""Layouts in object storage as sinks, on a real S3 server."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from copy_places import DOCKER, IMAGE, INDEX
from s3_places import Prefix
from s3_proxy import S3Proxy
from s3_server import READER, s3_environment
from sink_images import descriptor_of, put, put_image
from wherry import (
    Cancelled,
    CancelToken,
    Client,
    Denied,
    IntegrityError,
    InvalidReference,
    RegistryError,
    StoreError,
)
from wherry.archive.cloud import PART, Bucket, Version
from wherry.content.protocols import Blob, Opened
from wherry.content.streams import open_bytes
from wherry.model.address import Address
from wherry.model.cloud_settings import CloudSettings
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.ops.open_archive_sink import open_archive_sink
from wherry.ops.open_source import open_archive
from wherry.testing import (
    BuiltImage,
    Distribution,
    SinkContract,
    build_image,
    layout_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wherry
    from wherry.archive.archive_sink import ArchiveSink
    from wherry.content.protocols import Sink, Source

LARGE = build_image([tar_layer({"large": bytes(range(256)) * 70_000})], compression="none")


def http() -> CloudSettings:
    return CloudSettings(retries=3, client={"s3": {"allow_http": "true"}})


@pytest.fixture
def prefix(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Prefix:
    """A prefix of this test alone; the environment names the server."""
    for name, value in s3_environment(f"127.0.0.1:{s3_port}").items():
        monkeypatch.setenv(name, value)
    return Prefix(s3_port)


@pytest.fixture
def proxy(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """A proxy that the environment names in place of the server."""
    with S3Proxy(prefix.port) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{running.host}")
        yield running


def open_sink(prefix: Prefix, cancel: CancelToken | None = None) -> ArchiveSink:
    address = Address.parse(prefix.address())
    return open_archive_sink(address, cancel or CancelToken(), http)


def names_in(prefix: Prefix) -> dict[str, str]:
    """Return the digests of the names in the layout."""
    index = json.loads(prefix.files()["index.json"])
    return {
        each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"]
        for each in index["manifests"]
    }


class TestCloudSink(SinkContract):
    prefix: Prefix

    @pytest.fixture(autouse=True)
    def _at_prefix(self, prefix: Prefix) -> None:
        self.port = prefix.port

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source | None]]:
        self.prefix = Prefix(self.port)
        with open_sink(self.prefix) as sink:
            yield sink, None

    @contextlib.contextmanager
    def stored(self) -> Iterator[Source]:
        with open_archive(
            Address.parse(self.prefix.address()), CancelToken(), cloud=http
        ) as archive:
            yield archive


def test_a_copy_is_the_same_layout_as_in_a_directory(
    prefix: Prefix, client: Client, tmp_path: Path
) -> None:
    source = Prefix(prefix.port)
    source.put(layout_files({"all": INDEX, "docker": DOCKER}))
    for name in ("all", "docker"):
        client.copy(source.address(name), prefix.address(name), all_platforms=True)
        client.copy(source.address(name), f"oci:{tmp_path}/copy:{name}", all_platforms=True)
    copied = {
        str(path.relative_to(tmp_path / "copy")): path.read_bytes()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file()
    }
    assert prefix.files() == copied


def test_a_push_and_a_pull_through_a_registry(
    prefix: Prefix, client: Client, distribution: Distribution, repository: str
) -> None:
    distribution.push(repository, IMAGE, "1")
    client.copy(f"{distribution.host}/{repository}:1", prefix.address("1"))
    client.copy(prefix.address("1"), f"{distribution.host}/{repository}:2")
    assert client.digest(f"{distribution.host}/{repository}:2") == IMAGE.digest


def test_nothing_is_sent_twice(prefix: Prefix, proxy: S3Proxy, client: Client) -> None:
    source = Prefix(prefix.port)
    source.put(layout_files({"one": IMAGE}))
    client.copy(source.address("one"), prefix.address("1"))
    sent = proxy.count("^PUT ")
    assert sent == 7  # four blobs and documents of two layers alike, the mark and the index
    client.copy(source.address("one"), prefix.address("1"))
    assert proxy.count("^PUT ") == sent
    client.copy(source.address("one"), prefix.address("2"))
    assert proxy.count("^PUT ") == sent + 1
    assert names_in(prefix) == {"1": IMAGE.digest, "2": IMAGE.digest}


def test_the_index_comes_last(prefix: Prefix, proxy: S3Proxy) -> None:
    with open_sink(prefix) as sink:
        sink.name("1", put_image(sink, IMAGE))
        assert proxy.count("^PUT .*(oci-layout|index.json)") == 0
    puts = [each for each in proxy.requests if each.startswith("PUT ")]
    assert [each.rpartition("/")[2] for each in puts[-2:]] == ["oci-layout", "index.json"]


def test_a_large_blob_goes_in_parts_and_each_is_retried(prefix: Prefix, proxy: S3Proxy) -> None:
    proxy.fail("^POST .*uploads", 503)
    proxy.fail("^PUT .*partNumber=1&", 503, 0)
    proxy.fail("^PUT .*partNumber=2&", 500)
    proxy.fail("^POST .*uploadId", 503)
    with open_sink(prefix) as sink:
        sink.name("large", put_image(sink, LARGE))
    parts = [proxy.count(f"^PUT .*partNumber={number}&") for number in (1, 2, 3)]
    assert parts == [3, 2, 1]
    layer = LARGE.layers[0]
    assert prefix.files()[f"blobs/sha256/{layer.digest[7:]}"] == layer.data


def test_a_part_that_cannot_be_sent(prefix: Prefix, proxy: S3Proxy) -> None:
    proxy.fail("^PUT .*partNumber=2&", *[503] * 9)
    with pytest.raises(RegistryError, match="503") as failure, open_sink(prefix) as sink:
        sink.name("large", put_image(sink, LARGE))
    assert failure.value.status == 503
    assert failure.value.where[0].startswith(prefix.url)
    assert proxy.count("^PUT .*partNumber=2&") == 3
    assert proxy.count("^DELETE .*uploadId") == 1
    assert set(prefix.files()) == {f"blobs/sha256/{LARGE.config.digest[7:]}"}


@pytest.mark.parametrize("image", [IMAGE, LARGE], ids=["small", "large"])
def test_wrong_content_does_not_appear(prefix: Prefix, proxy: S3Proxy, image: BuiltImage) -> None:
    layer = image.layers[0]
    wrong = Blob(
        descriptor_of(layer), lambda at, _: open_bytes(layer.data[:-1] + b"!", at), exact=True
    )
    with pytest.raises(IntegrityError), open_sink(prefix) as sink:
        sink.put(wrong, cancel=CancelToken(), on_bytes=lambda _: None)
    assert prefix.files() == {}
    assert proxy.count("^DELETE .*uploadId") == proxy.count("^POST .*uploads")


def test_cancelling_ends_an_upload(prefix: Prefix, proxy: S3Proxy) -> None:
    cancel, blocked = CancelToken(), threading.Event()

    def stop() -> None:
        cancel.cancel()
        blocked.wait(10)

    proxy.fail("^PUT .*partNumber=1&", stop)
    with pytest.raises(Cancelled), open_sink(prefix, cancel) as sink:
        put(sink, LARGE.layers[0])
    blocked.set()
    assert prefix.files() == {}


class _Endless:
    """A stream without end, which counts the bytes that were read."""

    count = 0

    def read1(self, size: int) -> bytes:
        self.count += size
        return bytes(size)

    def close(self) -> None:
        """Do nothing."""


def test_an_upload_reads_no_further_than_its_parts(prefix: Prefix, proxy: S3Proxy) -> None:
    cancel, source, measured = CancelToken(), _Endless(), threading.Event()
    seen = []

    def measure() -> None:
        time.sleep(0.3)  # a reader that does not wait would read gigabytes
        seen.append(source.count)
        measured.set()
        cancel.cancel()

    def hold() -> None:
        measured.wait(20)

    proxy.fail("^PUT .*partNumber=", measure, *[hold] * 20)
    blob = Blob(Descriptor("", Digest.of(b"other"), None), lambda _at, _is_whole: Opened(source))
    with pytest.raises(Cancelled), open_sink(prefix, cancel) as sink:
        sink.put(blob, cancel=cancel, on_bytes=lambda _: None)
    assert PART <= seen[0] <= 4 * PART


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_copy_that_was_ended_begins_again(
    prefix: Prefix, wherry: Wherry, how: signal.Signals
) -> None:
    source = Prefix(prefix.port)
    source.put(layout_files({"large": LARGE}))
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        released.wait(20)

    with S3Proxy(prefix.port) as proxy:
        proxy.fail("^PUT .*partNumber=1&", hold)
        wherry.environment |= s3_environment(proxy.host)
        process = wherry.start("copy", source.address("large"), prefix.address("1"))
        assert held.wait(20)
        process.send_signal(how)
        _, errors = process.communicate(timeout=5)
        released.set()
        assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
        assert "Traceback" not in errors
        assert not {"index.json", f"blobs/sha256/{LARGE.layers[0].digest[7:]}"} & set(
            prefix.files()
        )
        with Client() as client:
            client.copy(source.address("large"), prefix.address("1"))
    assert names_in(prefix) == {"1": LARGE.digest}


def test_writers_at_the_same_time_lose_nothing(prefix: Prefix) -> None:
    images = [build_image([tar_layer({f"f{number}": b"x"})]) for number in range(4)]
    barrier = threading.Barrier(len(images))

    def write(number: int) -> None:
        with open_sink(prefix) as sink:
            sink.name(f"v{number}", put_image(sink, images[number]))
            barrier.wait(30)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names_in(prefix) == {f"v{n}": image.digest for n, image in enumerate(images)}


@pytest.mark.parametrize("before", [{}, layout_files({"old": DOCKER})], ids=["new", "existing"])
def test_a_writer_that_is_faster_keeps_its_name(
    prefix: Prefix, proxy: S3Proxy, before: dict[str, bytes]
) -> None:
    prefix.put(before)

    def write() -> None:
        with open_sink(prefix) as sink:
            sink.name("faster", put_image(sink, INDEX.images[0]))

    proxy.fail("^PUT .*index.json", write)
    with open_sink(prefix) as sink:
        sink.name("slower", put_image(sink, IMAGE))
    assert {"faster", "slower"} <= set(names_in(prefix))
    assert proxy.count("^PUT .*index.json") == 3


def test_a_service_without_versions(prefix: Prefix) -> None:
    with (
        contextlib.closing(Bucket(prefix.url, http(), CancelToken())) as bucket,
        pytest.raises(StoreError, match="names no version") as failure,
    ):
        bucket.replace("index.json", b"{}", Version(None, None))
    assert failure.value.where == (prefix.url, "index.json")
    assert prefix.files() == {}


def test_other_objects_are_left_alone(prefix: Prefix) -> None:
    prefix.put({"notes.txt": b""})
    with pytest.raises(StoreError, match=r"other objects, such as notes\.txt"):
        open_sink(prefix)
    assert set(prefix.files()) == {"notes.txt"}


def test_keys_that_may_only_read(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environment(f"127.0.0.1:{prefix.port}", READER).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Denied, match="AccessDenied") as failure, open_sink(prefix) as sink:
        put(sink, IMAGE.config)
    assert failure.value.where[0].startswith(prefix.url)


def test_a_damaged_document_is_replaced(prefix: Prefix, client: Client) -> None:
    prefix.put(layout_files({"1": IMAGE}))
    prefix.put({f"blobs/sha256/{IMAGE.digest[7:]}": b"damaged"})
    with open_sink(prefix) as sink:
        sink.name("1", put_image(sink, IMAGE))
    assert client.manifest(prefix.address("1")).raw == IMAGE.manifest.data


@pytest.mark.parametrize("name", ["a b", "ghcr.io/UPPER:1"])
def test_names_that_a_layout_cannot_have(prefix: Prefix, name: str) -> None:
    with pytest.raises(InvalidReference):
        open_archive_sink(Address.parse(prefix.address(name)), CancelToken(), http)
