import pytest

from wherry.model import mediatype

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."


@pytest.mark.parametrize(
    ("written", "essence"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("  text/plain ;x=y;z", "text/plain"),
        ("", ""),
        (";", ""),
        (mediatype.OCI_INDEX.upper(), mediatype.OCI_INDEX),
    ],
)
def test_the_essence_has_no_parameters_and_is_in_lower_case(written: str, essence: str) -> None:
    assert mediatype.essence(written) == essence


@pytest.mark.parametrize(
    ("media_type", "foreign"),
    [
        (DOCKER + "image.rootfs.foreign.diff.tar.gzip", True),
        (OCI + "layer.nondistributable.v1.tar", True),
        (OCI.upper() + "LAYER.NONDISTRIBUTABLE.V1.TAR+GZIP", True),
        (DOCKER + "image.rootfs.diff.tar.gzip", False),
        (OCI + "layer.v1.tar+gzip", False),
        ("", False),
    ],
)
def test_foreign_layers_are_known_by_their_type(media_type: str, *, foreign: bool) -> None:
    assert mediatype.is_foreign(media_type) is foreign


@pytest.mark.parametrize(
    ("media_type", "word"),
    [
        (DOCKER + "plugin.v1+json", "plugin"),
        ("application/vnd.cncf.helm.config.v1+json", "helm"),
        ("application/vnd.dev.cosign.simplesigning.v1+json", "cosign"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "sigstore"),
        ("application/vnd.in-toto+json", "in-toto"),
        ("APPLICATION/SPDX+JSON", "SBOM"),
    ],
)
def test_artifacts_have_names_for_people(media_type: str, word: str) -> None:
    """Errors name the kind of an artifact."""
    assert word in (mediatype.artifact_name(media_type) or "")


@pytest.mark.parametrize("media_type", ["", OCI + "config.v1+json", "application/vnd.acme.x"])
def test_an_unknown_artifact_has_no_name(media_type: str) -> None:
    assert mediatype.artifact_name(media_type) is None


OCI_LAYER = "application/vnd.oci.image.layer"


@pytest.mark.parametrize(
    ("media_type", "reason"),
    [
        (f"{OCI_LAYER}.v1.tar+gzip+encrypted", "is encrypted"),
        (f"{OCI_LAYER}.v1.tar+encrypted", "is encrypted"),
        (f"{OCI_LAYER}.v1.TAR+ZSTD+Encrypted", "is encrypted"),
        (f"{OCI_LAYER}.nondistributable.v1.tar+gzip+encrypted", "is encrypted"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted", "is encrypted"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip+enc", "is encrypted"),
        (f"{OCI_LAYER}.v1.erofs", "is not a tar"),
        (f"{OCI_LAYER}.v1.squashfs+zstd", "is not a tar"),
        (f"{OCI_LAYER}.v1.tar+lz4", "is packed with lz4"),
        (f"{OCI_LAYER}.v1.tar", None),
        (f"{OCI_LAYER}.v1.tar+gzip", None),
        (f"{OCI_LAYER}.v1.tar.gzip", None),
        (f"{OCI_LAYER}.tar+zstd", None),
        (f"{OCI_LAYER}.nondistributable.v1.tar+gzip", None),
        ("application/vnd.docker.image.rootfs.diff.tar", None),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", None),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", None),
        ("application/octet-stream", None),
        ("application/vnd.example.encrypted.v1", None),
        ("", None),
    ],
)
def test_layers_that_cannot_be_read_are_known_by_their_type(
    media_type: str, reason: str | None
) -> None:
    assert mediatype.unreadable_layer(media_type) == reason


def test_a_request_asks_for_every_type_of_manifest_and_for_schema1_last() -> None:
    assert set(mediatype.ACCEPT) == mediatype.KNOWN
    assert set(mediatype.ACCEPT[-2:]) == mediatype.SCHEMA1


def test_the_sets_of_types_are_disjoint() -> None:
    sets = [mediatype.MANIFESTS, mediatype.INDEXES, mediatype.SCHEMA1, mediatype.GENERIC]
    assert sum(map(len, sets)) == len(frozenset().union(*sets))
