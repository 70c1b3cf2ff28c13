"""Pulls from a real registry by tag, digest and name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry import Client, Event, Status
from wherry.testing import BuiltImage, Distribution, build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from conftest import Wherry


pytestmark = pytest.mark.peer("docker-registry")

PASSWORD = "correct horse"
TARS = [tar_layer(pseudo_random_files(seed, 40_000, 2)) for seed in range(8)]
IMAGE = build_image(TARS[:2])
OTHER = build_image(TARS[2:4])
# Another manifest with the same config and layers.
SAME_ID = build_image(TARS[:2], manifest_extra={"annotations": {"again": "yes"}})
WIDE = build_image(TARS)


class Watch:
    """Collect the events of a pull."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def outcome(self) -> list[str]:
        return [event.message for event in self.events if event.status is Status.DONE]

    @property
    def digests(self) -> list[str]:
        return [str(event.digest) for event in self.events if event.status is Status.DIGEST]


def whole_pull(repository: str, tag: str, image: BuiltImage) -> Counter[tuple[str, str, int]]:
    """Return the exact requests of one pull by tag."""
    root = f"/v2/{repository}"
    blobs = [("GET", f"{root}/blobs/{piece.digest}", 200) for piece in image.blobs()]
    return Counter(
        [
            ("HEAD", f"{root}/manifests/{tag}", 200),
            ("GET", f"{root}/manifests/{image.digest}", 200),
            *blobs,
        ]
    )


class TestNames:
    @pytest.fixture
    def name(self, distribution: Distribution, repository: str) -> str:
        distribution.push(repository, IMAGE, "t")
        distribution.clear()
        return f"{distribution.host}/{repository}"

    def test_by_tag(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert (str(image.id), str(image.digest)) == (IMAGE.id, IMAGE.digest)
        assert set(image.names) == {f"{name}:t", f"{name}@{IMAGE.digest}"}
        assert watch.outcome == [f"Downloaded newer image for {name}:t"]
        assert watch.digests == [IMAGE.digest]
        assert Counter(distribution.requests()) == whole_pull(repository, "t", IMAGE)

    def test_latest_without_a_tag(
        self, repository: str, client: Client, distribution: Distribution
    ) -> None:
        distribution.push(repository, IMAGE, "latest")
        image = client.pull(f"{distribution.host}/{repository}")
        assert f"{distribution.host}/{repository}:latest" in image.names

    def test_by_digest(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        image = client.pull(f"{name}@{IMAGE.digest}")
        assert str(image.id) == IMAGE.id
        assert image.names == (f"{name}@{IMAGE.digest}",)
        wanted = whole_pull(repository, "t", IMAGE)
        del wanted["HEAD", f"/v2/{repository}/manifests/t", 200]
        assert Counter(distribution.requests()) == wanted

    def test_by_tag_and_digest_the_digest_counts(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        distribution.push(repository, OTHER, "t")
        watch = Watch()
        image = client.pull(f"{name}:t@{IMAGE.digest}", on_event=watch)
        assert str(image.id) == IMAGE.id
        assert f"{name}@{IMAGE.digest}" in image.names
        assert watch.outcome == [f"Downloaded newer image for {name}:t@{IMAGE.digest}"]

    def test_by_tag_and_digest_again_is_up_to_date(
        self, name: str, client: Client, distribution: Distribution
    ) -> None:
        both = f"{name}:t@{IMAGE.digest}"
        client.pull(both)
        distribution.clear()
        watch = Watch()
        client.pull(both, on_event=watch)
        assert watch.outcome == [f"Image is up to date for {both}"]
        assert len(distribution.requests()) <= 1

    def test_again_is_one_head(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        client.pull(f"{name}:t")
        distribution.clear()
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert str(image.id) == IMAGE.id
        assert watch.outcome == [f"Image is up to date for {name}:t"]
        assert watch.digests == [IMAGE.digest]
        assert distribution.requests() == [("HEAD", f"/v2/{repository}/manifests/t", 200)]

    def test_again_by_the_command_is_one_head(
        self, name: str, repository: str, wherry: Wherry, distribution: Distribution
    ) -> None:
        first = wherry("pull", f"{name}:t")
        assert first.stderr.splitlines()[-2:] == [
            f"Digest: {IMAGE.digest}",
            f"Status: Downloaded newer image for {name}:t",
        ]
        distribution.clear()
        second = wherry("pull", f"{name}:t")
        assert second.returncode == 0
        assert second.stdout == first.stdout == f"{IMAGE.id}\n"
        assert second.stderr.splitlines()[-2:] == [
            f"Digest: {IMAGE.digest}",
            f"Status: Image is up to date for {name}:t",
        ]
        assert distribution.requests() == [("HEAD", f"/v2/{repository}/manifests/t", 200)]

    def test_again_by_digest_asks_at_most_once(
        self, name: str, client: Client, store: library.Store, distribution: Distribution
    ) -> None:
        client.pull(f"{name}:t")
        distribution.clear()
        watch = Watch()
        with Client(store=store) as fresh:
            fresh.pull(f"{name}@{IMAGE.digest}", on_event=watch)
        assert len(distribution.requests()) <= 1
        assert watch.outcome == [f"Image is up to date for {name}@{IMAGE.digest}"]

    def test_another_name_for_the_same_image_is_new(
        self, name: str, repository: str, client: Client, distribution: Distribution
    ) -> None:
        client.pull(f"{name}:t")
        distribution.push(repository, IMAGE, "u")
        distribution.clear()
        watch = Watch()
        image = client.pull(f"{name}:u", on_event=watch)
        assert watch.outcome == [f"Downloaded newer image for {name}:u"]
        assert set(image.names) == {f"{name}:t", f"{name}:u", f"{name}@{IMAGE.digest}"}
        assert distribution.requests() == [("HEAD", f"/v2/{repository}/manifests/u", 200)]

    def test_the_same_id_under_a_new_digest_is_up_to_date(
        self,
        name: str,
        repository: str,
        client: Client,
        store: library.Store,
        distribution: Distribution,
    ) -> None:
        client.pull(f"{name}:t")
        assert (SAME_ID.id, SAME_ID.digest) != (IMAGE.id, IMAGE.digest)
        distribution.push(repository, SAME_ID, "t")
        distribution.clear()
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert watch.outcome == [f"Image is up to date for {name}:t"]
        assert (str(image.id), str(image.digest)) == (IMAGE.id, SAME_ID.digest)
        for digest in (IMAGE.digest, SAME_ID.digest):
            assert str(store.get(f"{name}@{digest}").id) == IMAGE.id
        assert not [path for _, path, _ in distribution.requests() if "/blobs/" in path]

    def test_a_moved_tag(
        self,
        name: str,
        repository: str,
        client: Client,
        store: library.Store,
        distribution: Distribution,
    ) -> None:
        client.pull(f"{name}:t")
        distribution.push(repository, OTHER, "t")
        watch = Watch()
        image = client.pull(f"{name}:t", on_event=watch)
        assert watch.outcome == [f"Downloaded newer image for {name}:t"]
        assert str(store.get(f"{name}:t").id) == OTHER.id == str(image.id)
        old = store.get(IMAGE.id)
        assert str(old.id) == IMAGE.id
        assert f"{name}:t" not in old.names

    def test_all_tags(
        self,
        name: str,
        repository: str,
        wherry: Wherry,
        store: library.Store,
        distribution: Distribution,
    ) -> None:
        distribution.push(repository, OTHER, "u", "v")
        done = wherry("pull", "--all-tags", name)
        assert done.returncode == 0, done.stderr
        assert Counter(done.stdout.split()) == Counter([IMAGE.id, OTHER.id, OTHER.id])
        lines = done.stderr.splitlines()
        digests = [line for line in lines if line.startswith("Digest: ")]
        assert Counter(digests) == Counter(
            [f"Digest: {IMAGE.digest}", *[f"Digest: {OTHER.digest}"] * 2]
        )
        states = [line for line in lines if line.startswith("Status: ")]
        assert states == [f"Status: Downloaded newer image for {name}"]
        for tag, image in (("t", IMAGE), ("u", OTHER), ("v", OTHER)):
            assert str(store.get(f"{name}:{tag}").id) == image.id

    def test_all_tags_go_with_bare_names_alone(self, name: str, wherry: Wherry) -> None:
        done = wherry("pull", "--all-tags", f"{name}:t")
        assert done.returncode == 2
        assert done.stdout == ""

    def test_two_names_in_one_command(
        self, name: str, repository: str, wherry: Wherry, distribution: Distribution
    ) -> None:
        distribution.push(repository, OTHER, "u")
        done = wherry("pull", f"{name}:t", f"{name}:u")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{IMAGE.id}\n{OTHER.id}\n"
        states = [line for line in done.stderr.splitlines() if line.startswith("Status: ")]
        assert states == [
            f"Status: Downloaded newer image for {name}:t",
            f"Status: Downloaded newer image for {name}:u",
        ]

    def test_shared_layers_are_fetched_once(
        self, repository: str, client: Client, distribution: Distribution
    ) -> None:
        name = f"{distribution.host}/{repository}"
        distribution.push(repository, build_image([TARS[0], TARS[1], TARS[0]]), "twice")
        distribution.push(repository, build_image([TARS[0], TARS[4]]), "base")
        distribution.clear()
        client.pull(f"{name}:twice")
        client.pull(f"{name}:base")
        blobs = Counter(path for _, path, _ in distribution.requests() if "/blobs/" in path)
        assert len(blobs) == 5  # three layers, two configs
        assert set(blobs.values()) == {1}
