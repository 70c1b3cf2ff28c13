"""Pulls of what is broken, from what is broken: the error, the exit code, what the store keeps."""

from __future__ import annotations

import hashlib
import re
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import wherry as library
from bad_images import BAD_IMAGES
from waiting import wait_for
from wherry import (
    Cancelled,
    CancelToken,
    Client,
    Denied,
    Event,
    IntegrityError,
    InvalidDocument,
    InvalidReference,
    NetworkError,
    NotFound,
    PlatformMismatch,
    RateLimited,
    RegistryError,
    Status,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.content.pipeline import Limits
from wherry.content.verify import RawLimit
from wherry.image_store import local_store
from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    ContentLength,
    ContentRange,
    Corrupt,
    Cut,
    Delay,
    DropHeader,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    IgnoreRange,
    Replace,
    SilentPort,
    Stall,
    Trickle,
    build_image,
    build_index,
    compress,
    document,
    make_certificate,
    pseudo_random_files,
    refused_port,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from conftest import Wherry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CREDENTIALS = {"me": "pass word"}

TARS = [tar_layer(pseudo_random_files(seed, 60_000, 2)) for seed in range(4)]
GOOD = build_image(TARS[:2])
BIG = build_image([tar_layer(pseudo_random_files(9, 1_500_000, 2))])
LAYER = BIG.layers[0]
BLOB = f"/blobs/{LAYER.digest}"
TIMEOUT = 1.5  # seconds: a busy machine answers within it
SHORT = LAYER.digest[: len("sha256:") + 12]


# What a store holds, seen from outside


@dataclass(frozen=True)
class Snapshot:
    """The names of a store and what they stand for; its parts; operations under way."""

    names: tuple[tuple[str, str, str], ...] = ()
    parts: tuple[str, ...] = ()
    leases: tuple[str, ...] = ()


def snapshot(store: library.Store) -> Snapshot:
    """Look at a store; every blob in it is what its name says."""
    for file in (store.path / "blobs").glob("*/*"):
        assert hashlib.new(file.parent.name, file.read_bytes()).hexdigest() == file.name
    return Snapshot(
        tuple(
            (name, str(root), str(image.id))
            for name, root, image in local_store(store).named_images()
        ),
        *(
            tuple(sorted(file.name for file in (store.path / directory).glob("*")))
            for directory in ("ingest", "leases")
        ),
    )


def check_parts(store: library.Store, registry: FakeRegistry) -> None:
    """Check that each part is a beginning of its blob, and remove it.

    A config that fails stops the layers where they are: what has arrived of them is kept.
    """
    for part in (store.path / "ingest").glob("*"):
        data, blob = part.read_bytes(), registry.blobs[part.stem.replace("-", ":", 1)]
        assert isinstance(blob, bytes)
        assert 0 < len(data) <= len(blob)
        assert blob.startswith(data)
        assert part.stem != LAYER.digest.replace(":", "-") or blob == LAYER.data
        part.unlink()


def blob_path(store: library.Store, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return store.path / "blobs" / algorithm / value


def part_size(store: library.Store, digest: str) -> int:
    part = store.path / "ingest" / f"{digest.replace(':', '-')}.part"
    return part.stat().st_size if part.exists() else -1


class Watch:
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, status: Status) -> list[Event]:
        return [event for event in self.events if event.status is status]


# Bad input. Each case sets a registry up and tells what has to come of pulling from it.


@dataclass
class Place:
    """Where a case puts what is to be pulled; `reference` and `arguments` may be changed."""

    registry: FakeRegistry
    stack: ExitStack
    directory: Path
    reference: str
    arguments: list[str] = field(default_factory=list)
    credentials: tuple[str, str] | None = None
    platform: str | None = None

    def serve(self, image: BuiltImage | BuiltIndex) -> None:
        self.registry.add_image("app", image, "t")

    def serve_document(self, value: object, media_type: str = OCI_MANIFEST) -> None:
        raw = value if isinstance(value, bytes) else document(value)
        self.registry.add_manifest("app", raw, media_type, "t")

    def other(self, **options: object) -> FakeRegistry:
        registry = self.stack.enter_context(FakeRegistry(**options))  # type: ignore[arg-type]
        registry.add_image("app", GOOD, "t")
        self.reference = f"{registry.host}/app:t"
        return registry


@dataclass(frozen=True)
class Case:
    """What is served, which error and exit code it makes, and what the message has to hold."""

    name: str
    setup: Callable[[Place], object]
    kind: type[WherryError]
    code: int
    says: str  # a regular expression
    hint: str = ""  # as well


def bad(name: str) -> Callable[[Place], object]:
    return lambda place: BAD_IMAGES[name].serve(place.registry)


def refer(host: str) -> Callable[[Place], object]:
    return lambda place: setattr(place, "reference", host)


def inject(action: object, path: str = "", method: str | None = None) -> Callable[[Place], object]:
    def setup(place: Place) -> None:
        place.serve(BIG)
        place.registry.inject(Fault(action, path=path, method=method))  # type: ignore[arg-type]

    return setup


def absent_foreign(place: Place) -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    image = build_image([tar_layer({"foreign": b"x"})], layer_media_types=[kind])
    place.serve(image)
    del place.registry.blobs[image.layers[0].digest]


def unknown_tag(place: Place) -> None:
    place.serve(GOOD)
    place.reference = f"{place.registry.host}/app:nightly"


def silent(place: Place) -> None:
    port = place.stack.enter_context(SilentPort())
    place.reference = f"{port.host}/app:t"


def silent_tls(place: Place) -> None:
    port = place.stack.enter_context(SilentPort())
    place.reference = f"{port.host}/app:t"
    place.arguments.append("--insecure")


def untrusted(place: Place) -> None:
    _, certificate, key = make_certificate(place.directory / "certificates")
    place.other(tls=(certificate, key))


def bad_password(place: Place) -> None:
    place.other(users=CREDENTIALS)
    place.credentials = ("me", "not it")


def manifest_for_a_digest(place: Place) -> None:
    digest = place.registry.add_manifest("app", GOOD.manifest.data, OCI_MANIFEST, digest=BIG.digest)
    place.reference = f"{place.registry.host}/app@{digest}"


def unknown_digest(place: Place) -> None:
    place.serve(GOOD)
    place.reference = f"{place.registry.host}/app@{sha256(b'nothing')}"


def truncated_blob(place: Place) -> None:
    place.serve(BIG)
    place.registry.blobs[LAYER.digest] = LAYER.data[:-1000]


def longer_blob(place: Place) -> None:
    place.serve(BIG)
    place.registry.blobs[LAYER.digest] = LAYER.data + b"more"


def missing(*pieces: str) -> Callable[[Place], object]:
    def setup(place: Place) -> None:
        place.serve(BIG)
        for piece in pieces:
            del place.registry.blobs[BIG.config.digest if piece == "config" else LAYER.digest]

    return setup


def config_after_the_layer(place: Place) -> None:
    """The layer fails at once, the config fails later: the config's failure is the one told."""
    missing("config", "layer")(place)
    place.registry.inject(Fault(Delay(0.4), path=BIG.config.digest))


def for_platform(platform: str | None, image: BuiltImage | BuiltIndex) -> Callable[[Place], object]:
    def setup(place: Place) -> None:
        place.serve(image)
        place.platform = platform

    return setup


INDEX = build_index(
    [
        (build_image([TARS[0]], architecture="s390x"), {"os": "linux", "architecture": "s390x"}),
        (build_image([TARS[0]], architecture="riscv64"),
         {"os": "linux", "architecture": "riscv64"}),
        (build_image([TARS[1]], os="unknown", architecture="unknown"),
         {"os": "unknown", "architecture": "unknown"}),
    ]
)  # fmt: skip

MISMATCH = "layers from manifest don't match image configuration"

CASES = [
    # Not there, not to be reached
    Case("unknown-tag", unknown_tag, NotFound, 3, r"app:nightly: .*not found"),
    Case("unknown-digest", unknown_digest, NotFound, 3, r"app@sha256:[0-9a-f]{64}: .*not found"),
    Case(
        "unknown-repository",
        lambda place: setattr(place, "reference", f"{place.registry.host}/none/such:t"),
        NotFound, 3, r"none/such:t: .*not found"),
    Case("unknown-host", refer("no-such-host.invalid/app:t"), NetworkError, 6,
         r"no-such-host\.invalid: no such host"),
    Case("refused", lambda place: setattr(place, "reference", f"127.0.0.1:{refused_port()}/app:t"),
         NetworkError, 6, r"127\.0\.0\.1:\d+: .*refused"),
    Case("silent", silent, NetworkError, 6, r"127\.0\.0\.1:\d+: no answer"),
    Case("silent-tls", silent_tls, NetworkError, 6, r"127\.0\.0\.1:\d+: no answer"),
    Case("hangs-up", inject(HangUp()), NetworkError, 6, r"127\.0\.0\.1:\d+: the connection"),
    Case("certificate", untrusted, NetworkError, 6, "certificate", "SSL_CERT_FILE"),
    # Not allowed
    Case("no-credentials", lambda place: place.other(users=CREDENTIALS), Unauthorized, 4,
         r"/app: access denied \(401 UNAUTHORIZED: authentication required", "wherry login"),
    Case("bad-password", bad_password, Unauthorized, 4,
         r"/app: access denied \(401 UNAUTHORIZED: authentication required", "given"),
    Case(
        "forbidden",
        inject(FixedReply(403, body=b'{"errors":[{"code":"DENIED","message":"not\\nfor you"}]}')),
        Denied, 4, r"403 DENIED: not for you"),
    Case("too-many-requests", inject(FixedReply(429), "/manifests/"), RateLimited, 6, "slow down"),
    Case("server-error", inject(FixedReply(500), "/manifests/"), RegistryError, 1, "500"),
    # No image
    Case("helm", bad("a helm chart"), Unsupported, 1, "helm chart"),
    Case("plugin", bad("a docker plugin"), Unsupported, 1, "docker plugin"),
    Case("cosign", bad("a signature"), Unsupported, 1, "cosign signature"),
    Case("in-toto", bad("an attestation"), Unsupported, 1, "in-toto"),
    Case("artifact-type", bad("an artifact type"), Unsupported, 1, "text/x-poem"),
    Case("foreign-layer",
         absent_foreign, NotFound, 3, "blob"),
    # Documents that break the rules
    Case("two-kinds", bad("two kinds"), InvalidDocument, 1, "one kind"),
    Case("two-kinds-schema1", bad("two kinds, schema1"), InvalidDocument, 1, "one kind"),
    Case("type-disagrees", lambda place: place.serve_document(BIG.manifest.data, OCI_INDEX),
         InvalidDocument, 1, "mediaType"),
    Case("not-json", bad("not JSON"), InvalidDocument, 1, "JSON"),
    Case("web-page", lambda place: place.serve_document(b"<html>", "text/html"),
         NetworkError, 6, "sent a web page, not a manifest$", "in a browser"),
    Case("duplicate-key", bad("a duplicate key"), InvalidDocument, 1, "layers"),
    Case("deep", bad("deep"), InvalidDocument, 1, "deep|nested"),
    Case("large", bad("over 4 MiB"), InvalidDocument, 1, "4 MiB"),
    Case("negative-size", bad("a config of negative size"), InvalidDocument, 1, r"config\.size"),
    Case("bad-digest", bad("a bad digest"), InvalidDocument, 1, r"layers\[2\]\.digest"),
    Case("no-config", bad("no config"), InvalidDocument, 1, "config"),
    # Content that is not what was announced
    Case("manifest-digest", manifest_for_a_digest, IntegrityError, 5,
         r"app@sha256:[0-9a-f]{64}: .*does not match its digest \(got sha256:", "nothing was"),
    Case("manifest-digest-by-tag", inject(Replace(GOOD.manifest.data), "/manifests/sha256:", "GET"),
         IntegrityError, 5, "does not match its digest"),
    Case("blob-digest", inject(Corrupt(at=12345), BLOB), IntegrityError, 5,
         SHORT + r".*does not match its digest \(got sha256:"),
    Case("blob-too-long", longer_blob, IntegrityError, 5, SHORT),
    Case("blob-truncated", truncated_blob, IntegrityError, 5, SHORT),
    Case("config-digest", inject(Corrupt(at=7), BIG.config.digest), IntegrityError, 5,
         "error pulling image configuration: .*does not match its digest"),
    Case("diff-id", bad("another DiffID"), IntegrityError, 5, MISMATCH),
    Case("diff-ids-swapped", bad("DiffIDs that are swapped"), IntegrityError, 5, MISMATCH),
    Case("diff-ids-short", bad("a DiffID too few"), IntegrityError, 5, MISMATCH),
    Case("bad-gzip", bad("gzip with a byte changed"), IntegrityError, 5, "gzip"),
    # Configs
    Case("no-rootfs", bad("no rootfs"), InvalidDocument, 1,
         "error pulling image configuration: .*rootfs"),
    Case("config-missing", missing("config"), NotFound, 3,
         "error pulling image configuration: "),
    Case("layer-missing", missing("layer"), NotFound, 3, SHORT),
    Case("config-before-layer", config_after_the_layer, NotFound, 3,
         "error pulling image configuration: "),
    # Platforms
    Case("platform", for_platform("linux/arm64", INDEX), PlatformMismatch, 3,
         "no image for linux/arm64", "linux/s390x linux/riscv64"),
    Case("platform-of-this-machine", for_platform(None, INDEX), PlatformMismatch, 3,
         "no image for linux/", "linux/s390x linux/riscv64"),
    Case("other-system", for_platform(None, build_image(TARS[:1], os="windows")),
         PlatformMismatch, 3, "windows/amd64"),
    Case("other-architecture", for_platform("linux/arm64", build_image(TARS[:1])),
         PlatformMismatch, 3, "linux/amd64.*linux/arm64"),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def place(fake: FakeRegistry, tmp_path: Path) -> Place:
    return Place(fake, ExitStack(), tmp_path, f"{fake.host}/app:t")


def one_line_and_hints(text: str) -> tuple[str, list[str]]:
    """Check the form in which errors are told; return the line and what stands below it."""
    first, *hints = text.splitlines()
    assert first.startswith("wherry: ")
    assert all(hint.startswith("  ") for hint in hints), text
    assert "Traceback" not in text
    return first, [hint.strip() for hint in hints]


def test_bad_input_raises_its_error_and_leaves_the_store_as_it_was(
    case: Case, place: Place, client: Client, store: library.Store
) -> None:
    # The tag stood for something good before: it must go on to do so.
    place.registry.add_image("app", GOOD, "t")
    client.pull(place.reference)
    place.registry.clear()
    before = snapshot(store)
    assert len(before.names) == 2
    with place.stack:
        case.setup(place)
        with (
            Client(
                store=store,
                timeout=TIMEOUT,
                retries=1,
                credentials=place.credentials,
                insecure="--insecure" in place.arguments,
            ) as once,
            pytest.raises(case.kind) as caught,
        ):
            once.pull(place.reference, platform=place.platform)
    assert type(caught.value) is case.kind
    assert re.search(case.says, str(caught.value))
    assert re.search(case.hint, caught.value.hint)
    assert "\n" not in str(caught.value)
    check_parts(store, place.registry)
    assert snapshot(store) == before
    store.close()


def test_bad_input_exits_with_its_code_and_one_line(
    case: Case, place: Place, wherry: Wherry, store: library.Store
) -> None:
    with place.stack:
        case.setup(place)
        arguments = [*place.arguments, f"--timeout={TIMEOUT}", "--retries=1"]
        if place.credentials:
            arguments.append(f"--creds={':'.join(place.credentials)}")
        if place.platform:
            arguments.append(f"--platform={place.platform}")
        done = wherry("pull", "-q", *arguments, place.reference)
    assert done.returncode == case.code, done.stderr
    assert done.stdout == ""
    first, hints = one_line_and_hints(done.stderr)
    assert re.search(case.says, first)
    assert re.search(case.hint, " ".join(hints))
    # What was asked for, or where it was asked for, is named.
    host, _, rest = place.reference.partition("/")
    assert host in first or rest in first
    check_parts(store, place.registry)
    assert snapshot(store) == Snapshot()


def test_every_error_that_a_pull_raises_is_here() -> None:
    kinds = {case.kind for case in CASES} | {InvalidReference, Cancelled, library.StoreError}
    kinds.add(library.StoreFull)
    every = {
        found
        for found in vars(library.errors).values()
        if isinstance(found, type) and issubclass(found, WherryError)
    }
    others = {library.InvalidDigest, library.Ambiguous, library.errors.UnsafeArchive}
    assert every - kinds == {WherryError, *others}


@pytest.mark.parametrize(
    ("reference", "position", "says"),
    [
        ("Alpine", 0, "lower-case"),
        ("library/alPine:t", 10, "lower-case"),
        ("localhost:5000/a//b", 17, ""),
        ("a:b c", 3, "tag"),
        ("alpine:", 7, "tag"),
        ("alpine@sha256:0123", 14, ""),
        ("alpine@sha256:" + "A" * 64, 14, ""),
        ("-x/y", 0, ""),
        ("a" * 64, 0, "image id"),
        ("a" * 256, 255 - len("library/"), "255"),
        ("ghcr.io/" + "a/" * 127 + "bc", 8 + 255, "255"),
    ],
)
def test_references_that_do_not_parse_get_a_caret(
    wherry: Wherry, client: Client, reference: str, position: int, says: str
) -> None:
    with pytest.raises(InvalidReference) as caught:
        client.pull(reference)
    assert caught.value.position == position
    done = wherry("pull", "--", reference)
    assert done.returncode == 2
    assert done.stdout == ""
    first, text, caret = done.stderr.splitlines()
    assert first.startswith("wherry: invalid reference: ")
    assert says in first
    assert text == f"  {reference}"
    assert caret == "  " + " " * position + "^"


def test_an_error_of_one_name_keeps_what_came_before_it(
    fake: FakeRegistry, wherry: Wherry, store: library.Store
) -> None:
    fake.add_image("app", GOOD, "t")
    done = wherry("pull", f"{fake.host}/app:t", f"{fake.host}/app:none")
    assert done.returncode == 3
    assert done.stdout == f"{GOOD.id}\n"
    assert str(store.get(f"{fake.host}/app:t").id) == GOOD.id


def test_nothing_is_pulled_if_one_name_does_not_parse(fake: FakeRegistry, wherry: Wherry) -> None:
    fake.add_image("app", GOOD, "t")
    assert wherry("pull", f"{fake.host}/app:t", "Bad").returncode == 2
    assert fake.requests == []


def test_a_blob_that_is_always_cut_is_a_network_error_and_keeps_its_part(
    fake: FakeRegistry, store: library.Store
) -> None:
    fake.add_image("app", BIG, "t")
    fake.inject(Fault(Cut(after=0), path=BLOB, skip=1))
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    with Client(store=store, retries=2) as client, pytest.raises(NetworkError) as caught:
        client.pull(f"{fake.host}/app:t")
    assert caught.value.host == fake.host
    assert part_size(store, LAYER.digest) == 100_000
    assert snapshot(store).names == ()
    ranges = [request.headers.get("range") for request in fake.requests if BLOB in request.path]
    assert ranges[:2] == [None, "bytes=100000-"]
    assert set(ranges[1:]) == {"bytes=100000-"}


def test_a_blob_that_is_always_cut_exits_with_6(fake: FakeRegistry, wherry: Wherry) -> None:
    fake.add_image("app", BIG, "t")
    fake.inject(Fault(Cut(after=0), path=BLOB))
    done = wherry("pull", "-q", "--retries=2", f"{fake.host}/app:t")
    assert done.returncode == 6
    one_line_and_hints(done.stderr)


def test_a_layer_that_claims_too_much_is_refused(fake: FakeRegistry, tmp_path: Path) -> None:
    small = compress(bytes(5_000_000), "zstd")
    image = build_image(
        [small],
        compression="none",
        layer_media_types=["application/vnd.oci.image.layer.v1.tar+zstd"],
        diff_ids=[sha256(bytes(5_000_000))],
    )
    fake.add_image("app", image, "t")
    limited = library.Store(tmp_path / "limited", limits=Limits(RawLimit(1_000_000, ratio=10)))
    with Client(store=limited) as client, pytest.raises(IntegrityError) as caught:
        client.pull(f"{fake.host}/app:t")
    assert "1,000,000" in str(caught.value)
    assert snapshot(limited) == Snapshot()
    assert not blob_path(limited, image.layers[0].digest).exists()
    limited.close()
    allowed = library.Store(tmp_path / "allowed", limits=Limits(RawLimit(5_000_000, ratio=10)))
    with Client(store=allowed) as client:
        assert str(client.pull(f"{fake.host}/app:t").id) == image.id
    allowed.close()


def test_another_architecture_that_nobody_asked_for_is_a_warning(
    fake: FakeRegistry, wherry: Wherry, client: Client
) -> None:
    image = build_image(TARS[:1], architecture="s390x")
    fake.add_image("app", image, "t")
    watch = Watch()
    assert str(client.pull(f"{fake.host}/app:t", on_event=watch).id) == image.id
    assert len(watch.of(Status.WARNING)) == 1
    done = wherry("pull", "-q", f"{fake.host}/app:t")
    assert done.returncode == 0
    assert done.stdout == f"{image.id}\n"
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("Warning: ")
    assert "linux/s390x" in warning


def test_another_system_is_refused_before_its_layers_are_stored(
    fake: FakeRegistry, store: library.Store, client: Client
) -> None:
    image = build_image([LAYER.data], os="windows", compression="none")
    fake.add_image("app", image, "t")
    fake.inject(Fault(Stall(after=1000), path=image.layers[0].digest))
    with pytest.raises(PlatformMismatch):
        client.pull(f"{fake.host}/app:t")
    assert not blob_path(store, image.layers[0].digest).exists()


def test_a_layer_that_fails_does_not_stop_the_config(
    fake: FakeRegistry, store: library.Store, client: Client
) -> None:
    missing("layer")(Place(fake, ExitStack(), store.path, ""))
    fake.inject(Fault(Delay(0.4), path=BIG.config.digest))
    with pytest.raises(NotFound, match=SHORT):
        client.pull(f"{fake.host}/app:t")
    assert blob_path(store, BIG.config.digest).read_bytes() == BIG.config.data


def test_a_config_that_fails_stops_the_layers(fake: FakeRegistry, client: Client) -> None:
    missing("config")(Place(fake, ExitStack(), client.store.path, ""))
    fake.inject(Fault(Stall(after=1000), path=BLOB))
    with pytest.raises(NotFound, match=r"^\S+/app:t: error pulling image configuration: "):
        client.pull(f"{fake.host}/app:t")


# Faults that a pull survives


def blob_requests(fake: FakeRegistry, digest: str) -> list[str | None]:
    """Return the ``Range`` of each request for a blob."""
    path = f"/blobs/{digest}"
    return [
        request.headers.get("range")
        for request in fake.requests
        if request.method == "GET" and path in request.path
    ]


def whole(store: library.Store, name: str, image: BuiltImage) -> None:
    """Check that an image is in a store to the last byte, and no part of it is left."""
    found = store.get(name)
    assert (str(found.id), str(found.digest)) == (image.id, image.digest)
    for piece in (image.manifest, *image.blobs()):
        assert blob_path(store, piece.digest).read_bytes() == piece.data
    assert snapshot(store).parts == ()


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", BIG, "t")
    return f"{fake.host}/app:t"


@pytest.mark.parametrize("offset", [1, 4096, 262_144, 300_001, LAYER.size - 1])
def test_a_cut_is_resumed_at_the_byte(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, offset: int
) -> None:
    fake.inject(Fault(Cut(after=offset), path=BLOB, times=1))
    watch = Watch()
    client.pull(name, on_event=watch)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, f"bytes={offset}-"]
    (retry,) = watch.of(Status.RETRYING)
    assert str(retry.digest) == LAYER.digest
    assert 0 < retry.seconds <= 0.25


def test_cut_after_cut(fake: FakeRegistry, name: str, store: library.Store) -> None:
    # More cuts in all than attempts in a row: each attempt got further than the one before.
    for _ in range(7):
        fake.inject(Fault(Cut(after=50_000), path=BLOB, times=1))
    with Client(store=store, retries=2) as patient:
        patient.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [
        None,
        *[f"bytes={50_000 * count}-" for count in range(1, 8)],
    ]


def test_a_reset(fake: FakeRegistry, name: str, client: Client, store: library.Store) -> None:
    fake.inject(Fault(Cut(after=100_000, reset=True), path=BLOB, times=1))
    client.pull(name)
    whole(store, name, BIG)


def test_a_connection_without_an_answer(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(HangUp(), path=BLOB, times=1))
    fake.inject(Fault(HangUp(), path="/manifests/t", times=1))
    client.pull(name)
    whole(store, name, BIG)


def test_a_stall_longer_than_the_time_out(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=70_000), path=BLOB, times=1))
    with Client(store=store, timeout=TIMEOUT) as client:
        client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=70000-"]


def test_a_range_that_is_ignored_starts_over(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(IgnoreRange(), path=BLOB))
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    "value",
    [
        f"bytes 0-{LAYER.size - 1}/{LAYER.size}",
        f"bytes 99999-{LAYER.size - 1}/{LAYER.size}",
        f"bytes 100000-{LAYER.size - 2}/{LAYER.size}",
        f"bytes 100000-{LAYER.size}/{LAYER.size + 1}",
        "bytes */1",
        "nonsense",
        None,
    ],
)
def test_a_wrong_content_range_is_not_appended(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, value: str | None
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(ContentRange(value), path=BLOB))
    client.pull(name)
    whole(store, name, BIG)
    requests = blob_requests(fake, LAYER.digest)
    assert requests[:2] == [None, "bytes=100000-"]
    assert None in requests[2:]  # it had to be fetched without a range


@pytest.mark.usefixtures("environment")
def test_a_range_that_cannot_be_satisfied_starts_over(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    # The length is a lie, as Distribution tells it: a client that reads the body waits for ever.
    fake.inject(Fault(ContentLength(LAYER.size), path=BLOB, skip=1, times=1))
    fake.inject(Fault(Stall(after=5), path=BLOB, skip=1, times=1))
    fake.inject(Fault(FixedReply(416, body=b"lies and more lies"), path=BLOB, skip=1, times=1))
    with Client(store=store, timeout=600) as client:
        client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-", None]


def test_a_resume_with_wrong_bytes_is_fetched_once_more_from_zero(
    fake: FakeRegistry, name: str, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(Corrupt(at=10), path=BLOB, skip=1, times=1))
    with Client(store=store, retries=1) as client:
        with pytest.raises(NetworkError):
            client.pull(name)
        assert part_size(store, LAYER.digest) == 100_000
        client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-", None]


def test_wrong_bytes_after_a_cut_are_fetched_once_more_from_zero(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(Corrupt(at=10), path=BLOB, skip=1, times=1))
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-", None]


def test_what_is_wrong_twice_is_not_fetched_a_third_time(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
    fake.inject(Fault(Cut(after=200_000), path=BLOB, skip=1, times=1))
    fake.inject(Fault(Corrupt(at=10), path=BLOB, skip=1))
    with pytest.raises(IntegrityError):
        client.pull(name)
    assert snapshot(store).parts == ()
    ranges = blob_requests(fake, LAYER.digest)
    assert ranges == [None, "bytes=100000-", None, "bytes=200000-"]


def test_a_fresh_download_with_wrong_bytes_is_not_tried_again(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fault = fake.inject(Fault(Corrupt(at=10), path=BLOB))
    with pytest.raises(IntegrityError):
        client.pull(name)
    assert fault.count == 1
    assert snapshot(store) == Snapshot()


def test_a_part_that_is_complete_is_verified_without_a_request(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    part = store.path / "ingest" / f"{LAYER.digest.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(LAYER.data)
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == []


@pytest.mark.parametrize("data", [bytes(LAYER.size), LAYER.data + b"x", bytes(100)])
def test_a_part_that_is_wrong_is_fetched_anew(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, data: bytes
) -> None:
    part = store.path / "ingest" / f"{LAYER.digest.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data)
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest)[-1] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (BLOB, 503),
        (BLOB, 408),
        (BIG.config.digest, 503),
        ("/manifests/t", 500),
        ("/manifests/sha256", 504),
    ],
)
def test_two_bad_answers_and_then_a_good_one(
    fake: FakeRegistry, name: str, store: library.Store, path: str, status: int
) -> None:
    fault = fake.inject(Fault(FixedReply(status), path=path, times=2))
    watch = Watch()
    with Client(store=store, retries=3) as client:
        client.pull(name, on_event=watch)
    whole(store, name, BIG)
    assert fault.count == 2
    assert len(watch.of(Status.RETRYING)) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_cannot_get_better_is_not_tried_again(
    fake: FakeRegistry, name: str, client: Client, status: int
) -> None:
    fault = fake.inject(Fault(FixedReply(status), path=BLOB))
    with pytest.raises(WherryError):
        client.pull(name)
    assert fault.count == 1


@pytest.mark.parametrize("path", [BLOB, "/manifests/t"])
def test_retry_after_is_obeyed(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, path: str
) -> None:
    fake.inject(Fault(FixedReply(429, {"Retry-After": "1"}), path=path, times=1))
    watch = Watch()
    started = time.monotonic()
    client.pull(name, on_event=watch)
    assert time.monotonic() - started >= 1
    whole(store, name, BIG)
    assert [event.seconds for event in watch.of(Status.RETRYING)] == [1.0]


def test_retry_after_a_day_is_not_waited_for(fake: FakeRegistry, name: str, client: Client) -> None:
    fake.inject(Fault(FixedReply(429, {"Retry-After": "86400"}), path="/manifests/t"))
    with pytest.raises(RateLimited) as caught:
        client.pull(name)
    assert caught.value.retry_after == 86400


@pytest.mark.parametrize(
    "fault",
    [
        FixedReply(405),
        FixedReply(404),
        FixedReply(400),
        DropHeader("Docker-Content-Digest"),
    ],
    ids=["405", "404", "400", "no-digest"],
)
def test_without_head_the_tag_is_fetched_and_hashed(
    fake: FakeRegistry,
    name: str,
    client: Client,
    store: library.Store,
    fault: FixedReply | DropHeader,
) -> None:
    fake.inject(Fault(fault, method="HEAD"))
    client.pull(name)
    whole(store, name, BIG)
    documents = [
        (request.method, request.path.rpartition("/")[2])
        for request in fake.requests
        if "/manifests/" in request.path
    ]
    assert documents == [("HEAD", "t"), ("GET", "t")]


def test_a_registry_that_does_not_know_its_own_digest(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fault = fake.inject(Fault(FixedReply(404), path=f"/manifests/{BIG.digest}"))
    watch = Watch()
    client.pull(name, on_event=watch)
    whole(store, name, BIG)
    assert fault.count == 1
    (warning,) = watch.of(Status.WARNING)
    assert fake.host in warning.message
    documents = [r.path for r in fake.requests if "/manifests/" in r.path]
    assert documents == [
        "/v2/app/manifests/t",
        f"/v2/app/manifests/{BIG.digest}",
        "/v2/app/manifests/t",
    ]


def test_a_registry_whose_head_lies_is_believed_by_its_bytes(
    fake: FakeRegistry, name: str, client: Client
) -> None:
    """SPEC: "one fall-back by tag"; what comes then is named by its own digest."""
    events: list[Event] = []
    fake.add_image("app", GOOD)
    fake.inject(Fault(FixedReply(404), path=f"/manifests/{BIG.digest}"))
    fake.inject(Fault(Replace(GOOD.manifest.data), method="GET", path="/manifests/t"))
    image = client.pull(name, on_event=events.append)
    assert str(image.digest) == GOOD.digest
    warnings = [event.message for event in events if event.status is Status.WARNING]
    assert any(fake.host in message for message in warnings)


def test_a_digest_that_was_asked_for_has_no_fall_back(
    fake: FakeRegistry, name: str, client: Client
) -> None:
    fake.inject(Fault(FixedReply(404), path=f"/manifests/{BIG.digest}"))
    with pytest.raises(NotFound):
        client.pull(f"{name}@{BIG.digest}")
    assert len(fake.requests) == 1


def test_a_token_that_ends_halfway_is_replaced(store: library.Store) -> None:
    with FakeRegistry(tokens=True, expires_in=1) as registry:
        registry.add_image("app", BIG, "t")
        registry.inject(Fault(Cut(after=100_000), path=BLOB, times=1))
        registry.inject(Fault(Delay(1.3), path=BLOB, times=1))
        with Client(store=store) as client:
            client.pull(f"{registry.host}/app:t")
        whole(store, f"{registry.host}/app:t", BIG)
        assert registry.tokens_issued == 2
        assert blob_requests(registry, LAYER.digest)[-1] == "bytes=100000-"


# At the same time

MANY = build_image([tar_layer(pseudo_random_files(30 + seed, 80_000, 2)) for seed in range(4)])


def each_blob_once(fake: FakeRegistry, image: BuiltImage) -> None:
    got = Counter(
        request.path.rpartition("/")[2]
        for request in fake.requests
        if request.method == "GET" and "/blobs/" in request.path
    )
    assert got == Counter(piece.digest for piece in image.blobs())


def test_two_threads_fetch_each_blob_once(fake: FakeRegistry, store: library.Store) -> None:
    fake.add_image("app", MANY, "t")
    fake.inject(Fault(Delay(0.3), path="/blobs/"))
    ids: list[str] = []
    watches = [Watch(), Watch()]

    def pull(client: Client, watch: Watch) -> None:
        ids.append(str(client.pull(f"{fake.host}/app:t", on_event=watch).id))

    with Client(store=store) as first, Client(store=store) as second:
        pairs = zip((first, second), watches, strict=True)
        threads = [threading.Thread(target=pull, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert ids == [MANY.id] * 2
    each_blob_once(fake, MANY)
    whole(store, f"{fake.host}/app:t", MANY)
    for watch in watches:
        ended = watch.of(Status.COMPLETE) + watch.of(Status.EXISTS)
        assert {str(event.digest) for event in ended} == {piece.digest for piece in MANY.layers}


def test_two_processes_fetch_each_blob_once(
    fake: FakeRegistry, wherry: Wherry, store: library.Store
) -> None:
    fake.add_image("app", MANY, "t")
    fake.inject(Fault(Delay(0.7), path="/blobs/"))
    running = [wherry.start("pull", f"{fake.host}/app:t") for _ in range(2)]
    for process in running:
        output, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert output == f"{MANY.id}\n"
    each_blob_once(fake, MANY)
    whole(store, f"{fake.host}/app:t", MANY)


def test_whoever_waits_goes_on_when_the_other_one_is_killed(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=100_000), path=BLOB, times=1))
    first = wherry.start("pull", name)
    wait_for(lambda: part_size(store, LAYER.digest) == 100_000)
    second = wherry.start("pull", name)
    wait_for(lambda: len([r for r in fake.requests if r.method == "HEAD"]) == 2)
    time.sleep(0.3)
    assert blob_requests(fake, LAYER.digest) == [None]
    first.kill()
    first.communicate(timeout=5)
    output, errors = second.communicate(timeout=10)
    assert second.returncode == 0, errors
    assert output == f"{BIG.id}\n"
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=100000-"]
    whole(store, name, BIG)


# Stopping


@dataclass
class Running:
    """A pull in a thread of its own."""

    token: CancelToken = field(default_factory=CancelToken)
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self, client: Client, name: str) -> None:
        def run() -> None:
            try:
                client.pull(name, cancel=self.token)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """Cancel, and wait for the pull to end; the faults of these tests last longer."""
        assert self.thread is not None
        self.token.cancel()
        self.thread.join(20)
        assert not self.thread.is_alive()


def test_cancel_while_a_blob_stalls(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=200_000), path=BLOB, times=1))
    running = Running()
    running.start(client, name)
    wait_for(lambda: part_size(store, LAYER.digest) == 200_000)
    running.cancel()
    assert isinstance(running.error, Cancelled)
    assert part_size(store, LAYER.digest) == 200_000
    assert snapshot(store).names == ()
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=200000-"]


@pytest.mark.parametrize(
    "path", ["/manifests/t", f"/manifests/{BIG.digest}", BIG.config.digest, BLOB]
)
def test_cancel_while_an_answer_does_not_come(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, path: str
) -> None:
    fault = fake.inject(Fault(Delay(60), path=path, times=1))
    running = Running()
    running.start(client, name)
    wait_for(lambda: fault.count == 1)
    time.sleep(0.05)
    running.cancel()
    assert isinstance(running.error, Cancelled)
    client.pull(name)
    whole(store, name, BIG)


def test_cancel_during_a_pause_before_another_attempt(
    fake: FakeRegistry, name: str, client: Client
) -> None:
    fault = fake.inject(Fault(FixedReply(429, {"Retry-After": "60"}), path=BLOB))
    running = Running()
    running.start(client, name)
    wait_for(lambda: fault.count == 1)
    time.sleep(0.1)
    running.cancel()
    assert isinstance(running.error, Cancelled)
    assert fault.count == 1


def test_cancelled_before_it_began(fake: FakeRegistry, name: str, client: Client) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        client.pull(name, cancel=token)
    assert fake.requests == []


def interrupt(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    """Send a signal and return what the process wrote until its end."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    return output, errors


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], signal.SIGINT),
        ([], signal.SIGTERM),
        (["-q"], signal.SIGINT),
        (["--progress=tty"], signal.SIGINT),
    ],
    ids=["plain", "plain-term", "quiet", "tty"],
)
def test_an_interrupt_while_a_blob_stalls(
    fake: FakeRegistry,
    name: str,
    wherry: Wherry,
    store: library.Store,
    number: signal.Signals,
    options: Sequence[str],
) -> None:
    fake.inject(Fault(Stall(after=500_000), path=BLOB, times=1))
    process = wherry.start("pull", *options, name)
    wait_for(lambda: part_size(store, LAYER.digest) == 500_000)
    time.sleep(0.15)
    output, errors = interrupt(process, number)
    assert process.returncode == 130
    assert output == ""
    told = errors.splitlines()[-1]
    assert "wherry: interrupted; " in told
    assert re.search(r"[\d.]+ of [\d.]+ [kM]B are kept", told)
    assert "Traceback" not in errors
    assert part_size(store, LAYER.digest) == 500_000
    assert snapshot(store).names == ()
    done = wherry("pull", name)
    assert done.returncode == 0, done.stderr
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=500000-"]
    whole(store, name, BIG)


def test_what_is_said_to_be_kept_is_what_is_there(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=500_000), path=BLOB, times=1))
    process = wherry.start("pull", name)
    wait_for(lambda: part_size(store, LAYER.digest) == 500_000)
    time.sleep(0.3)
    _, errors = interrupt(process, signal.SIGINT)
    found = re.search(r"([\d.]+) of ([\d.]+) (kB|MB) are kept", errors)
    assert found is not None, errors
    unit = {"kB": 1e3, "MB": 1e6}[found[3]]
    assert abs(float(found[1]) * unit - 500_000) < 0.06 * 1e6
    assert abs(float(found[2]) * unit - LAYER.size) < 0.06 * 1e6


@pytest.mark.parametrize("options", [[], ["-q"], ["--progress=tty"]], ids=["plain", "quiet", "tty"])
def test_a_connection_that_stays_away_leaves_what_the_next_pull_goes_on_with(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store, options: Sequence[str]
) -> None:
    small = build_image([tar_layer({"small": b"x"})])
    fake.add_image("small", small, "t")
    first = f"{fake.host}/small:t"
    fake.inject(Fault(Cut(after=500_000), path=LAYER.digest, times=1))
    fake.inject(Fault(Cut(after=0), path=LAYER.digest, skip=1))
    done = wherry("pull", *options, "--retries", "1", first, name, f"{fake.host}/small:no")
    assert (done.returncode, done.stdout) == (6, f"{small.id}\n")
    told = done.stderr[done.stderr.index("wherry: ") :].splitlines()
    assert re.fullmatch(r"  [\d.]+ of [\d.]+ [kM]B are kept, the next pull goes on .*", told[1])
    assert part_size(store, LAYER.digest) == 500_000
    # What is not there has nothing that could be kept.
    assert [line for line in told[2:] if "kept" in line] == []
    assert told[-2].startswith(f"wherry: {fake.host}/small:no: not found")


def test_an_interrupt_before_anything_arrived(
    fake: FakeRegistry, name: str, wherry: Wherry
) -> None:
    fault = fake.inject(Fault(Delay(60), path="/manifests/"))
    process = wherry.start("pull", name)
    wait_for(lambda: fault.count == 1)
    output, errors = interrupt(process, signal.SIGINT)
    assert process.returncode == 130
    assert (output, errors.splitlines()[-1]) == ("", "wherry: interrupted")


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=300_000), path=BLOB, times=1))
    process = wherry.start("pull", name)
    wait_for(lambda: part_size(store, LAYER.digest) == 300_000)
    process.kill()
    process.communicate(timeout=5)
    assert snapshot(store).names == ()
    assert wherry("pull", name).returncode == 0
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=300000-"]
    assert str(store.get(name).id) == BIG.id


def test_a_slow_registry_is_no_silent_one(fake: FakeRegistry, store: library.Store) -> None:
    # Every byte starts the time-out anew. All of it takes twice as long.
    slow = build_image([tar_layer({"a": bytes(range(256)) * 4})], compression="none")
    fake.add_image("app", slow, "t")
    fake.inject(Fault(Trickle(slow.layers[0].size / 2 / TIMEOUT), path=slow.layers[0].digest))
    with Client(store=store, timeout=TIMEOUT, retries=1) as client:
        assert str(client.pull(f"{fake.host}/app:t").id) == slow.id
    assert len(blob_requests(fake, slow.layers[0].digest)) == 1


def test_limits_of_a_client() -> None:
    for wrong in ({"jobs": 0}, {"retries": 0}, {"timeout": 0}):
        options: Mapping[str, int] = wrong
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Client(**options)  # type: ignore[arg-type]
