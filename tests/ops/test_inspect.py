"""Inspect, digest, tags and referrers: requests, results and caches."""

from __future__ import annotations

import concurrent.futures
import json
import threading
from typing import TYPE_CHECKING

import pytest

import wherry
from waiting import wait_for
from wherry.errors import (
    Denied,
    IntegrityError,
    InvalidReference,
    NotFound,
    PlatformMismatch,
    RegistryError,
    Unsupported,
)
from wherry.model.manifest import Index, Manifest
from wherry.testing import (
    Corrupt,
    Cut,
    Delay,
    FakeRegistry,
    Fault,
    FixedReply,
    Stall,
    build_image,
    build_index,
    build_schema1,
    compress,
    document,
    sha256,
    tar_layer,
)
from wherry.testing._messages import json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Wherry
    from wherry import Client, Event
    from wherry.testing._messages import IncomingRequest, Reply

    Listener = Callable[[Event], None]

TARS = [tar_layer({f"f{number}": b"x%d" % number * 500}) for number in range(3)]
IMAGE = build_image(TARS, labels={"a": "1"}, env=["A=b"])
ARM = build_image(TARS, architecture="arm64", variant="v8")
LINUX = {"os": "linux", "architecture": "amd64"}
INDEX = build_index(
    [(IMAGE, LINUX), (ARM, {"os": "linux", "architecture": "arm64", "variant": "v8"})]
)


def asked(fake: FakeRegistry) -> list[tuple[str, str]]:
    """Return the requests so far, without digests."""
    found = [(each.method, each.path.split("/v2/")[1]) for each in fake.requests]
    return [(method, path.partition("sha256:")[0].partition("?")[0]) for method, path in found]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def listener(warnings: list[str]) -> Listener:
    def listen(event: Event) -> None:
        if event.status is wherry.Status.WARNING:
            warnings.append(event.message)

    return listen


class TestRequests:
    def test_a_manifest_a_config_and_the_tags_are_all(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t", "u")
        found = client.inspect(f"{fake.host}/app:t", tags=True)
        assert sorted(asked(fake)) == [
            ("GET", "app/blobs/"),
            ("GET", "app/manifests/t"),
            ("GET", "app/tags/list"),
        ]
        assert (str(found.digest), found.repo_tags) == (IMAGE.digest, ("t", "u"))

    def test_the_tags_are_asked_for_at_the_same_time(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(Delay(0.3), path="/tags/"))
        fake.inject(Fault(Delay(0.3), path="/manifests/"))
        client.inspect(f"{fake.host}/app:t", tags=True)
        assert fake.peak == 2

    def test_without_tags_nobody_asks_for_them(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", IMAGE, "t")
        assert client.inspect(f"{fake.host}/app:t").repo_tags == ()
        assert asked(fake) == [("GET", "app/manifests/t"), ("GET", "app/blobs/")]

    def test_asking_again_costs_a_look_whether_the_tag_has_moved(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        first = client.inspect(f"{fake.host}/app:t")
        fake.clear()
        assert client.inspect(f"{fake.host}/app:t") == first
        assert asked(fake) == [("HEAD", "app/manifests/t")]
        fake.add_image("app", ARM, "t")
        fake.clear()
        assert client.inspect(f"{fake.host}/app:t").architecture == "arm64"
        assert asked(fake) == [
            ("HEAD", "app/manifests/t"),
            ("GET", "app/manifests/t"),
            ("GET", "app/blobs/"),
        ]

    def test_a_known_digest_is_not_requested_again(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        for _ in range(3):
            client.inspect(f"{fake.host}/app@{IMAGE.digest}")
        assert asked(fake) == [("GET", "app/manifests/"), ("GET", "app/blobs/")]

    def test_many_tags_need_one_token_few_connections_and_a_request_for_each_document(self) -> None:
        """500 tags over few connections."""
        configs, count = 50, 500
        images = [build_image([], labels={"n": str(number)}) for number in range(configs)]
        with (
            FakeRegistry(users={"me": "secret"}, tokens=True, page_size=100) as fake,
            wherry.Client(credentials=("me", "secret"), jobs=6) as client,
        ):
            for number in range(count):
                extra = {"annotations": {"number": str(number)}}
                image = build_image([], labels={"n": str(number % configs)}, manifest_extra=extra)
                assert image.config == images[number % configs].config
                fake.add_image("app", image, f"v{number:03}")
            tags = client.tags(f"{fake.host}/app")
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                found = list(pool.map(lambda tag: client.inspect(f"{fake.host}/app:{tag}"), tags))
            assert [each.labels for each in found] == [
                {"n": str(number % configs)} for number in range(count)
            ]
            assert len({each.digest for each in found}) == count
            assert fake.grants.issued == 1
            assert fake.connections <= 10  # the connections of the pool
            kinds = [each.path.split("/")[3] for each in fake.requests if "/v2/" in each.path]
            # Threads that ask for the same config at the same time may both fetch it.
            assert kinds.count("manifests") == count
            assert configs <= kinds.count("blobs") <= configs + 8
            assert kinds.count("tags") <= 6  # five pages, and one without a token

    def test_kept_content_is_bounded(self, fake: FakeRegistry, client: Client) -> None:
        raw = document({"schemaVersion": 2, "manifests": [], "annotations": {"x": "y" * 1_900_000}})
        digests = []
        for number in range(8):
            digests.append(fake.add_manifest("app", raw + b" " * number, INDEX.index.media_type))
            client.manifest(f"{fake.host}/app@{digests[-1]}")
        fake.clear()
        client.manifest(f"{fake.host}/app@{digests[-1]}")
        assert asked(fake) == []
        client.manifest(f"{fake.host}/app@{digests[0]}")
        assert len(asked(fake)) == 1


class TestInspect:
    def test_of_an_index_the_digest_is_its_own_and_the_rest_the_platforms(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", INDEX, "latest")
        found = client.inspect(f"{fake.host}/app", platform="linux/arm64")
        assert (str(found.digest), found.architecture) == (INDEX.digest, "arm64")
        assert str(found.layers[0].digest) == ARM.layers[0].digest
        assert found.size == sum(piece.size for piece in ARM.blobs())
        assert client.inspect(f"{fake.host}/app", platform="linux/amd64").env == {"A": "b"}
        with pytest.raises(PlatformMismatch):
            client.inspect(f"{fake.host}/app", platform="linux/s390x")

    def test_without_latest_the_first_tag_is_shown(
        self, fake: FakeRegistry, client: Client, warnings: list[str], listener: Listener
    ) -> None:
        fake.add_image("app", IMAGE, "b")
        fake.add_image("app", ARM, "a")
        found = client.inspect(f"{fake.host}/app", on_event=listener)
        assert str(found.digest) == ARM.digest
        assert warnings == ["there is no latest; this is the first tag, a"]
        with_tags = client.inspect(f"{fake.host}/app", tags=True)
        assert (with_tags.digest, with_tags.repo_tags) == (found.digest, ("a", "b"))
        with pytest.raises(NotFound):
            client.inspect(f"{fake.host}/app:latest")
        with pytest.raises(NotFound):
            client.inspect(f"{fake.host}/nothing")

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_tags_that_are_denied_or_missing_are_a_warning(
        self,
        fake: FakeRegistry,
        client: Client,
        warnings: list[str],
        listener: Listener,
        status: int,
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        body = json.dumps({"errors": [{"code": "DENIED", "message": "no"}]}).encode()
        fake.inject(Fault(FixedReply(status, {}, body), path="/tags/"))
        found = client.inspect(f"{fake.host}/app:t", tags=True, on_event=listener)
        assert found.repo_tags is None
        assert '"RepoTags": null' in found.json()
        assert len(warnings) == 1
        assert "tags cannot be listed" in warnings[0]

    def test_other_failures_of_the_tag_list_are_errors(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(FixedReply(400, {}, b""), path="/tags/"))
        with pytest.raises(RegistryError, match="tags"):
            client.inspect(f"{fake.host}/app:t", tags=True)

    def test_the_failure_of_the_image_is_the_one_that_is_raised(
        self, fake: FakeRegistry, client: Client, warnings: list[str], listener: Listener
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(FixedReply(403, {}, b""), path="/manifests/"))
        fake.inject(Fault(FixedReply(404, {}, b""), path="/tags/"))
        with pytest.raises(Denied, match="app:t"):
            client.inspect(f"{fake.host}/app:t", tags=True, on_event=listener)
        assert warnings == []

    def test_artifacts_are_named_in_errors(self, fake: FakeRegistry, client: Client) -> None:
        chart = build_image(TARS, config_media_type="application/vnd.cncf.helm.config.v1+json")
        fake.add_image("chart", chart, "t")
        with pytest.raises(Unsupported, match="a helm chart"):
            client.inspect(f"{fake.host}/chart:t")
        assert client.manifest(f"{fake.host}/chart:t").raw == chart.manifest.data

    def test_schema1_names_itself_and_shows_throwaway_layers(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        layers = [compress(tar, "gzip") for tar in TARS]
        top = {"docker_version": "1.6", "throwaway": True, "config": {"Labels": {"a": "b"}}}
        built = build_schema1(layers, name="app", tag="old", top=top)
        fake.add_manifest("app", built.manifest.data, built.manifest.media_type, "t")
        found = client.inspect(f"{fake.host}/app:t")
        assert (found.tag, found.docker_version, found.labels) == ("old", "1.6", {"a": "b"})
        assert [str(layer.digest) for layer in found.layers] == [sha256(data) for data in layers]
        assert found.size is None
        assert found.oci_config()["rootfs"]["diff_ids"] == ["", ""]
        assert len(client.config(f"{fake.host}/app:t").history) == 3

    @pytest.mark.parametrize("fault", [Corrupt(20), FixedReply(200, {}, b"{}")])
    def test_a_config_is_verified(self, fake: FakeRegistry, client: Client, fault: Corrupt) -> None:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(fault, path="/blobs/"))
        with pytest.raises(IntegrityError, match="does not match its digest"):
            client.inspect(f"{fake.host}/app:t")
        assert len(asked(fake)) == 2  # an altered document is not requested again

    def test_a_config_that_is_cut_off_is_asked_for_again(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(Cut(after=10), path="/blobs/", times=2))
        assert client.inspect(f"{fake.host}/app:t").labels == {"a": "1"}

    @pytest.mark.parametrize("path", ["/manifests/", "/blobs/", "/tags/"])
    def test_it_can_be_cancelled_wherever_it_waits(
        self, fake: FakeRegistry, client: Client, path: str
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        fault = fake.inject(Fault(Stall(after=5, seconds=60), path=path))
        token = wherry.CancelToken()

        def cancel() -> None:
            wait_for(lambda: fault.count)
            token.cancel()

        stopper = threading.Thread(target=cancel)
        stopper.start()
        with pytest.raises(wherry.Cancelled):
            client.inspect(f"{fake.host}/app:t", tags=True, cancel=token)
        stopper.join()

    def test_platforms_have_sizes(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", INDEX, "t")
        fake.inject(Fault(Delay(0.3), path="/manifests/sha256:"))
        root, found = client.platforms(f"{fake.host}/app:t")
        assert fake.peak == 2  # both manifests at the same time
        assert str(root) == INDEX.digest
        assert [str(each.platform) for each in found] == ["linux/amd64", "linux/arm64/v8"]
        assert [each.size for each in found] == [
            sum(piece.size for piece in image.blobs()) for image in (IMAGE, ARM)
        ]

    def test_platforms_of_a_single_image_come_from_its_config(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", ARM, "t")
        _, found = client.platforms(f"{fake.host}/app:t")
        assert [str(each.platform) for each in found] == ["linux/arm64/v8"]


class TestStore:
    """The store shows a pulled image like the registry, except for its name and tags."""

    def test_documents_are_those_of_the_registry(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", INDEX, "t")
        name = f"{fake.host}/app:t"
        client.pull(name, platform="linux/arm64")
        there = client.inspect(name, platform="linux/arm64")
        here = client.inspect(f"store:{name}")
        assert here.fields() == {
            key: value for key, value in there.fields().items() if key != "Name"
        }
        assert client.digest(f"store:{name}") == client.digest(name)
        assert client.manifest(f"store:{name}").raw == client.manifest(name).raw
        assert client.config(f"store:{name}").raw == ARM.config.data
        _, held = client.platforms(f"store:{name}")
        assert [str(each.platform) for each in held] == ["linux/arm64/v8"]

    def test_history_looks_into_the_store_and_else_asks_the_registry(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", IMAGE, "t")
        name = f"{fake.host}/app:t"
        there = client.history(name)
        assert asked(fake) == [("GET", "app/manifests/t"), ("GET", "app/blobs/")]
        assert [step.size for step in there] == [piece.size for piece in reversed(IMAGE.layers)]
        client.pull(name)
        fake.clear()
        assert client.history(name) == there
        assert asked(fake) == []
        with pytest.raises(NotFound):
            client.history("0123abcd" * 8)


class TestDocuments:
    def test_a_digest_takes_one_request_without_a_body(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        fake.add_image("app", INDEX, "t")
        assert str(client.digest(f"{fake.host}/app:t")) == INDEX.digest
        assert asked(fake) == [("HEAD", "app/manifests/t")]
        assert str(client.digest(f"{fake.host}/app:t", platform="linux/arm64")) == ARM.digest
        with pytest.raises(NotFound):
            client.digest(f"{fake.host}/app@{sha256(b'nothing')}")

    def test_manifests_are_the_bytes_as_served(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", INDEX, "t")
        root = client.manifest(f"{fake.host}/app:t")
        assert isinstance(root, Index)
        assert root.raw == INDEX.index.data
        chosen = client.manifest(f"{fake.host}/app:t", platform="linux/arm64")
        assert isinstance(chosen, Manifest)
        assert chosen.raw == ARM.manifest.data

    def test_tags_are_filtered_and_ordered(self, fake: FakeRegistry, client: Client) -> None:
        fake.page_size = 2
        fake.add_image("app", IMAGE, "1.10", "1.9", "2.0", "latest")
        assert client.tags(f"{fake.host}/app") == ["1.10", "1.9", "2.0", "latest"]
        assert client.tags(f"{fake.host}/app", matching="<2", order="version") == ["1.9", "1.10"]


class TestBlobs:
    def test_a_blob_is_what_its_digest_says(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", IMAGE, "t")
        layer = IMAGE.layers[0]
        for call in (
            (f"{fake.host}/app@{layer.digest}",),
            (f"{fake.host}/app", layer.digest),
            (f"docker://{fake.host}/app:t", layer.digest),
        ):
            with client.blob(*call) as stream:
                assert stream.read() == layer.data

    def test_a_blob_without_a_digest_is_a_mistake(self, fake: FakeRegistry, client: Client) -> None:
        with pytest.raises(InvalidReference, match="named by its digest"):
            client.blob(f"{fake.host}/app:t")

    def test_reading_goes_on_where_a_connection_broke(
        self, fake: FakeRegistry, client: Client
    ) -> None:
        data = bytes(range(256)) * 4000
        digest = fake.add_blob(data)
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(Cut(after=100_000), path="/blobs/", times=3))
        with client.blob(f"{fake.host}/app", digest) as stream:
            assert stream.read() == data
        ranges = [each.headers.get("range") for each in fake.requests]
        assert ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]

    def test_the_last_read_of_a_wrong_blob_fails(self, fake: FakeRegistry, client: Client) -> None:
        digest = fake.add_blob(b"x" * 100_000)
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(Corrupt(50_000), path="/blobs/"))
        with (
            client.blob(f"{fake.host}/app", digest) as stream,
            pytest.raises(IntegrityError, match="does not match its digest"),
        ):
            stream.read()

    def test_a_blob_of_the_store(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", IMAGE, "t")
        client.pull(f"{fake.host}/app:t", platform="linux/amd64")
        with client.blob("store:app", IMAGE.layers[0].digest) as stream:
            assert stream.read() == IMAGE.layers[0].data
        with pytest.raises(NotFound):
            client.blob("store:app", sha256(b"nothing"))


SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"


@pytest.fixture(params=[True, False], ids=["api", "tag"])
def referred(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    """A registry with two referrers of `IMAGE`, listed by the API or under a tag."""
    with FakeRegistry(referrers=request.param) as fake:
        fake.add_image("app", IMAGE, "t")
        entries = []
        for kind in (SBOM, SIGNATURE):
            subject = IMAGE.manifest.descriptor()
            extra = {"artifactType": kind, "subject": subject, "annotations": {"of": kind}}
            artifact = build_image([], manifest_extra=extra)
            fake.add_image("app", artifact)
            entries.append(artifact.manifest.descriptor() | {"artifactType": kind})
        if not request.param:
            index = document({"schemaVersion": 2, "manifests": entries})
            tag = IMAGE.digest.replace(":", "-")
            fake.add_manifest("app", index, INDEX.index.media_type, tag)
        yield fake


class TestReferrers:
    def test_they_are_found_by_the_api_or_the_tag(
        self, referred: FakeRegistry, client: Client
    ) -> None:
        found = client.referrers(f"{referred.host}/app:t")
        assert [entry.artifact_type for entry in found] == [SBOM, SIGNATURE]
        (one,) = client.referrers(f"{referred.host}/app:t", artifact_type=SIGNATURE)
        assert one == found[1]

    def test_a_registry_need_not_filter_referrers(
        self, referred: FakeRegistry, client: Client
    ) -> None:
        index = document({"schemaVersion": 2, "manifests": [
            IMAGE.manifest.descriptor() | {"artifactType": SIGNATURE},
            ARM.manifest.descriptor() | {"artifactType": SBOM},
        ]})  # fmt: skip
        headers = {"Content-Type": INDEX.index.media_type}
        referred.inject(Fault(FixedReply(200, headers, index), path="/referrers/"))
        found = client.referrers(f"{referred.host}/app:t", artifact_type=SBOM)
        assert [entry.artifact_type for entry in found] == [SBOM]

    def test_without_any_there_are_none(self, fake: FakeRegistry, client: Client) -> None:
        fake.add_image("app", IMAGE, "t")
        assert client.referrers(f"{fake.host}/app:t") == []
        with pytest.raises(NotFound):
            client.referrers(f"{fake.host}/nothing:t")


class Endless(FakeRegistry):
    """A registry whose lists never end."""

    def answer(self, request: IncomingRequest) -> Reply:
        if "/tags/" not in request.path:
            return super().answer(request)
        start = int(request.value("last") or 0)
        tags = [f"t{number}" for number in range(start, start + 200_000)]
        link = f'<{request.path}?last={start + 200_000}>; rel="next"'
        return json_reply(200, {"name": "app", "tags": tags}, {"Link": link})


def test_a_list_without_an_end_is_given_up(client: Client) -> None:
    with Endless() as fake:
        fake.add_image("app", IMAGE, "t")
        with pytest.raises(Unsupported, match="the tag list has over 500,000 entries"):
            client.tags(f"{fake.host}/app")
        assert len(fake.requests) == 3


def test_where_head_alone_is_refused_the_tag_is_asked_for_by_get(
    client: Client, fake: FakeRegistry
) -> None:
    """A tag is resolved with GET, and the body is hashed, if HEAD is refused."""
    fake.add_image("app", IMAGE, "t")
    for status in (401, 403, 405):
        fake.clear()
        fake.inject(Fault(FixedReply(status), method="HEAD"))
        assert str(client.digest(f"{fake.host}/app:t")) == IMAGE.digest


class Paged(FakeRegistry):
    """A registry whose lists have pages, which `page` makes from their numbers."""

    def __init__(self, page: Callable[[int], dict[str, object]], last: int | None = None) -> None:
        super().__init__(referrers=True)
        self._page_of, self._last = page, last

    def answer(self, request: IncomingRequest) -> Reply:
        if "/tags/" not in request.path and "/referrers/" not in request.path:
            return super().answer(request)
        number = int(request.value("last") or 0)
        headers = {"Content-Type": INDEX.index.media_type}
        if number != self._last:
            headers["Link"] = f'<{request.path}?last={number + 1}>; rel="next"'
        return json_reply(200, self._page_of(number), headers)


def test_pages_with_nothing_on_them_end_no_list(client: Client) -> None:
    """A page may hold fewer entries than requested (OCI distribution spec, Listing Tags)."""
    entry = IMAGE.manifest.descriptor()
    with Paged(lambda number: {"tags": ["t"] if number == 2 else []}, last=2) as fake:
        assert client.tags(f"{fake.host}/app") == ["t"]
    index = {"schemaVersion": 2, "mediaType": INDEX.index.media_type}
    with Paged(lambda number: index | {"manifests": [entry] * (number == 2)}, last=2) as fake:
        fake.add_image("app", IMAGE, "t")
        assert [str(each.digest) for each in client.referrers(f"{fake.host}/app:t")] == [
            IMAGE.digest
        ]


def test_nothing_but_empty_pages_is_no_whole_list(client: Client) -> None:
    with Paged(lambda _: {"tags": []}) as fake:
        with pytest.raises(RegistryError, match="over 100 empty pages in a row"):
            client.tags(f"{fake.host}/app")
        assert len(fake.requests) < 200


@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        ("x" * 129, "x" * 80),
        ("", ""),
        (f"sha256:{'0' * 64}", f"sha256:{'0' * 64}"),  # as in lists of some versions of Artifactory
        (".a", ".a"),
        ("a/b", "a/b"),
        ("\u202e\x1b[2Ja", "\\u202e\\x1b[2Ja"),
        ("a\ud800", "a\\ud800"),
    ],
)
def test_invalid_tags_are_left_out(client: Client, odd: str, shown: str) -> None:
    """The grammar of tags is in the OCI distribution spec, Pulling manifests."""
    warnings: list[str] = []
    with Paged(lambda _: {"tags": ["t", odd, "u", "/"]}, last=0) as fake:
        found = client.tags(
            f"{fake.host}/app", on_event=lambda event: warnings.append(event.message)
        )
    assert found == ["t", "u"]
    (warning,) = warnings
    assert warning.startswith("2 invalid tags left out of the list")
    assert warning.endswith(f"(such as '{shown}')")


def test_referrers_are_bounded_in_bytes(client: Client) -> None:
    def page(number: int) -> dict[str, object]:
        entry = {
            "mediaType": IMAGE.manifest.media_type,
            "digest": f"sha256:{number:064x}",
            "size": 1,
            "annotations": {"much": "x" * 4_000_000},
        }
        return {
            "schemaVersion": 2,
            "mediaType": INDEX.index.media_type,
            "manifests": [entry],
        }

    with Paged(page) as fake:
        fake.add_image("app", IMAGE, "t")
        with pytest.raises(Unsupported, match="16 MiB"):
            client.referrers(f"{fake.host}/app:t")


def test_half_a_character_is_not_a_tag(wherry: Wherry) -> None:
    with Paged(lambda _: {"tags": ["a\ud800"]}, last=0) as fake:
        fake.add_image("app", IMAGE, "t")
        done = wherry("inspect", f"{fake.host}/app:t")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["RepoTags"] == []
    assert "1 invalid tag left out of the list" in done.stderr
