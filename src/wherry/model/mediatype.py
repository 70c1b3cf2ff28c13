"""Media types of images and artifacts."""

from __future__ import annotations

import re

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_PLAIN_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
OCI_PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
KNOWN = MANIFESTS | INDEXES | SCHEMA1
_KINDS = ((MANIFESTS, "manifest"), (INDEXES, "index"), (SCHEMA1, "schema1 manifest"))

# The ``Accept`` header of requests for manifests.
ACCEPT = (
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1_SIGNED,
    DOCKER_SCHEMA1,
)

# Types that do not tell the kind of a document; its fields do.
GENERIC = frozenset({"", "text/plain", "application/json", "application/octet-stream"})

# Types that some tools give to configs of images.
_SLOPPY_CONFIGS = frozenset({"application/octet-stream", "application/json", "text/html", ""})
# A config is an image's if its type is one of these, or starts with one and a dot.
_IMAGE_TYPES = ("application/vnd.oci.image", "application/vnd.docker")

_ARTIFACTS = (
    ("application/vnd.docker.plugin.", "a docker plugin"),
    ("application/vnd.docker.ai.", "an AI model"),
    ("application/vnd.docker.compose.", "a compose project"),
    ("application/vnd.cncf.helm.", "a helm chart"),
    ("application/vnd.dev.cosign.", "a cosign signature"),
    ("application/vnd.dev.sigstore.", "a sigstore bundle"),
    ("application/vnd.cncf.notary.", "a notary signature"),
    ("application/vnd.in-toto", "an in-toto attestation"),
    ("application/vnd.wasm.", "a WebAssembly module"),
    ("application/spdx", "an SBOM (SPDX)"),
    ("text/spdx", "an SBOM (SPDX)"),
    ("application/vnd.cyclonedx", "an SBOM (CycloneDX)"),
    ("application/vnd.syft", "an SBOM (Syft)"),
    ("application/vnd.cncf.flux.", "a Flux artifact"),
    ("application/vnd.cncf.openpolicyagent.", "an Open Policy Agent bundle"),
)

_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.diff.",
    "application/vnd.oci.image.layer.nondistributable.",
)


_LAYERS = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)
_PACKINGS = {"gzip", "gz", "zstd", "zst", "bzip2", "bz2", "xz"}


def essence(content_type: str) -> str:
    """Return a ``Content-Type`` without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def kind_of(media_type: str) -> str | None:
    """Return the kind of a document: ``index``, ``manifest``; None if it is unknown."""
    lowered = media_type.lower()
    return next((name for types, name in _KINDS if lowered in types), None)


def may_be_image(media_type: str) -> bool:
    """Tell whether the type of an index's entry may be an image's; none may be."""
    return not media_type or media_type.lower() in KNOWN


def is_image_config(media_type: str) -> bool:
    """Tell whether the type of a config is that of an image.

    The case is ignored. A type matches exactly or up to a dot, as in Docker (engine 24,
    distribution/pull_v2.go).
    """
    kind = media_type.lower()
    if artifact_name(kind) is not None:
        return False
    return any(kind == known or kind.startswith(f"{known}.") for known in _IMAGE_TYPES)


def is_sloppy_config(media_type: str) -> bool:
    """Tell whether the type of a config is one that some tools give to images."""
    return media_type.lower() in _SLOPPY_CONFIGS


def is_foreign(media_type: str) -> bool:
    """Tell whether a layer is foreign: registries need not have it."""
    return media_type.lower().startswith(_FOREIGN)


def unreadable_layer(media_type: str) -> str | None:
    """Return why layers of a type cannot be read; None if they may be readable.

    ocicrypt and imgcrypt mark encrypted layers with ``+encrypted``. For types that are neither
    Docker's nor OCI's, the first bytes of the layer decide.
    """
    kind = essence(media_type)
    words = set(re.split(r"[.+]", kind))
    if kind.endswith(("+encrypted", "+enc")):
        return "is encrypted"
    if not kind.startswith(_LAYERS):
        return None
    if not words & {"tar", "tgz"}:
        return "is not a tar"
    packing = kind.partition("+")[2]
    return f"is packed with {packing}" if packing and packing not in _PACKINGS else None


def layer_type(compression: str | None, *, docker: bool) -> str:
    """Return the type of a layer, uncompressed (None) or compressed with gzip or zstd."""
    if docker:
        return DOCKER_PLAIN_LAYER + (f".{compression}" if compression else "")
    return OCI_PLAIN_LAYER + (f"+{compression}" if compression else "")


def artifact_name(media_type: str) -> str | None:
    """Return the kind of artifact for people: ``a helm chart``; None if it is unknown."""
    kind = media_type.lower()
    return next((name for prefix, name in _ARTIFACTS if kind.startswith(prefix)), None)
