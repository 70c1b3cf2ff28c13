"""Copies with referrers and cosign's tags: what is found at the destination, and what is asked."""

from __future__ import annotations

import itertools
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

import wherry as library
from artifacts import (
    SBOM,
    SIGNATURE,
    cosign,
    cosign_tag,
    document_of,
    refer_by_index,
    refer_to,
)
from index_images import IMAGE
from wherry import Status
from wherry.testing import (
    CutHead,
    Distribution,
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
    build_index,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import BuiltImage, BuiltIndex, RegistryName

    Place = Callable[[str], str]

_numbers = itertools.count()
NAMES: list[RegistryName] = [
    *("acr", "artifactory", "distribution-2.8", "ecr", "gar", "ghcr"),
    *("gitlab", "harbor", "hub", "keppel", "nexus", "quay"),
]
pytestmark = pytest.mark.usefixtures("environment")
FIRST = refer_to(IMAGE, SBOM, b'{"sbom": true}', author="me")
SECOND = refer_to(FIRST, SIGNATURE, b"\x00signed")
CHILD = build_image([b"child"], compression="none", layer_media_types=["text/plain"])
GROUP = refer_by_index(IMAGE, CHILD)
COSIGNED = cosign(b"cosigned")
ATTACHED: list[BuiltImage | BuiltIndex] = [FIRST, SECOND, GROUP, COSIGNED]
TAG = cosign_tag(IMAGE)
ATTESTATION = build_image(
    [b"{}"],
    compression="none",
    layer_media_types=["application/vnd.in-toto+json"],
    manifest_extra={"subject": IMAGE.manifest.descriptor()},
)


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    """A registry with an image and all that refers to it."""
    with FakeRegistry(referrers=True) as registry:
        registry.add_image("app", IMAGE, "1")
        for image in (FIRST, SECOND, GROUP):
            registry.add_image("app", image)
        registry.add_image("app", COSIGNED, TAG)
        yield registry


@pytest.fixture(params=["api", "tags", "distribution", "served", "oci", "oci-archive"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return the addresses of images with a tag or digest at a place of each kind."""
    match request.param:
        case "oci" | "oci-archive":
            yield lambda name: f"{request.param}:{tmp_path}/copied:{name}"
        case "distribution" | "served" as kind:
            if kind == "served":
                host = request.getfixturevalue("served_host")
            else:
                host = request.getfixturevalue("distribution").host
            repository = f"copied{next(_numbers)}"
            yield lambda name: f"docker://{host}/{repository}:{name}".replace(":@", "@")
        case kind:
            with FakeRegistry(referrers=kind == "api") as registry:
                yield lambda name: f"docker://{registry.host}/copied:{name}".replace(":@", "@")


def found(client: Client, address: str, **more: Any) -> set[str]:
    return {str(entry.digest) for entry in client.referrers(address, **more)}


def test_referrers_are_copied_recursively(
    client: Client, source: FakeRegistry, place: Place
) -> None:
    done = client.copy(f"{source.host}/app:1", place("2"), referrers=True)
    assert str(done.root.digest) == IMAGE.digest
    assert done.names == ("2",)
    assert found(client, place("2")) == {FIRST.digest, GROUP.digest}
    assert found(client, place(f"@{FIRST.digest}")) == {SECOND.digest}
    assert found(client, place("2"), artifact_type=SBOM) == {FIRST.digest}
    assert str(client.digest(place(TAG))) == COSIGNED.digest
    for artifact in (CHILD, *ATTACHED):
        assert client.manifest(place(f"@{artifact.digest}")).raw == document_of(artifact).data
    for artifact in (FIRST, SECOND, CHILD, COSIGNED):
        for piece in artifact.blobs():
            digest = library.Digest(piece.digest)
            with client.blob(place(f"@{artifact.digest}"), digest) as blob:
                assert blob.read() == piece.data


@pytest.mark.parametrize("like", NAMES)
def test_registries_by_name(
    client: Client, source: FakeRegistry, like: RegistryName, tmp_path: Path
) -> None:
    """With tokens, and with referrers where the registry has them: to it, and from it."""
    users = {"me": "secret"}
    with FakeRegistry(like=like, referrers=True, users=users, tokens=True) as registry:
        address = f"{registry.host}/team/app:2"
        with library.Client(credentials=("me", "secret"), store=tmp_path / "own") as known:
            known.copy(f"{source.host}/app:1", address, referrers=True)
            assert found(known, address) == {FIRST.digest, GROUP.digest}
            known.copy(address, f"oci:{tmp_path}/copied:2", referrers=True)
        assert registry.tags["team/app"].keys() >= {"2", TAG}
    assert found(client, f"oci:{tmp_path}/copied:2") == {FIRST.digest, GROUP.digest}
    assert str(client.digest(f"oci:{tmp_path}/copied:{TAG}")) == COSIGNED.digest


def test_a_copy_of_a_copy(client: Client, source: FakeRegistry, place: Place) -> None:
    """What was copied to a place is copied from there, too."""
    client.copy(f"{source.host}/app:1", place("2"), referrers=True)
    with FakeRegistry(referrers=True) as last:
        client.copy(place("2"), f"{last.host}/app:3", referrers=True)
        expected = {each.digest for each in (IMAGE, CHILD, *ATTACHED)}
        assert last.manifests["app"].keys() == expected
        assert last.tags["app"] == {"3": IMAGE.digest, TAG: COSIGNED.digest}


def test_without_the_option_nothing_is_looked_for(
    client: Client, source: FakeRegistry, place: Place
) -> None:
    client.copy(f"{source.host}/app:1", place("2"))
    assert not [each for each in source.requests if "referrers" in each.path or TAG in each.path]
    assert found(client, place("2")) == set()


def test_the_same_again_sends_no_blob(client: Client, source: FakeRegistry, place: Place) -> None:
    client.copy(f"{source.host}/app:1", place("2"), referrers=True)
    source.clear()
    done = client.copy(f"{source.host}/app:1", place("2"), referrers=True)
    if not place("").startswith("oci-archive"):
        assert done.sent == 0
        assert not [request for request in source.requests if "/blobs/" in request.path]
    assert found(client, place("2")) == {FIRST.digest, GROUP.digest}


@pytest.mark.parametrize("place", ["api", "tags", "distribution", "served", "oci"], indirect=True)
def test_referrers_are_added_to_a_copy_without_them(
    client: Client, source: FakeRegistry, place: Place
) -> None:
    client.copy(f"{source.host}/app:1", place("2"))
    client.copy(f"{source.host}/app:1", place("2"), referrers=True)
    assert found(client, place("2")) == {FIRST.digest, GROUP.digest}


@pytest.mark.parametrize("place", ["tags", "distribution"], indirect=True)
def test_a_referrer_that_is_there_and_not_listed(
    client: Client, source: FakeRegistry, place: Place
) -> None:
    """A client that was killed between its two requests leaves such a document behind."""
    client.copy(f"{source.host}/app@{FIRST.digest}", place("sbom"))
    client.delete(place(IMAGE.digest.replace(":", "-")), force=True)
    client.copy(f"{source.host}/app:1", place("2"))
    assert found(client, place("2")) == set()
    client.copy(f"{source.host}/app:1", place("2"), referrers=True)
    assert found(client, place("2")) == {FIRST.digest, GROUP.digest}


def test_referrers_come_after_their_subjects_and_tags_last(
    client: Client, source: FakeRegistry
) -> None:
    with FakeRegistry(referrers=True) as target:
        client.copy(f"{source.host}/app:1", f"{target.host}/app:1", referrers=True)
        puts = [each.path for each in target.requests if each.method == "PUT"]
        put = [path.rpartition("/")[2] for path in puts if "/manifests/" in path]
    places = [put.index(each) for each in (IMAGE.digest, FIRST.digest, SECOND.digest, TAG, "1")]
    assert places == sorted(places)
    assert put.index(CHILD.digest) < put.index(GROUP.digest)
    assert put[-1] == "1"


@pytest.mark.parametrize("kind", ["store", "dir", "docker-archive"])
def test_places_that_keep_no_referrers(
    client: Client, source: FakeRegistry, tmp_path: Path, kind: str
) -> None:
    address = "store:app:1" if kind == "store" else f"{kind}:{tmp_path}/copied"
    with pytest.raises(library.Unsupported, match="keep referrers"):
        client.copy(f"{source.host}/app:1", address, referrers=True)
    assert not (tmp_path / "copied").exists()


def test_a_source_that_keeps_no_referrers(client: Client, source: FakeRegistry) -> None:
    """The store does not; a note says that none are sent."""
    client.pull(f"{source.host}/app:1")
    with FakeRegistry(referrers=True) as target:
        name = f"{target.host}/app:1"
        done = client.copy(f"store:{source.host}/app:1", name, referrers=True)
        assert target.manifests["app"].keys() == {IMAGE.digest}
    (note,) = done.notes
    assert note.endswith("has no referrers to copy: only registries and OCI layouts keep them")


# Indexes


@pytest.fixture
def indexed(source: FakeRegistry) -> tuple[FakeRegistry, BuiltIndex, BuiltImage, BuiltImage]:
    """An index with an attestation that has a subject; the index and an image are signed."""
    other = build_image([tar_layer({"a": b"arm"})], architecture="arm64")
    notes = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": IMAGE.digest,
    }
    platforms: list[tuple[BuiltImage, dict[str, object]]] = [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (other, {"os": "linux", "architecture": "arm64"}),
        (ATTESTATION, {"os": "unknown", "architecture": "unknown"}),
    ]
    entries = [image.manifest.descriptor() | {"platform": each} for image, each in platforms]
    entries[2]["annotations"] = notes
    index = build_index(list(platforms), extra={"manifests": entries})
    signature, arm = refer_to(index, SIGNATURE, b"index"), refer_to(other, SIGNATURE, b"arm")
    source.add_image("app", index, "all")
    for image in (signature, arm):
        source.add_image("app", image)
    source.add_image("app", cosign(b"index"), cosign_tag(index))
    return source, index, signature, arm


def test_an_index_with_all_that_refers_to_it(
    client: Client,
    indexed: tuple[FakeRegistry, BuiltIndex, BuiltImage, BuiltImage],
    place: Place,
) -> None:
    source, index, signature, arm = indexed
    client.copy(f"{source.host}/app:all", place("all"), all_platforms=True, referrers=True)
    assert found(client, place(f"@{index.digest}")) == {signature.digest}
    assert found(client, place(f"@{index.images[1].digest}")) == {arm.digest}
    assert found(client, place(f"@{IMAGE.digest}")) >= {FIRST.digest, GROUP.digest}
    assert str(client.digest(place(cosign_tag(index)))) == cosign(b"index").digest


def test_a_smaller_index_loses_its_signature(
    client: Client,
    indexed: tuple[FakeRegistry, BuiltIndex, BuiltImage, BuiltImage],
    place: Place,
) -> None:
    """The digest of the index changes; those of its images and their referrers do not."""
    source, index, _, arm = indexed
    done = client.copy(
        f"{source.host}/app:all",
        place("less"),
        all_platforms=True,
        attestations=False,
        referrers=True,
    )
    assert str(done.root.digest) != index.digest
    assert found(client, place("less")) == set()
    assert found(client, place(f"@{index.images[1].digest}")) == {arm.digest}
    listed = found(client, place(f"@{IMAGE.digest}"))
    assert listed - {ATTESTATION.digest} == {FIRST.digest, GROUP.digest}
    for artifact in (GROUP, FIRST, SECOND):
        assert client.manifest(place(f"@{artifact.digest}")).raw == document_of(artifact).data


def test_a_sparse_index_keeps_its_signature(
    client: Client, indexed: tuple[FakeRegistry, BuiltIndex, BuiltImage, BuiltImage]
) -> None:
    source, index, signature, arm = indexed
    with FakeRegistry(referrers=True, takes_sparse=True) as target:
        done = client.copy(
            f"{source.host}/app:all",
            f"{target.host}/app:all",
            platform="linux/amd64",
            sparse=True,
            referrers=True,
        )
        assert str(done.root.digest) == index.digest
        assert signature.digest in target.manifests["app"]
        assert arm.digest not in target.manifests["app"]
        assert {FIRST.digest, SECOND.digest} <= target.manifests["app"].keys()
        assert target.tags["app"].keys() == {"all", TAG, cosign_tag(index)}


def test_converted_images_lose_their_signatures(client: Client, source: FakeRegistry) -> None:
    with FakeRegistry(referrers=True) as target:
        names = f"{source.host}/app:1", f"{target.host}/app:1"
        done = client.copy(*names, convert_to="docker", referrers=True)
        assert target.manifests["app"].keys() == {str(done.root.digest)}
        assert target.tags["app"] == {"1": str(done.root.digest)}


def test_artifacts_stay_as_they_are_beside_an_image_of_the_format(client: Client) -> None:
    """Only what is below the root is converted."""
    image = build_image([tar_layer({"a": b"docker"})], style="docker")
    artifact = refer_to(image)
    with FakeRegistry(referrers=True) as source, FakeRegistry(referrers=True) as target:
        source.add_image("app", image, "1")
        source.add_image("app", artifact)
        names = f"{source.host}/app:1", f"{target.host}/app:1"
        client.copy(*names, convert_to="docker", referrers=True)
        assert target.manifests["app"].keys() == {image.digest, artifact.digest}


# Bounds and faults


def test_a_cycle_of_referrers(client: Client, source: FakeRegistry) -> None:
    """Signatures that sign each other by cosign's tags."""
    one, two = cosign(b"one"), cosign(b"two")
    source.add_image("app", one, cosign_tag(COSIGNED), cosign_tag(two))
    source.add_image("app", two, cosign_tag(one))
    with FakeRegistry() as target:
        client.copy(f"{source.host}/app:1", f"{target.host}/app:1", referrers=True)
        assert target.tags["app"][cosign_tag(one)] == two.digest
        assert target.tags["app"][cosign_tag(two)] == one.digest


def test_a_missing_referrer_is_left_out(client: Client, source: FakeRegistry) -> None:
    source.inject(Fault(FixedReply(404), path=f"/manifests/{SECOND.digest}"))
    warnings: list[str] = []

    def listen(event: library.Event) -> None:
        if event.status is Status.WARNING:
            warnings.append(event.message)

    with FakeRegistry(referrers=True) as target:
        names = f"{source.host}/app:1", f"{target.host}/app:1"
        client.copy(*names, referrers=True, on_event=listen)
        assert FIRST.digest in target.manifests["app"]
        assert SECOND.digest not in target.manifests["app"]
    assert len(warnings) == 1
    assert SECOND.digest in warnings[0]


def test_nothing_is_named_after_a_failure(client: Client, source: FakeRegistry) -> None:
    with FakeRegistry(referrers=True) as target:
        target.inject(Fault(FixedReply(400), method="PUT", path=f"/manifests/{SECOND.digest}"))
        with pytest.raises(library.RegistryError):
            client.copy(f"{source.host}/app:1", f"{target.host}/app:1", referrers=True)
        assert target.tags.get("app", {}) == {}


def test_answers_are_lost(client: Client, source: FakeRegistry) -> None:
    tag = IMAGE.digest.replace(":", "-")
    with FakeRegistry() as target:
        target.inject(Fault(CutHead(5), method="PUT", path="/manifests/", times=2))
        target.inject(Fault(CutHead(5), method="GET", path=tag, times=1))
        client.copy(f"{source.host}/app:1", f"{target.host}/app:1", referrers=True)
        assert found(client, f"{target.host}/app:1") == {FIRST.digest, GROUP.digest}


def test_copies_of_referrers_at_once(
    client: Client, distribution: Distribution, tmp_path: Path
) -> None:
    """Two commands add referrers to one subject; Distribution 2.8 keeps what was written last."""
    artifacts = [refer_to(IMAGE, data=b"%d" % number) for number in range(6)]
    with FakeRegistry(referrers=True) as source:
        for number, artifact in enumerate(artifacts):
            source.add_image(f"app{number % 2}", IMAGE, "1")
            source.add_image(f"app{number % 2}", artifact)
        start = threading.Barrier(2)

        def copy(number: int) -> None:
            with library.Client(store=tmp_path / f"{number}") as own:
                start.wait(60)
                name = f"{source.host}/app{number}:1"
                own.copy(name, f"{distribution.host}/both:1", referrers=True)

        threads = [threading.Thread(target=copy, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert found(client, f"{distribution.host}/both:1") == {each.digest for each in artifacts}


# The command


def test_the_command_mentions_the_race_in_detail_only(source: FakeRegistry, wherry: Wherry) -> None:
    with FakeRegistry() as target:
        names = f"docker://{source.host}/app:1", f"docker://{target.host}"
        quiet = wherry("copy", "--referrers", names[0], f"{names[1]}/one:1")
        assert quiet.returncode == 0
        assert "may be lost" not in quiet.stderr
        wordy = wherry("-v", "copy", "--referrers", names[0], f"{names[1]}/two:1")
        notes = [line for line in wordy.stderr.splitlines() if line.startswith("Note: ")]
        assert len(notes) == 2  # the image and its SBOM have referrers
        assert IMAGE.digest.replace(":", "-") in notes[0]
        shown = wherry("referrers", "--json", f"{names[1]}/two:1")
        assert {each["digest"] for each in json.loads(shown.stdout)} == {
            FIRST.digest,
            GROUP.digest,
        }


@pytest.mark.peer("skopeo")
def test_skopeo_reads_what_was_copied(
    client: Client, source: FakeRegistry, distribution: Distribution, skopeo: Callable[..., str]
) -> None:
    host = f"{distribution.host}/for-skopeo"
    client.copy(f"{source.host}/app:1", f"{host}:1", referrers=True)
    for name in (f":{TAG}", f"@{SECOND.digest}"):
        raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{host}{name}")
        image = COSIGNED if name.startswith(":") else SECOND
        assert raw.encode() == image.manifest.data
    tag = IMAGE.digest.replace(":", "-")
    index = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{host}:{tag}"))
    assert {each["digest"] for each in index["manifests"]} == {FIRST.digest, GROUP.digest}
    assert {each["artifactType"] for each in index["manifests"]} == {
        SBOM,
        "application/vnd.example.set",
    }


def test_docker_images_keep_their_referrers(client: Client, place: Place) -> None:
    """A layout lists a converted root; the referrers stay with the unchanged one."""
    image = build_image([tar_layer({"a": b"docker"})], style="docker")
    artifact = refer_to(image)
    with FakeRegistry(referrers=True) as source:
        source.add_image("app", image, "1")
        source.add_image("app", artifact)
        client.copy(f"{source.host}/app:1", place("1"), referrers=True)
    assert found(client, place(f"@{image.digest}")) == {artifact.digest}
