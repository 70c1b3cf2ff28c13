"""Pull-through: what the store lacks is fetched from another registry."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest

import wherry
from wherry.image_store import local_store
from wherry.serve.proxy.shared_calls import MAX_CALLS
from wherry.testing import (
    BuiltImage,
    Chunked,
    Corrupt,
    Cut,
    Delay,
    FakeRegistry,
    Fault,
    FixedReply,
    IgnoreRange,
    SilentPort,
    Stall,
    build_image,
    build_index,
    build_schema1,
    make_key,
    pseudo_random_files,
    refused_port,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Serve = Callable[..., AbstractContextManager[str]]

pytestmark = pytest.mark.usefixtures("environment")

HELD = 64 * 1024  # bytes that the server holds back until it knows the digest
BIG = build_image(
    [
        tar_layer(pseudo_random_files(1, 6_000_000, 2)),
        tar_layer({"etc/motd": b"hello"}),
    ],
    compression=["none", "gzip"],
)
LAYER = BIG.layers[0]
CONTENT = LAYER.data


class Answer(NamedTuple):
    """A response; ``is_cut`` if its connection was closed before its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_cut: bool = False

    def text(self, name: str) -> str:
        return self.headers[name] or ""


def ask(url: str, target: str, method: str = "GET", timeout: float = 60, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, f"/v2/{target}", headers=headers)
        response = connection.getresponse()
        try:
            return Answer(response.status, response.headers, response.read())
        except http.client.IncompleteRead as error:
            return Answer(response.status, response.headers, error.partial, is_cut=True)


def blob(digest: str = LAYER.digest, repository: str = "docker.io/acme/app") -> str:
    return f"{repository}/blobs/{digest}"


def count(registry: FakeRegistry, method: str, part: str) -> int:
    return sum(each.method == method and part in each.path for each in registry.requests)


def pull(url: str, image: BuiltImage, tag: str, repository: str = "acme/app") -> None:
    """Fetch all of an image, as clients do."""
    assert ask(url, f"{repository}/manifests/{tag}").status == 200
    for piece in (image.config, *image.layers):
        assert ask(url, blob(piece.digest, repository)).body == piece.data


def names(store: Path) -> list[str]:
    with wherry.Store(store) as opened:
        return [str(name) for image in opened.images() for name in image.names]


def until(condition: Callable[[], bool]) -> bool:
    """Wait for what the server does after its last answer."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def until_named(store: Path, name: str) -> list[str]:
    until(lambda: name in names(store))
    return names(store)


@pytest.fixture
def upstream() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.add_image("acme/app", BIG, "1")
        yield registry


@pytest.fixture
def serving(tmp_path: Path, serve_store: Serve, upstream: FakeRegistry) -> Serve:
    """Serves a store that takes the names of docker.io from ``upstream``."""

    def serve(ttl: float = 60) -> AbstractContextManager[str]:
        proxies = [f"docker.io={upstream.url}"]
        return serve_store(tmp_path / "store", proxies=proxies, proxy_ttl=ttl)

    return serve


@pytest.fixture
def url(serving: Serve) -> Iterator[str]:
    """A server that asks ``upstream`` for the names of docker.io."""
    with serving() as found:
        yield found


# Images


@pytest.mark.parametrize("repository", ["acme/app", "docker.io/acme/app"])
def test_an_image_that_has_arrived_gets_its_name_in_the_store(
    tmp_path: Path, upstream: FakeRegistry, url: str, repository: str
) -> None:
    pull(url, BIG, "1", repository)
    found = until_named(tmp_path / "store", "docker.io/acme/app:1")
    assert found == ["docker.io/acme/app:1", f"docker.io/acme/app@{BIG.digest}"]
    with wherry.Store(tmp_path / "store") as store:
        assert store.get("acme/app:1").id == BIG.config.digest
    before = len(upstream.requests)
    pull(url, BIG, "1", repository)
    pull(url, BIG, BIG.digest, repository)
    assert len(upstream.requests) == before


def test_an_image_that_lacks_a_layer_has_no_name(tmp_path: Path, url: str) -> None:
    ask(url, "acme/app/manifests/1")
    ask(url, blob(BIG.config.digest))
    ask(url, blob(BIG.layers[1].digest))
    time.sleep(0.1)
    assert names(tmp_path / "store") == []


def test_an_index_is_named_with_the_platforms_that_have_arrived(
    tmp_path: Path, upstream: FakeRegistry, url: str
) -> None:
    arm = build_image([tar_layer({"a": b"arm"})], architecture="arm64")
    amd = build_image([tar_layer({"a": b"amd"})])
    index = build_index([(each, {"os": "linux", "architecture": "arm64"}) for each in (amd, arm)])
    upstream.add_image("acme/multi", index, "1")
    ask(url, "acme/multi/manifests/1")
    pull(url, arm, arm.digest, "acme/multi")
    found = until_named(tmp_path / "store", "docker.io/acme/multi:1")
    assert found == ["docker.io/acme/multi:1", f"docker.io/acme/multi@{index.digest}"]
    with wherry.Store(tmp_path / "store") as store:
        image = store.get("acme/multi:1")
        assert str(image.digest) == index.digest
        assert image.id == arm.config.digest


def test_an_image_pulled_by_digest_is_named_by_it(tmp_path: Path, url: str) -> None:
    pull(url, BIG, BIG.digest)
    name = f"docker.io/acme/app@{BIG.digest}"
    assert until_named(tmp_path / "store", name) == [name]


def test_the_namespace_of_a_request_chooses_the_registry(url: str) -> None:
    found = ask(url, "acme/app/manifests/1?ns=docker.io")
    assert (found.status, found.text("OCI-Namespace")) == (200, "docker.io")
    assert ask(url, f"{blob(repository='acme/app')}?ns=docker.io").body == CONTENT
    assert ask(url, "acme/app/manifests/1?ns=quay.io").status == 404
    assert ask(url, "acme/app/manifests/1?ns=a%2Fb").status == 400


# Blobs


def test_many_clients_cause_one_download(upstream: FakeRegistry, url: str) -> None:
    gate = upstream.inject(Fault(Stall(after=100_000, seconds=0.5), path="/blobs/"))
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: ask(url, blob()).body == CONTENT, range(50)))
    assert all(found)
    assert gate.count == 1
    assert count(upstream, "GET", "/blobs/") == 1


def test_the_second_client_streams_while_the_first_download_runs(
    upstream: FakeRegistry, url: str
) -> None:
    upstream.inject(Fault(Stall(after=3_000_000), path="/blobs/"))
    first = http.client.HTTPConnection(urlsplit(url).netloc)
    second = http.client.HTTPConnection(urlsplit(url).netloc)
    with contextlib.closing(first), contextlib.closing(second):
        for each in (first, second):
            each.request("GET", f"/v2/{blob()}")
        for each in (first, second):
            assert each.getresponse().read(2_000_000) == CONTENT[:2_000_000]
    assert count(upstream, "GET", "/blobs/") == 1


def test_wrong_content_is_never_completed(upstream: FakeRegistry, url: str) -> None:
    wrong = upstream.inject(Fault(Corrupt(at=len(CONTENT) - 10), path="/blobs/", method="GET"))
    found = ask(url, blob())
    assert (found.status, found.is_cut) == (200, True)
    assert found.text("Content-Length") == str(len(CONTENT))
    assert len(found.body) <= len(CONTENT) - HELD
    upstream.faults.remove(wrong)
    assert ask(url, blob()).body == CONTENT


def test_wrong_content_of_a_small_blob_is_an_error(upstream: FakeRegistry, url: str) -> None:
    upstream.inject(Fault(Corrupt(at=10), path="/blobs/", method="GET"))
    assert ask(url, blob(BIG.config.digest)).status == 502


@pytest.mark.parametrize("part", ["bytes=5000000-5999999", "bytes=-100", "bytes=10-"])
def test_ranges_of_a_blob_that_arrives(upstream: FakeRegistry, url: str, part: str) -> None:
    gate = upstream.inject(Fault(Stall(after=1_000_000, seconds=0.2), path="/blobs/"))
    found = ask(url, blob(), Range=part)
    again = ask(url, blob(), Range=part)  # now it is stored
    assert gate.count == 1
    assert found.status == again.status == 206
    assert found.body == again.body
    assert found.text("Content-Range") == again.text("Content-Range")


def test_the_wrong_range_of_a_blob_that_arrives(upstream: FakeRegistry, url: str) -> None:
    upstream.inject(Fault(Corrupt(at=5_999_000), path="/blobs/", method="GET"))
    found = ask(url, blob(), Range="bytes=1000000-1999999")
    assert (found.status, found.is_cut) == (206, True)
    assert ask(url, blob(), Range="bytes=7000000-").status == 416


def test_a_head_downloads_nothing(upstream: FakeRegistry, url: str) -> None:
    found = ask(url, blob(), "HEAD")
    assert (found.status, found.text("Content-Length")) == (200, str(len(CONTENT)))
    assert found.text("Docker-Content-Digest") == LAYER.digest
    assert count(upstream, "GET", "/blobs/") == 0
    upstream.inject(Fault(FixedReply(405), path="/blobs/", method="HEAD"))
    assert ask(url, blob(), "HEAD").text("Content-Length") == str(len(CONTENT))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_resumes(upstream: FakeRegistry, url: str, *, ranges: bool) -> None:
    upstream.inject(Fault(Cut(after=2_000_000), path="/blobs/", times=2))
    if not ranges:
        upstream.inject(Fault(IgnoreRange(), path="/blobs/"))
    assert ask(url, blob()).body == CONTENT


def test_a_download_that_failed_resumes_at_the_next_request(
    upstream: FakeRegistry, url: str
) -> None:
    upstream.inject(Fault(Cut(after=2_000_000), path="/blobs/", times=1))
    fails = upstream.inject(Fault(FixedReply(404), path="/blobs/", skip=1))
    assert ask(url, blob()).is_cut
    upstream.faults.remove(fails)
    assert ask(url, blob()).body == CONTENT
    assert upstream.requests[-1].headers["range"].startswith("bytes=")


def test_a_download_goes_on_when_its_client_leaves(
    tmp_path: Path, upstream: FakeRegistry, url: str
) -> None:
    upstream.inject(Fault(Stall(after=1_000_000, seconds=0.2), path="/blobs/"))
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", f"/v2/{blob()}")
    connection.getresponse().read(1000)
    connection.close()
    path = tmp_path / "store/blobs/sha256" / LAYER.digest.removeprefix("sha256:")
    assert until(path.exists)
    assert path.read_bytes() == CONTENT


def test_a_blob_is_served_from_repositories_that_have_it(upstream: FakeRegistry, url: str) -> None:
    other = build_image([tar_layer({"a": b"other"})])
    upstream.add_image("acme/other", other, "1")
    assert ask(url, blob(other.layers[0].digest)).status == 404
    assert ask(url, blob(other.layers[0].digest, "acme/other")).status == 200
    assert ask(url, blob(other.layers[0].digest)).status == 404  # though the store has it now


def test_a_blob_without_a_stated_size(upstream: FakeRegistry, url: str) -> None:
    upstream.inject(Fault(Chunked(), path="/blobs/"))
    wrong = upstream.inject(Fault(Corrupt(at=10), path="/blobs/"))
    found = ask(url, blob())
    assert (found.status, found.text("Content-Length"), found.is_cut) == (200, "", True)
    upstream.faults.remove(wrong)
    assert ask(url, blob()).body == CONTENT


def test_two_servers_on_one_store_fetch_a_blob_once(
    upstream: FakeRegistry, url: str, serving: Serve
) -> None:
    gate = upstream.inject(Fault(Stall(after=3_000_000, seconds=0.4), path="/blobs/"))
    with serving() as other:
        ask(url, "acme/app/manifests/1")
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, each, blob()) for each in (url, other, url, other)]
            assert all(each.result().body == CONTENT for each in asked)
    assert gate.count == 1


def test_two_servers_never_complete_wrong_content(
    upstream: FakeRegistry, url: str, serving: Serve
) -> None:
    upstream.inject(Fault(Stall(after=3_000_000, seconds=0.3), path="/blobs/"))
    upstream.inject(Fault(Corrupt(at=10), path="/blobs/", method="GET"))
    with serving() as other:
        ask(url, "acme/app/manifests/1")
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask, each, blob()) for each in (url, other)]
            assert all(each.result().is_cut for each in asked)


# Tags


def test_clients_that_ask_at_the_same_time_share_a_request(
    upstream: FakeRegistry, url: str
) -> None:
    upstream.inject(Fault(Delay(0.2), path="/manifests/"))
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: ask(url, "acme/app/manifests/1").status, range(20)))
    assert found == [200] * 20
    assert count(upstream, "HEAD", "/manifests/") == count(upstream, "GET", "/manifests/") == 1


def test_tags_are_revalidated_after_their_time(upstream: FakeRegistry, serving: Serve) -> None:
    newer = build_image([tar_layer({"a": b"newer"})])
    with serving() as url:
        assert ask(url, "acme/app/manifests/1").text("ETag") == f'"{BIG.digest}"'
        upstream.add_image("acme/app", newer, "1")
        assert ask(url, "acme/app/manifests/1").text("ETag") == f'"{BIG.digest}"'
    with serving(ttl=0) as url:
        found = ask(url, "acme/app/manifests/1")
        assert found.text("Docker-Content-Digest") == newer.digest
        assert found.body == newer.manifest.data
        before = count(upstream, "GET", "/manifests/")
        assert ask(url, "acme/app/manifests/1", "HEAD").status == 200
        assert count(upstream, "GET", "/manifests/") == before
        del upstream.tags["acme/app"]["1"]
        assert ask(url, "acme/app/manifests/1").status == 404


@pytest.mark.parametrize("status", [500, 503, 429, None])
def test_tags_are_stale_while_the_registry_is_away(
    upstream: FakeRegistry, status: int | None, serving: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(ttl=0) as url:
        pull(url, BIG, "1")
        if status is None:
            upstream.close()
        else:
            upstream.inject(Fault(FixedReply(status)))
        found = ask(url, "acme/app/manifests/1")
        assert (found.status, found.body) == (200, BIG.manifest.data)
        assert found.text("Warning").startswith("110 ")
        assert "what the store has is served meanwhile" in caplog.text
        assert ask(url, blob()).body == CONTENT
        assert b'"1"' in ask(url, "acme/app/tags/list").body
        found = ask(url, f"acme/app/manifests/{BIG.digest}")
        assert (found.status, found.text("Warning")) == (200, "")


def test_what_a_pull_has_stored_is_served_while_the_registry_is_away(
    tmp_path: Path, serve_store: Serve
) -> None:
    with FakeRegistry() as registry:
        name = f"{urlsplit(registry.url).netloc}/acme/app:1"
        registry.add_image("acme/app", BIG, "1")
        with wherry.Client(store=tmp_path / "store") as client:
            client.pull(name)
    host = urlsplit(registry.url).netloc
    with serve_store(tmp_path / "store", proxies=[host]) as url:
        path = f"{host.replace(':', '_')}/acme/app"
        assert ask(url, f"{path}/manifests/1").text("Warning").startswith("110 ")
        assert ask(url, blob(repository=path)).body == CONTENT


def test_tags_of_a_registry_are_listed(upstream: FakeRegistry, url: str) -> None:
    upstream.add_image("acme/app", BIG, "2")
    assert ask(url, "acme/app/tags/list").body == b'{"name":"acme/app","tags":["1","2"]}'
    assert ask(url, "acme/none/tags/list").status == 404


def test_tags_of_an_own_repository_come_from_the_store_alone(tmp_path: Path, url: str) -> None:
    with wherry.Client(store=tmp_path / "store") as client:
        name = f"127.0.0.1:{urlsplit(url).port}/acme/app:0"
        client.import_(io.BytesIO(tar_layer({"a": b"1"})), name)
    assert ask(url, "acme/app/tags/list").body == b'{"name":"acme/app","tags":["0"]}'
    assert ask(url, "acme/app/tags/list?last=0").body == b'{"name":"acme/app","tags":[]}'


def test_referrers_come_from_the_registry(tmp_path: Path, serve_store: Serve) -> None:
    with FakeRegistry(referrers=True) as registry:
        registry.add_image("acme/app", BIG, "1")
        subject = {"mediaType": BIG.manifest.media_type, "digest": BIG.digest, "size": 1}
        kind = "application/vnd.acme.sbom"
        sbom = build_image([b"x"], manifest_extra={"subject": subject, "artifactType": kind})
        registry.add_image("acme/app", sbom)
        with serve_store(tmp_path / "store", proxies=[f"docker.io={registry.url}"]) as url:
            for query, digests in (("", [sbom.digest]), (f"?artifactType={kind}x", [])):
                found = json.loads(ask(url, f"acme/app/referrers/{BIG.digest}{query}").body)
                assert [each["digest"] for each in found["manifests"]] == digests
            assert ask(url, f"acme/app/manifests/{sbom.digest}").status == 200
            registry.inject(Fault(FixedReply(503)))
            assert ask(url, f"acme/app/referrers/{BIG.digest}").status == 502


# Refusals


@pytest.mark.parametrize(
    ("status", "headers", "answered", "code"),
    [
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, 403, "DENIED"),
        (403, {}, 403, "DENIED"),
        (404, {}, 404, "UNKNOWN"),
        (429, {"Retry-After": "7"}, 429, "TOOMANYREQUESTS"),
        (500, {}, 502, "UNAVAILABLE"),
    ],
)
def test_refusals_of_a_registry(
    upstream: FakeRegistry,
    url: str,
    status: int,
    headers: dict[str, str],
    answered: int,
    code: str,
) -> None:
    upstream.inject(Fault(FixedReply(status, headers)))
    targets = ["acme/app/manifests/1", f"acme/app/manifests/{BIG.digest}"]
    if status != 500:  # downloads are tried again, with pauses
        targets.append(blob())
    for target in targets:
        found = ask(url, target)
        assert (found.status, code in found.body.decode()) == (answered, True), target
        if status == 429:
            assert found.text("Retry-After") == "7"
        assert urlsplit(upstream.url).netloc not in found.body.decode()


def test_a_registry_that_cannot_be_reached(tmp_path: Path, serve_store: Serve) -> None:
    proxies = [f"docker.io=http://127.0.0.1:{refused_port()}"]
    with serve_store(tmp_path / "store", proxies=proxies) as url:
        assert ask(url, "acme/app/manifests/1").status == 502


def test_a_manifest_with_another_digest_is_refused(upstream: FakeRegistry, url: str) -> None:
    upstream.inject(Fault(Corrupt(at=50), path="/manifests/", method="GET"))
    assert ask(url, f"acme/app/manifests/{BIG.digest}").status == 502
    assert ask(url, "acme/app/manifests/1").status == 502


def test_a_document_of_an_unknown_format_passes(upstream: FakeRegistry, url: str) -> None:
    raw, kind = b'{"mediaType": "application/vnd.acme.strange"}', "application/vnd.acme.strange"
    upstream.manifests["acme/app"][sha256(raw)] = (raw, kind)
    upstream.tags["acme/app"]["odd"] = sha256(raw)
    for reference in ("odd", sha256(raw)):
        found = ask(url, f"acme/app/manifests/{reference}")
        assert (found.status, found.body, found.text("Content-Type")) == (200, raw, kind)
        assert found.text("Content-Security-Policy") == "sandbox"


def test_a_signed_schema1_manifest_passes(upstream: FakeRegistry, url: str) -> None:
    old = build_schema1([BIG.layers[1].data], keys=[("ES256", make_key("ES256"))])
    kind = old.manifest.media_type
    upstream.add_manifest("acme/app", old.manifest.data, kind, "old", digest=old.digest)
    for reference in ("old", old.digest):
        found = ask(url, f"acme/app/manifests/{reference}")
        assert (found.status, found.body) == (200, old.manifest.data)
        assert found.text("Docker-Content-Digest") == old.digest
        assert found.text("Content-Type") == kind


def test_credentials_of_the_server_serve_its_clients(tmp_path: Path, serve_store: Serve) -> None:
    with FakeRegistry(users={"ann": "secret"}, tokens=True) as registry:
        registry.add_image("acme/app", BIG, "1")
        host = urlsplit(registry.url).netloc
        with wherry.Client() as client:
            client.login(host, "ann", "secret")
        path = f"{host.replace(':', '_')}/acme/app"
        with serve_store(tmp_path / "store", proxies=[host]) as url:
            pull(url, BIG, "1", path)


def test_mirrors_of_the_server_are_used(
    tmp_path: Path, upstream: FakeRegistry, serve_store: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "registries.conf"
    mirror = f'location = "{urlsplit(upstream.url).netloc}"\ninsecure = true'
    file.write_text(f'[[registry]]\nlocation = "reg.test"\n[[registry.mirror]]\n{mirror}\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(file))
    with serve_store(tmp_path / "store", proxies=["reg.test"]) as url:
        pull(url, BIG, "1", "reg.test/acme/app")
        assert "reg.test/acme/app:1" in until_named(tmp_path / "store", "reg.test/acme/app:1")


def test_a_server_that_is_its_own_mirror_does_not_wait_for_itself(
    tmp_path: Path, upstream: FakeRegistry, serve_store: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the server's machine had the same registries.conf as its clients."""
    file = tmp_path / "registries.conf"
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(file))
    with serve_store(tmp_path / "store", proxies=["reg.test"]) as url:
        registry = f'location = "{urlsplit(upstream.url).netloc}"\ninsecure = true'
        mirror = f'location = "{urlsplit(url).netloc}/reg.test"\ninsecure = true'
        file.write_text(  # read at the first request
            f'[[registry]]\nprefix = "reg.test"\n{registry}\n[[registry.mirror]]\n{mirror}\n'
        )
        pull(url, BIG, "1", "reg.test/acme/app")
        assert ask(url, "reg.test/acme/app/tags/list").status == 200


def test_the_metrics_count_what_had_to_be_fetched(url: str) -> None:
    pull(url, BIG, "1")
    pull(url, BIG, "1")
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    for result in ("hit", "miss"):
        assert f'wherry_proxy_requests_total{{result="{result}"}} 4.0' in text


# The store


def test_gc_keeps_what_was_asked_for_a_short_time_ago(
    tmp_path: Path, upstream: FakeRegistry, url: str
) -> None:
    ask(url, "acme/app/manifests/1")
    ask(url, blob())
    del upstream
    with wherry.Store(tmp_path / "store") as store:
        assert store.usage().reclaimable == 0
        assert store.gc().digests == []
        with local_store(store).ingest() as ingest, ingest.db.write() as connection:
            connection.execute("UPDATE cached SET used = used - 8 * 86400")
        assert until(lambda: store.usage().reclaimable > len(CONTENT))
        assert LAYER.digest in store.gc().digests
        with local_store(store).ingest() as ingest, ingest.db.read() as connection:
            assert connection.execute("SELECT * FROM cached").fetchall() == []


def test_removing_an_image_frees_what_the_server_has_fetched(tmp_path: Path, url: str) -> None:
    pull(url, BIG, "1")
    until_named(tmp_path / "store", "docker.io/acme/app:1")
    with wherry.Store(tmp_path / "store") as store:
        store.remove("acme/app:1")
        path = tmp_path / "store/blobs/sha256" / LAYER.digest.removeprefix("sha256:")
        assert until(lambda: bool(store.gc()) and not path.exists())


def test_the_server_ends_while_a_registry_is_silent(upstream: FakeRegistry, serving: Serve) -> None:
    upstream.inject(Fault(Stall(after=100_000), path="/blobs/"))
    with serving() as url:
        client = threading.Thread(target=ask, args=(url, blob()))
        client.start()
        while not count(upstream, "GET", "/blobs/"):
            time.sleep(0.01)
    client.join()


@pytest.mark.parametrize(
    ("silent_target", "requests", "connections", "target"),
    [
        ("manifests/{}", MAX_CALLS + 1, 1, "acme/app/manifests/1"),
        ("blobs/sha256:{:064x}", 7, 6, blob()),
    ],
    ids=["manifests", "blobs"],
)
def test_a_silent_registry_does_not_delay_requests_to_another(
    tmp_path: Path,
    serve_store: Serve,
    upstream: FakeRegistry,
    silent_target: str,
    requests: int,
    connections: int,
    target: str,
) -> None:
    with SilentPort() as silent, contextlib.ExitStack() as clients:
        proxies = [f"docker.io={upstream.url}", f"quay.io=http://{silent.host}"]
        url = clients.enter_context(serve_store(tmp_path / "store", proxies=proxies))
        address = urlsplit(url)
        for number in range(requests):
            place = (address.hostname or "", address.port or 0)
            client = clients.enter_context(socket.create_connection(place))
            path = f"/v2/quay.io/acme/app/{silent_target.format(number)}"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert until(lambda: silent.connections >= connections)
        assert ask(url, target, timeout=5).status == 200


@pytest.mark.parametrize(
    "text", ["", "docker", "docker.io=", "docker.io=ftp://a", "a.b=https://u:p@a", "a.b=http://a?x"]
)
def test_proxies_that_are_none(tmp_path: Path, text: str) -> None:
    with wherry.Client(store=tmp_path) as client, pytest.raises(ValueError, match=r"regist|cred"):
        client.serve("127.0.0.1:0", proxies=[text])


def test_a_server_is_not_its_own_proxy(tmp_path: Path) -> None:
    with wherry.Client(store=tmp_path) as client, pytest.raises(ValueError, match="itself"):
        client.serve("127.0.0.1:0", name="reg.example.org", proxies=["reg.example.org"])


def test_a_pull_into_the_store_of_the_server(tmp_path: Path, url: str) -> None:
    """The pull holds the part file and waits for the server, which must not wait for the pull."""
    name = f"{urlsplit(url).netloc}/acme/app:1"
    with wherry.Client(store=tmp_path / "store") as client:
        assert client.pull(name).id == BIG.config.digest
