"""Addresses of images (docs/command.md, "Addresses")."""

import pytest

from wherry.errors import InvalidReference
from wherry.model.address import Address, Where
from wherry.model.digest import Digest
from wherry.model.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("ghcr.io/o/r:tag", "ghcr.io/o/r:tag"),
        (f"r@{DIGEST}", f"docker.io/library/r@{DIGEST}"),
        ("docker://alpine", "docker.io/library/alpine:latest"),
        ("docker://localhost:5000/oci:x", "localhost:5000/oci:x"),
        ("oci", "docker.io/library/oci:latest"),
        ("storehouse:1", "docker.io/library/storehouse:1"),
    ],
)
def test_registries(text: str, reference: str) -> None:
    address = Address.parse(text)
    assert (address.where, str(address.reference)) == (Where.REGISTRY, reference)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("store:alpine", Address(Where.STORE, "alpine", given=Reference.parse("alpine"))),
        (
            "store:0f5c1c1b9a7e",
            Address(Where.STORE, "0f5c1c1b9a7e", given=Reference.parse("0f5c1c1b9a7e")),
        ),
        (f"store:{'0' * 64}", Address(Where.STORE, "0" * 64)),
        ("oci:a/b", Address(Where.OCI, path="a/b")),
        ("oci:/a/b:1.0", Address(Where.OCI, "1.0", "/a/b")),
        ("oci:a:x.io/y:1", Address(Where.OCI, "x.io/y:1", "a")),
        (f"oci:a:@{DIGEST}", Address(Where.OCI, path="a", digest=Digest.parse(DIGEST))),
        ("oci-archive:a.tar", Address(Where.OCI_ARCHIVE, path="a.tar")),
        ("oci-archive:a.tar:v1", Address(Where.OCI_ARCHIVE, "v1", "a.tar")),
        (
            f"oci-archive:a:@{DIGEST}",
            Address(Where.OCI_ARCHIVE, "", "a", None, Digest.parse(DIGEST)),
        ),
        ("docker-archive:a.tar", Address(Where.DOCKER_ARCHIVE, path="a.tar")),
        ("docker-archive:a.tar:@2", Address(Where.DOCKER_ARCHIVE, path="a.tar", position=2)),
        (
            "docker-archive:a.tar:app",
            Address(Where.DOCKER_ARCHIVE, "app", "a.tar", Reference.parse("app")),
        ),
        ("dir:a", Address(Where.DIR, path="a")),
        ("dir:a:b", Address(Where.DIR, path="a:b")),
    ],
)
def test_other_places(text: str, expected: Address) -> None:
    address = Address.parse(text)
    assert address == expected
    assert Address.parse(str(address)) == address


def test_a_bare_name_means_what_the_command_says() -> None:
    given = Reference.parse("a:1")
    assert Address.parse("a:1", bare=Where.STORE) == Address(Where.STORE, "a:1", given=given)
    assert Address.parse("a:1", bare=Where.ANY) == Address(
        Where.ANY, "a:1", given=given, short=True
    )
    assert Address.parse("docker://a:1", bare=Where.STORE).where is Where.REGISTRY
    assert Address.parse("dir:a", bare=Where.ANY).where is Where.DIR


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("Alpine", 0),
        ("docker://", 9),
        ("docker://a/B", 11),
        ("store:", 6),
        ("oci:", 4),
        ("oci::x", 4),
        ("oci:a:", 6),
        ("oci:a:@sha256:b", 7),
        ("dir:", 4),
        ("dir:a\0b", 5),
        ("docker-archive:a:@x", 18),
        ("docker-archive:a:@-1", 18),
        ("docker-archive:a:B", 17),
    ],
)
def test_an_invalid_address_has_the_position(text: str, position: int) -> None:
    with pytest.raises(InvalidReference) as caught:
        Address.parse(text)
    assert (caught.value.text, caught.value.position) == (text, position)


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("oci:s3://bucket", "s3://bucket", ""),
        ("oci:s3://bucket:1.2", "s3://bucket", "1.2"),
        ("oci:s3://bucket/a/b", "s3://bucket/a/b", ""),
        ("oci:s3://bucket/a/b/:1.2", "s3://bucket/a/b", "1.2"),
        ("oci:gs://my.bucket/a:ghcr.io/app:1", "gs://my.bucket/a", "ghcr.io/app:1"),
        ("oci:az://container/a b", "az://container/a b", ""),
        (f"oci:s3://bucket/app@x:app@{DIGEST}", "s3://bucket/app@x", f"app@{DIGEST}"),
    ],
)
def test_layouts_in_object_storage(text: str, path: str, name: str) -> None:
    address = Address.parse(text)
    assert (address.path, address.name, address.in_cloud) == (path, name, True)
    assert str(address) == text.replace("/:", ":")
    assert Address.parse(str(address)) == address


def test_a_digest_in_object_storage() -> None:
    assert Address.parse(f"oci:s3://bucket:@{DIGEST}").digest == Digest(DIGEST)
    assert Address.parse(f"oci:s3://bucket/a:@{DIGEST}").digest == Digest(DIGEST)


def test_a_directory_that_is_named_like_a_service() -> None:
    address = Address.parse("oci:s3:tag")
    assert (address.path, address.name, address.in_cloud) == ("s3", "tag", False)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("oci:s3://", 9, "the bucket's name is missing"),
        ("oci:s3:///a", 9, "the bucket's name is missing"),
        ("oci:s3://a_b!/c", 9, "not the name of a bucket"),
        ("oci:s3://bucket/a//b", 18, "cannot be a part of a prefix"),
        ("oci:s3://bucket/a/../b:1", 18, "cannot be a part of a prefix"),
        ("oci:s3://bucket/a%20b", 16, "cannot be a part of a prefix"),
        ("oci:s3://bucket/a:", 18, "the image's name is missing"),
        ("oci:s3://bucket/a:@sha256:1", 19, "invalid sha256 digest"),
        ("oci:s3://127.0.0.1:9000/bucket/a", 9, "the server does not belong in it"),
        ("oci-archive:s3://bucket/a.tar", 12, "only a layout (oci:)"),
        ("dir:s3://bucket/a", 4, "only a layout (oci:)"),
    ],
)
def test_errors_in_object_storage(text: str, position: int, message: str) -> None:
    with pytest.raises(InvalidReference) as failure:
        Address.parse(text)
    assert message in str(failure.value)
    assert (failure.value.text, failure.value.position) == (text, position)


@pytest.mark.parametrize("place", ["KEY:SECRET@bucket/a", "KEY:SEC/RET@bucket/a", "SECRET@bucket"])
def test_credentials_in_an_address_are_not_shown(place: str) -> None:
    with pytest.raises(InvalidReference, match="credentials do not belong") as failure:
        Address.parse(f"oci:s3://{place}:1")
    assert "SEC" not in f"{failure.value}{failure.value.text}{failure.value.hint}"
