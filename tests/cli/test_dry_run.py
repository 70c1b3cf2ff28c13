"""`--dry-run`: the plan as text, as a table and as JSON; nothing is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE
from stored_images import BASE, FIRST, INDEX
from wherry.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import wherry as library
    from conftest import Wherry

SENT = sum(piece.size for piece in IMAGE.blobs())


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another registry than `fake`, to which nothing may be written."""
    with FakeRegistry() as registry:
        yield registry
        assert not [r for r in registry.requests if r.method not in {"GET", "HEAD"}]
        assert not registry.tags


def test_a_push(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    done = wherry("push", "--dry-run", pulled, f"{other.host}/app:1")
    assert (done.returncode, done.stderr) == (0, "")
    size = f"{SENT / 1000:.1f} kB"
    assert done.stdout == f"1 image, 3 blobs: 3 to move ({size}); 1 document; 1 tag\n"


def test_a_push_of_what_is_there(wherry: Wherry, pulled: str, fake: FakeRegistry) -> None:
    done = wherry("push", "--dry-run", pulled)
    assert done.stdout == "the image is there\n"
    repository = pulled.rpartition(":")[0]
    done = wherry("push", "--dry-run", pulled, f"{repository}:new")
    assert done.stdout == "the image is there; 1 tag to set\n"
    assert "new" not in fake.tags["team/app"]


def test_all_tags(wherry: Wherry, pulled: str, other: FakeRegistry, store: library.Store) -> None:
    repository = pulled.rpartition(":")[0]
    store.tag(pulled, f"{repository}:u")
    store.tag(pulled, f"{repository}x:v")  # another repository
    done = wherry("push", "--dry-run", "-a", repository, f"{other.host}/app")
    assert done.stdout.count("1 image, 3 blobs") == 2
    assert len(done.stdout.splitlines()) == 2


def test_all_tags_of_a_repository_without_tags(wherry: Wherry, pulled: str) -> None:
    assert pulled
    for option in ("--dry-run", "--quiet"):
        done = wherry("push", option, "-a", "localhost:1/nothing")
        assert (done.returncode, done.stdout) == (3, "")
        assert "the store has no tags of this repository" in done.stderr


def test_an_id_needs_a_destination(wherry: Wherry, pulled: str) -> None:
    assert pulled
    done = wherry("push", "--dry-run", IMAGE.id)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a destination" in done.stderr.splitlines()[0]


def test_a_copy_of_an_index(wherry: Wherry, fake: FakeRegistry, other: FakeRegistry) -> None:
    fake.add_image("index", INDEX, "t")
    done = wherry(
        "copy", "--dry-run", "--all-platforms", f"{fake.host}/index:t", f"{other.host}/copy:t"
    )
    blobs = {piece.digest: piece for image in INDEX.images for piece in image.blobs()}
    size = f"{sum(piece.size for piece in blobs.values()) / 1000:.2f} kB"
    assert done.stdout == f"2 images, 5 blobs: 5 to move ({size}); 3 documents; 1 tag\n"


def test_a_conversion(wherry: Wherry, fake: FakeRegistry, other: FakeRegistry) -> None:
    """A note names the digest of the index that changes, not those of its images."""
    fake.add_image("index", INDEX, "t")
    options = ("--dry-run", "--all-platforms", "--format", "docker")
    done = wherry("copy", *options, f"{fake.host}/index:t", f"{other.host}/copy:t")
    _, note = done.stdout.splitlines()
    assert note.startswith(f"  {INDEX.digest} becomes sha256:")


def test_blobs_that_are_there(wherry: Wherry, fake: FakeRegistry) -> None:
    fake.add_image("index", INDEX, "t")
    with FakeRegistry() as half:
        half.add_image("copy", FIRST, "first")
        options = ("--dry-run", "--all-platforms")
        done = wherry("copy", *options, f"{fake.host}/index:t", f"{half.host}/copy:t")
        assert "1 there" in done.stdout  # a layer that both images have
        assert "3 documents (1 there)" in done.stdout
    assert BASE


def test_a_pull(wherry: Wherry, name: str, store: library.Store) -> None:
    done = wherry("pull", "--dry-run", name)
    assert (done.returncode, done.stderr) == (0, "")
    size = f"{SENT / 1000:.1f} kB"
    assert done.stdout == f"1 image, 3 blobs: 3 to move ({size}); 1 document; 1 name\n"
    assert store.images() == []
    assert wherry("pull", "-q", name).stdout == f"{IMAGE.id}\n"
    assert wherry("pull", "--dry-run", name).stdout == "the image is there\n"


def test_a_pull_of_another_platform(
    wherry: Wherry, fake: FakeRegistry, client: library.Client
) -> None:
    """The store has the index, but only one of its images."""
    fake.add_image("index", INDEX, "t")
    name = f"{fake.host}/index:t"
    client.pull(name, platform="linux/amd64")
    done = wherry("pull", "--dry-run", "--platform", "linux/arm64", name)
    assert done.stdout.startswith("1 image, 3 blobs: 1 there (")
    assert ", 2 to move (" in done.stdout
    assert done.stdout.endswith("; 2 documents; 1 name\n")  # with the index
    done = wherry("pull", "--dry-run", "--all-platforms", name)
    assert done.stdout.startswith("2 images, 5 blobs: 3 there (")
    client.pull(name, platform="linux/arm64")
    done = wherry("pull", "--dry-run", "--all-platforms", name)
    assert done.stdout.startswith("2 images, 5 blobs: 5 there (")


def test_a_pull_of_all_tags(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    fake.add_image("team/app", FIRST, "u")
    done = wherry("pull", "--dry-run", "-a", name.rpartition(":")[0])
    assert len(done.stdout.splitlines()) == 2


def test_a_table(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    done = wherry("-v", "push", "--dry-run", pulled, f"{other.host}/app:1")
    title, *rows, summary = done.stdout.splitlines()
    assert title.split() == ["ACTION", "DIGEST", "SIZE", "TYPE"]
    layer = IMAGE.layers[0]
    size = f"{layer.size / 1000:.1f} kB"
    assert f"move    {layer.digest[7:19]}  {size}  {layer.media_type}" in rows
    assert any(row.startswith(f"write   {IMAGE.digest[7:19]}") for row in rows)
    assert rows[-1] == f"name 1  {IMAGE.digest[7:19]}"
    assert len(rows) == 5
    assert summary.startswith("1 image, 3 blobs: ")
    assert "> HEAD" in done.stderr


def test_json(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    target = f"{other.host}/app:1"
    done = wherry("push", "--dry-run", "--json", pulled, target)
    found = json.loads(done.stdout)
    assert list(found) == [
        *("source", "destination", "root", "current", "documents", "blobs", "names", "notes"),
        "bytesToMove",
    ]
    assert found["source"] == f"store:{pulled}"
    assert found["destination"] == target
    assert (found["root"], found["current"], found["notes"]) == (IMAGE.digest, False, [])
    assert found["bytesToMove"] == SENT
    assert found["blobs"] == [
        {"action": "move", "digest": p.digest, "size": p.size, "mediaType": p.media_type}
        for p in (IMAGE.config, *IMAGE.layers)
    ]
    assert found["documents"] == [
        {
            "action": "write",
            "digest": IMAGE.digest,
            "size": IMAGE.manifest.size,
            "mediaType": IMAGE.manifest.media_type,
            "target": IMAGE.digest,
        }
    ]
    assert found["names"] == [{"name": "1", "root": IMAGE.digest}]


def test_json_of_a_pull_needs_a_dry_run(wherry: Wherry) -> None:
    done = wherry("pull", "--json", "localhost:1/app")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--dry-run" in done.stderr.splitlines()[0]


def test_verbose_pushes_show_the_table(wherry: Wherry, pulled: str) -> None:
    counts = []
    for options in ((), ("-v",)):
        with FakeRegistry() as registry:
            done = wherry(*options, "push", pulled, f"{registry.host}/app:1")
            assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")
            counts.append(len(registry.requests))
    assert counts[0] == counts[1]
    table, _, _ = done.stderr.partition(" 2 layers: ")
    assert f"move    {IMAGE.layers[0].digest[7:19]}" in table
    assert f"name 1  {IMAGE.digest[7:19]}" in table
