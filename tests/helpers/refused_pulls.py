"""Failing pulls: the content of the registry, and the expected error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bad_images import BAD_IMAGES
from pulls import BIG, BLOB, GOOD, LAYER, SHORT, TARS
from wherry import (
    Denied,
    IntegrityError,
    InvalidDocument,
    NetworkError,
    NotFound,
    PlatformMismatch,
    RateLimited,
    RegistryError,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    Corrupt,
    Delay,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    Replace,
    SilentPort,
    build_image,
    build_index,
    document,
    make_certificate,
    refused_port,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CREDENTIALS = {"me": "pass word"}


@dataclass
class Place:
    """The set-up of a case, which may change `reference` and `arguments`."""

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
    """A set-up, and the error, exit code and message that it leads to."""

    name: str
    setup: Callable[[Place], object]
    kind: type[WherryError]
    code: int
    says: str  # a regular expression
    hint: str = ""  # a regular expression


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
    """The layer fails before the config, but the error is that of the config."""
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
    # Missing images, unreachable hosts
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
    # Access denied
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
    # Not an image
    Case("helm", bad("a helm chart"), Unsupported, 1, "helm chart"),
    Case("plugin", bad("a docker plugin"), Unsupported, 1, "docker plugin"),
    Case("cosign", bad("a signature"), Unsupported, 1, "cosign signature"),
    Case("in-toto", bad("an attestation"), Unsupported, 1, "in-toto"),
    Case("artifact-type", bad("an artifact type"), Unsupported, 1, "text/x-poem"),
    Case("foreign-layer",
         absent_foreign, NotFound, 3, "blob"),
    # Invalid documents
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
    # Content that differs from its descriptor
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
