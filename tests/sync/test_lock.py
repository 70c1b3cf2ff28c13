"""Locking the images of a file: which requests are made, what is kept, and what changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from index_images import ARM, IMAGE, INDEX
from wherry.errors import NotFound, PlatformMismatch, WherryError
from wherry.sync.lock_file import Lock, LockedPlatform
from wherry.testing import (
    build_image,
    build_index,
    build_schema1,
    compress,
    make_key,
    tar_layer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.sync.lock import LockResult
    from wherry.testing import BuiltImage, Distribution, FakeRegistry

NEXT = build_image([tar_layer({"a": b"3"})], created="2025-01-01T00:00:00Z")
PLATFORMS = (("linux/amd64", IMAGE), ("linux/arm64", ARM))


def size(image: BuiltImage) -> int:
    return sum(blob.size for blob in image.blobs())


@pytest.fixture(autouse=True)
def _app(fake: FakeRegistry) -> None:
    fake.add_image("app", INDEX, "1", "2")
    fake.add_image("tool", IMAGE, "v1.0", "v1.1", "edge")


def write(directory: Path, fake: FakeRegistry, *entries: str) -> Path:
    """Write images.toml with entries such as ``app:1``, each with more lines after it."""
    file = directory / "images.toml"
    lines = [f'[[images]]\nsource = "{fake.host}/{entry}' for entry in entries]
    file.write_text("\n".join(f'{line}"' if '"\n' not in line else line for line in lines))
    return file


def changes(found: LockResult) -> list[tuple[str, str]]:
    return [(each.kind, str(each.name).partition("/")[2]) for each in found.changes]


def asked(fake: FakeRegistry) -> list[tuple[str, str]]:
    """Return the requests since the last call, without the first `ping`."""
    found = [(each.method, each.path.rpartition("/")[2]) for each in fake.requests]
    fake.clear()
    return [each for each in found if each[1]]


def test_an_index_is_locked_with_its_platforms(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    found = client.lock(write(tmp_path, fake, "app:1"))
    (image,) = found.lock.images
    assert str(image.digest) == INDEX.digest
    assert image.size == len(INDEX.index.data)
    assert image.platforms == tuple(
        LockedPlatform(platform, type(image.digest)(each.digest), size(each))
        for platform, each in PLATFORMS
    )
    assert Lock.read(tmp_path / "images.lock") == found.lock
    assert changes(found) == [("added", "app:1")]
    requests = asked(fake)
    assert sorted(requests) == sorted([("GET", "1"), ("GET", IMAGE.digest), ("GET", ARM.digest)])


def test_only_wanted_platforms_are_read(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    file = write(tmp_path, fake, 'app:1"\nplatforms = ["linux/arm64"]')
    (image,) = client.lock(file).lock.images
    assert [each.platform for each in image.platforms] == ["linux/arm64"]
    assert asked(fake) == [("GET", "1"), ("GET", ARM.digest)]
    found = client.lock(write(tmp_path, fake, "app:1"))
    assert len(found.lock.images[0].platforms) == 2
    assert found.lock.images[0].locked_at == image.locked_at
    assert changes(found) == [("changed", "app:1")]
    with pytest.raises(PlatformMismatch, match=r"app:1: there is no image for linux/s390x"):
        client.lock(write(tmp_path, fake, 'app:1"\nplatforms = ["linux/s390x"]'))
    with pytest.raises(PlatformMismatch, match=r"tool:edge: there is no image for linux/arm64"):
        client.lock(write(tmp_path, fake, 'tool:edge"\nplatforms = ["linux/arm64"]'))


def test_an_image_of_two_entries_has_the_platforms_of_both(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    both = 'app:1"\nplatforms = ["linux/arm64"]', 'app:1"\nplatforms = ["linux/amd64"]'
    (image,) = client.lock(write(tmp_path, fake, *both)).lock.images
    assert [each.architecture for each in image.selected] == ["amd64", "arm64"]
    (image,) = client.lock(write(tmp_path, fake, *both, "app:1")).lock.images
    assert image.selected == ()


def test_an_image_without_an_index_has_the_platform_of_its_config(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    (image,) = client.lock(write(tmp_path, fake, "tool:edge")).lock.images
    assert image.platforms == (LockedPlatform("linux/amd64", image.digest, size(IMAGE)),)


def test_the_lock_keeps_its_digests(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    file = write(tmp_path, fake, "app:1", "tool:edge")
    client.lock(file)
    before = (tmp_path / "images.lock").stat().st_mtime_ns
    fake.add_image("app", NEXT, "1")
    asked(fake)
    found = client.lock(file)
    assert found.changes == ()
    assert sorted(asked(fake)) == sorted([("HEAD", INDEX.digest), ("HEAD", IMAGE.digest)])
    assert (tmp_path / "images.lock").stat().st_mtime_ns == before

    found = client.lock(file, upgrade=True)
    assert changes(found) == [("moved", "app:1")]
    assert (found.changes[0].old, found.changes[0].new) == (INDEX.digest, NEXT.digest)


def test_a_digest_that_is_gone_is_resolved_again(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    file = write(tmp_path, fake, "app:1")
    client.lock(file)
    fake.manifests["app"].pop(INDEX.digest)
    fake.add_image("app", NEXT, "1")
    events: list[str] = []
    found = client.lock(file, on_event=lambda event: events.append(event.message or ""))
    assert changes(found) == [("moved", "app:1")]
    assert f"no longer has {INDEX.digest}; resolved again" in "".join(events)


def test_new_names_are_added_and_others_dropped(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    client.lock(write(tmp_path, fake, "app:1"))
    found = client.lock(write(tmp_path, fake, "app:2", f"app@{IMAGE.digest}"))
    assert changes(found) == [
        ("removed", "app:1"),
        ("added", "app:2"),
        ("added", f"app@{IMAGE.digest}"),
    ]


def test_named_images_and_repositories_are_upgraded(
    client: Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    file = write(tmp_path, fake, "app:1", "app:2", "tool:edge")
    client.lock(file)
    for repository, tags in (("app", ["1", "2"]), ("tool", ["edge"])):
        fake.add_image(repository, NEXT, *tags)
    assert changes(client.lock(file, upgrade=[f"{fake.host}/app:2"])) == [("moved", "app:2")]
    found = client.lock(file, upgrade=[f"{fake.host}/app", f"{fake.host}/tool"])
    assert changes(found) == [("moved", "app:1"), ("moved", "tool:edge")]
    before = (tmp_path / "images.lock").read_bytes()
    with pytest.raises(NotFound, match="app:3 is not among the images to lock"):
        client.lock(file, upgrade=[f"{fake.host}/app:3"])
    assert (tmp_path / "images.lock").read_bytes() == before


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('tool"\ntags = ["edge"]', ["edge"]),
        ('tool"\nsemver = "1.x"', ["v1.0", "v1.1"]),
        ('tool"\nnewest = 1', ["v1.1"]),
        ('tool"\nmatch = "^v"\ndeny = ["0$"]', ["v1.1"]),
        ('tool"\nnewest = 1\nby = "created"', ["new"]),
    ],
)
def test_tags_are_chosen(
    client: Client, fake: FakeRegistry, tmp_path: Path, entry: str, expected: list[str]
) -> None:
    index = build_index([(NEXT, {"os": "linux", "architecture": "amd64"})])
    fake.add_image("tool", index, "new")
    found = client.lock(write(tmp_path, fake, entry))
    assert [image.name.tag for image in found.lock.images] == expected


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("tool", r"i\.toml: images\[1\]: .*/tool has no tag, and nothing says which are meant"),
        ('tool"\nmatch = "^x"', r"images\[1\]: .*/tool: no tag is chosen"),
        ("gone:1", r"/gone:1: "),
        ('tool"\ntags = ["gone"]', "/tool:gone: "),
    ],
)
def test_what_cannot_be_locked_writes_nothing(
    client: Client, fake: FakeRegistry, tmp_path: Path, entry: str, words: str
) -> None:
    with pytest.raises(WherryError, match=words) as caught:
        client.lock(write(tmp_path, fake, "app:1", entry).rename(tmp_path / "i.toml"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "i.lock").exists()


def test_artifacts_have_no_platforms(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    artifact = build_image([], config_media_type="application/vnd.oci.empty.v1+json")
    index = build_index([(IMAGE, {"os": "linux", "architecture": "amd64"}), (artifact, None)])
    nested = build_index([(index, None)])
    fake.add_image("odd", artifact, "artifact")
    fake.add_image("odd", nested, "nested")
    found = client.lock(write(tmp_path, fake, "odd:artifact", "odd:nested"))
    assert [len(image.platforms) for image in found.lock.images] == [0, 1]


def test_odd_images_are_locked(client: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    blobs = [compress(tar_layer({"c": b"3"}), "gzip")]
    old = build_schema1(blobs, keys=[("ES256", make_key("ES256"))])
    fake.add_manifest("old", old.manifest.data, old.manifest.media_type, "1", digest=old.digest)
    stateless = build_image([tar_layer({"a": b"1"})], os="", architecture="")
    fake.add_image(
        "odd", build_index([(stateless, None), (IMAGE, {"os": "", "architecture": ""})]), "1"
    )
    file = write(tmp_path, fake, "old:1", "odd:1")
    odd, schema1 = client.lock(file).lock.images
    assert schema1.digest == old.digest
    assert [each.size for each in schema1.platforms] == [None]
    assert odd.platforms[1].platform == "linux/amd64"
    assert client.lock(file).changes == ()


class TestCommand:
    def run(self, wherry: Wherry, directory: Path, *more: str) -> Any:
        return wherry("lock", str(directory / "images.toml"), *more)

    def test_check_tells_what_moved(
        self, wherry: Wherry, client: Client, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        file = write(tmp_path, fake, "app:1", "app:2")
        done = self.run(wherry, tmp_path, "--check")
        assert (done.returncode, done.stdout) == (1, "")
        assert "images.lock: there is no such file" in done.stderr
        client.lock(file)
        assert self.run(wherry, tmp_path, "--check").returncode == 0
        write(tmp_path, fake, "app:2", "tool:edge")
        fake.add_image("app", NEXT, "2")
        before = (tmp_path / "images.lock").read_bytes()
        asked(fake)
        done = self.run(wherry, tmp_path, "--check")
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout == (
            f"removed {fake.host}/app:1 {INDEX.digest}\n"
            f"moved {fake.host}/app:2 {INDEX.digest} -> {NEXT.digest}\n"
            f"added {fake.host}/tool:edge {IMAGE.digest}\n"
        )
        assert sorted(asked(fake)) == [("HEAD", "2"), ("HEAD", "edge")]
        assert (tmp_path / "images.lock").read_bytes() == before

    def test_the_lock_is_written_where_the_option_says(
        self, wherry: Wherry, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        write(tmp_path, fake, "app:1")
        done = self.run(wherry, tmp_path, "-o", str(tmp_path / "l"), "--json", "--jobs", "1")
        assert (done.returncode, done.stderr) == (0, "locked 1 image\n")
        found = json.loads(done.stdout)
        name = f"{fake.host}/app:1"
        assert found["changes"] == [
            {"kind": "added", "name": name, "old": None, "new": INDEX.digest}
        ]
        assert found["images"][0]["platforms"][1]["digest"] == ARM.digest
        assert Lock.read_existing(tmp_path / "l").to_json() == found["images"]

    def test_arguments_are_the_file_and_names_to_upgrade(
        self, wherry: Wherry, client: Client, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        client.lock(write(tmp_path, fake, "app:1", "tool:edge"))
        fake.add_image("app", NEXT, "1")
        done = self.run(wherry, tmp_path, "--upgrade", f"{fake.host}/tool")
        assert (done.returncode, done.stdout) == (0, "")
        done = self.run(wherry, tmp_path, "--upgrade")
        assert done.stdout.startswith(f"moved {fake.host}/app:1 ")
        for more, words in (
            (["app"], "names can only be given with --upgrade"),
            (["--check", "--upgrade"], "--check cannot be combined with --upgrade"),
        ):
            done = self.run(wherry, tmp_path, *more)
            assert (done.returncode, words in done.stderr) == (2, True)


def test_docker_registry_is_locked(
    client: Client, distribution: Distribution, repository: str, tmp_path: Path
) -> None:
    distribution.push(repository, INDEX, "1")
    file = tmp_path / "images.toml"
    file.write_text(f'[[images]]\nsource = "{distribution.host}/{repository}:1"')
    (image,) = client.lock(file).lock.images
    assert [each.size for each in image.platforms] == [size(each) for _, each in PLATFORMS]
    distribution.clear()
    assert client.lock(file).changes == ()
    assert [method for method, path, _ in distribution.requests() if "manifests" in path] == [
        "HEAD"
    ]
    assert client.lock(file, check=True).changes == ()
