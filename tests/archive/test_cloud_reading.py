"""Layouts in object storage as sources, on a real S3 server."""

from __future__ import annotations

import contextlib
import json
import signal
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from copy_places import IMAGE, INDEX
from s3_places import Prefix
from s3_server import READER, s3_environment
from wherry import (
    Cancelled,
    Client,
    Denied,
    IntegrityError,
    InvalidReference,
    NetworkError,
    NotFound,
    StoreError,
)
from wherry.archive.cloud_files import CloudFiles
from wherry.archive.oci import OciLayout
from wherry.config import cloud_settings
from wherry.content.cancel import CancelToken
from wherry.model.cloud_settings import CloudSettings
from wherry.model.digest import Digest
from wherry.model.transfer_settings import TransferSettings
from wherry.testing import (
    SilentPort,
    SourceContract,
    TcpProxy,
    build_image,
    layout_files,
    pseudo_random_files,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from conftest import Wherry
    from wherry.content.protocols import Source

HTTP = CloudSettings(client={"s3": {"allow_http": "true"}})
LARGE = build_image([tar_layer(pseudo_random_files(1, 3_000_000, 3))], compression="none")


@pytest.fixture
def prefix(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Prefix:
    """A prefix of this test alone; the environment names the server."""
    for name, value in s3_environment(f"127.0.0.1:{s3_port}").items():
        monkeypatch.setenv(name, value)
    return Prefix(s3_port)


class TestCloudLayout(SourceContract):
    prefix: Prefix

    @pytest.fixture(autouse=True)
    def _at_prefix(self, prefix: Prefix) -> None:
        self.prefix = prefix

    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        image = build_image(blobs, compression="none")
        self.prefix.put(layout_files({"app:1": image}))
        with contextlib.closing(CloudFiles(self.prefix.url, HTTP, CancelToken())) as files:
            yield OciLayout(files), Digest.parse(image.digest)


@pytest.fixture
def layout(prefix: Prefix) -> Prefix:
    """A layout with two images."""
    prefix.put(layout_files({"one": IMAGE, "all": INDEX}))
    return prefix


def test_every_call_that_reads_takes_a_layout(
    layout: Prefix, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in s3_environment(f"127.0.0.1:{layout.port}", READER).items():
        monkeypatch.setenv(name, value)
    one = layout.address("one")
    assert client.digest(one) == IMAGE.digest
    assert client.manifest(one).raw == IMAGE.manifest.data
    assert client.history(one)
    assert client.referrers(one) == []
    assert client.validate(one).findings == []
    client.unpack(one, tmp_path / "root")
    assert (tmp_path / "root" / "f1").read_bytes() == b"\1" * 9999
    client.export(one, tmp_path / "export.tar")
    with tarfile.open(tmp_path / "export.tar") as exported:
        assert sorted(exported.getnames()) == [".", "f0", "f1", "f2"]
    client.save([one], tmp_path / "save.tar", format="oci-archive")
    client.copy(layout.address("all"), f"oci:{tmp_path}/copy", all_platforms=True)
    assert client.digest(f"oci:{tmp_path}/copy") == INDEX.digest


def test_all_images_of_a_layout_are_loaded(layout: Prefix, client: Client) -> None:
    loaded = client.load(layout.address(), name=None)
    assert {str(image.digest) for image in loaded} == {IMAGE.digest, INDEX.digest}


def test_load_takes_no_name_in_the_address(layout: Prefix, client: Client) -> None:
    with pytest.raises(InvalidReference, match="all images of a layout") as failure:
        client.load(layout.address("one"))
    text = layout.address("one")
    assert (failure.value.text, text[failure.value.position :]) == (text, "one")
    assert failure.value.hint == f"wherry copy {text} store:NAME"


def test_save_writes_no_object_storage(layout: Prefix, wherry: Wherry, tmp_path: Path) -> None:
    wherry.environment |= s3_environment(f"127.0.0.1:{layout.port}")
    target = Prefix(layout.port).address("x")
    done = wherry("save", "--format", "oci", "-o", target, layout.address("one"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "wherry: save writes files and directories, and no object storage",
        f"  wherry copy NAME {target}",
    ]
    assert not list(tmp_path.rglob("s3:*"))


def test_a_library_reads_config_and_blob(layout: Prefix, client: Client) -> None:
    one = layout.address(f"@{IMAGE.digest}")
    assert client.config(one).raw == IMAGE.config.data
    assert client.blob(one, IMAGE.layers[0].digest).read() == IMAGE.layers[0].data


def test_an_image_that_is_not_there(layout: Prefix, client: Client) -> None:
    with pytest.raises(NotFound, match="there is no image two in it") as failure:
        client.digest(layout.address("two"))
    assert failure.value.where == (layout.url,)
    assert "one" in failure.value.hint


def test_an_empty_prefix_is_no_layout(prefix: Prefix, client: Client) -> None:
    with pytest.raises(StoreError, match="there is no oci-layout in it"):
        client.digest(prefix.address())


def test_a_bucket_that_is_not_there(prefix: Prefix, client: Client) -> None:
    assert prefix.port
    with pytest.raises(StoreError, match="there is no such bucket") as failure:
        client.digest("oci:s3://nonesuch/x")
    assert failure.value.where == ("s3://nonesuch",)


def test_wrong_keys(layout: Prefix, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(Denied, match="403 Forbidden, SignatureDoesNotMatch") as failure:
        client.digest(layout.address("one"))
    assert "wrong-secret" not in f"{failure.value}{failure.value.hint}"


def test_a_damaged_blob_is_found(layout: Prefix, wherry: Wherry, tmp_path: Path) -> None:
    layer = IMAGE.layers[0]
    layout.put({f"blobs/sha256/{layer.digest[7:]}": layer.data[:-1] + b"!"})
    copied = wherry("copy", layout.address("one"), f"oci:{tmp_path}/copy")
    assert copied.returncode == 5
    assert layer.digest[7:19] in copied.stderr
    assert not (tmp_path / "copy").exists()


def test_a_document_that_was_exchanged(layout: Prefix, client: Client) -> None:
    layout.put({f"blobs/sha256/{IMAGE.digest[7:]}": b"{}"})
    with pytest.raises(IntegrityError) as failure:
        client.manifest(layout.address("one"))
    assert failure.value.where[0] == layout.url


def test_a_download_that_is_cut_goes_on(
    prefix: Prefix, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prefix.put(layout_files({"large": LARGE}))
    with TcpProxy(prefix.port, cuts=[1_500_000, 1_000_000]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.host}")
        client.copy(prefix.address("large"), f"oci:{tmp_path}/copy")
        assert any(connection.cut for connection in proxy.connections)
        assert proxy.sent < 4_500_000
    assert client.digest(f"oci:{tmp_path}/copy") == LARGE.digest


@pytest.mark.parametrize("endpoint", ["no-url", "ftp://127.0.0.1:1"])
def test_an_endpoint_that_is_no_url(
    prefix: Prefix, client: Client, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL is not a URL"):
        client.digest(prefix.address("one"))


def test_a_closed_bucket_sends_nothing(layout: Prefix) -> None:
    files = CloudFiles(layout.url, HTTP, CancelToken())
    files.close()
    files.close()
    with pytest.raises(Cancelled):
        files.size("index.json")


@pytest.mark.parametrize(
    ("environment", "client"),
    [
        ({"AWS_ENDPOINT_URL": "https://minio.example.com"}, {}),
        ({"AWS_ENDPOINT_URL": "http://minio.example.com"}, {"allow_http": "true"}),
        ({"AWS_ENDPOINT_URL_S3": "http://minio.example.com"}, {"allow_http": "true"}),
        ({"AWS_ALLOW_HTTP": "true", "AWS_USER_AGENT": ""}, {"allow_http": "true"}),
        ({"AWS_PROXY_URL": "http://proxy:1"}, {"proxy_url": "http://proxy:1"}),
    ],
)
def test_options_of_the_environment(environment: dict[str, str], client: dict[str, str]) -> None:
    found = cloud_settings(TransferSettings(timeout=3, retries=2), environment)
    assert (found.timeout, found.retries) == (3, 2)
    assert found.client == {"s3": client, "gs": {}, "az": {}}


def test_insecure_concerns_object_storage_too() -> None:
    found = cloud_settings(TransferSettings(insecure=True), {})
    insecure = {"allow_http": "true", "allow_invalid_certificates": "true"}
    assert found.client == dict.fromkeys(("s3", "gs", "az"), insecure)


@pytest.mark.usefixtures("prefix")
def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refused_port()}")
    with Client(retries=2) as client, pytest.raises(NetworkError, match="no answer") as failure:
        client.digest("oci:s3://layouts/x")
    assert "AWS_ENDPOINT_URL" in failure.value.hint


@pytest.mark.usefixtures("prefix")
def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with SilentPort() as silent, Client(retries=1, timeout=0.3) as client:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{silent.host}")
        with pytest.raises(NetworkError):
            client.digest("oci:s3://layouts/x")
        assert silent.connections == 1


def test_an_interrupt_ends_a_request(prefix: Prefix, wherry: Wherry) -> None:
    assert prefix.port
    with SilentPort() as silent:
        wherry.environment |= s3_environment(silent.host)
        process = wherry.start("digest", "oci:s3://layouts/x")
        while not silent.connections:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)  # the request would take 150 seconds
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_without_obstore(wherry: Wherry, tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ModuleNotFoundError(name='obstore')\n")
    done = wherry("digest", "oci:s3://bucket/x", env={"PYTHONPATH": str(tmp_path)})
    assert done.stderr == (
        "wherry: s3://bucket/x: object storage needs the package obstore\n"
        "  pip install 'wherry[cloud]'\n"
    )


def test_a_layout_of_umoci_or_skopeo_lists_its_names(prefix: Prefix, client: Client) -> None:
    files = layout_files({"one": IMAGE})
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "1.2"}
    prefix.put(files | {"index.json": json.dumps(index).encode()})
    assert client.digest(prefix.address("1.2")) == IMAGE.digest
