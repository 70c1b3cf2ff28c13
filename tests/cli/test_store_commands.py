"""Commands that change the store: tag, untag, rm, gc."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry

BASE = tar_layer({"base": b"shared"})
FIRST = build_image([BASE, tar_layer({"a": b"1"})])
SECOND = build_image([BASE, tar_layer({"a": b"2"})])


@pytest.fixture
def name(client: library.Client, fake: FakeRegistry) -> str:
    fake.add_image("team/app", FIRST, "t")
    fake.add_image("team/app", SECOND, "u")
    client.pull(f"{fake.host}/team/app:t")
    client.pull(f"{fake.host}/team/app:u")
    return f"{fake.host}/team/app:t"


def ids(wherry: Wherry) -> list[str]:
    return wherry("images", "-q").stdout.splitlines()


def test_a_store_without_images(wherry: Wherry) -> None:
    done = wherry("images")
    assert (done.returncode, done.stdout, done.stderr) == (0, "NAME  TAG  ID  CREATED  SIZE\n", "")
    assert wherry("images", "--digests").stdout == "NAME  TAG  DIGEST  ID  CREATED  SIZE\n"
    assert wherry("images", "-q").stdout == ""


def test_tag_and_untag(wherry: Wherry, name: str) -> None:
    done = wherry("tag", name, "mine", "store:other.example/x:1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert wherry("show", "mine").stdout == wherry("show", "other.example/x:1").stdout
    untagged = wherry("untag", "store:mine", "other.example/x:1")
    assert (untagged.returncode, untagged.stderr) == (0, "")
    assert untagged.stdout == "Untagged: mine:latest\nUntagged: other.example/x:1\n"
    assert wherry("show", "mine").returncode == 3
    assert wherry("show", name).returncode == 0


def test_rm_by_name_prints_what_was_removed(wherry: Wherry, name: str) -> None:
    done = wherry("rm", name)
    assert (done.returncode, done.stderr) == (0, "")
    repository = name.removesuffix(":t")
    assert done.stdout.splitlines() == [
        f"Untagged: {name}",
        f"Untagged: {repository}@{FIRST.digest}",
        f"Deleted: {FIRST.id}",
        f"Deleted: {FIRST.layers[1].digest}",
    ]
    assert ids(wherry) == [SECOND.id]


def test_rm_by_an_id_prefix(wherry: Wherry, name: str) -> None:
    wherry("tag", name, "mine")
    refused = wherry("rm", FIRST.id[7:15])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--force" in refused.stderr
    done = wherry("rm", "--force", FIRST.id[7:15], SECOND.id)
    assert done.returncode == 0
    assert f"Deleted: {FIRST.id}" in done.stdout
    assert ids(wherry) == []


@pytest.mark.parametrize("command", ["rm", "untag"])
def test_a_missing_name(wherry: Wherry, name: str, command: str) -> None:
    done = wherry(command, "nothing/like/it")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("wherry: nothing/like/it")
    assert sorted(ids(wherry)) == sorted([FIRST.id, SECOND.id])
    assert name


@pytest.mark.parametrize(
    "arguments",
    [
        *(["rm", "none"], ["rm", "-f", "store:none:1"], ["rm", "abcd"], ["untag", "none"]),
        *(["tag", "none", "x"], ["images", "-f", "before=none"], ["images", "-f", "since=none"]),
    ],
)
def test_no_hint_to_pull_a_name_that_should_be_removed(
    wherry: Wherry, name: str, arguments: list[str]
) -> None:
    done = wherry(*arguments)
    assert done.returncode == 3
    assert done.stderr.splitlines()[1:] == ["  `wherry images` lists what there is"]
    for asked in (["show"], ["save", "-o", "x"], ["history"]):
        helped = wherry(*asked, "store:none")
        assert helped.stderr.splitlines()[1:] == ["  fetch it: wherry pull none"]
    assert name
    assert len(ids(wherry)) == 2


@pytest.mark.parametrize("command", ["rm", "untag"])
def test_commands_continue_after_a_missing_name(wherry: Wherry, name: str, command: str) -> None:
    second = f"{name.removesuffix(':t')}:u"
    done = wherry(command, name, "nothing/like/it", "Upper", second)
    assert done.returncode == 3
    errors = [line for line in done.stderr.splitlines() if line.startswith("wherry: ")]
    assert [error.split(":")[1] for error in errors] == [" nothing/like/it", " invalid reference"]
    untagged = [line for line in done.stdout.splitlines() if line.startswith("Untagged: ")]
    assert {f"Untagged: {name}", f"Untagged: {second}"} <= set(untagged)
    assert wherry("images", "-q", f"{name.removesuffix(':t')}:*").stdout == ""


def test_another_address_is_refused_before_anything_is_removed(wherry: Wherry, name: str) -> None:
    done = wherry("rm", name, "oci:x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: oci:x: only images in the store can be removed\n")
    for arguments, says in (
        (["untag", name, "oci:x"], "oci:x: only images in the store can be untagged"),
        (["tag", "oci:x", "mine"], "oci:x: only images in the store can be tagged"),
        (["tag", name, "mine", "docker://x"], "docker://x: only images in the store can be given"),
        (["show", "docker://x"], "docker://x: only images in the store can be shown"),
    ):
        assert wherry(*arguments).stderr.startswith(f"wherry: {says}")
    assert sorted(ids(wherry)) == sorted([FIRST.id, SECOND.id])


@pytest.mark.parametrize(
    "arguments", [["tag", "x"], ["tag", "oci:x", "y"], ["rm"], ["rm", "dir:x"]]
)
def test_usage_errors(wherry: Wherry, arguments: list[str]) -> None:
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_gc(wherry: Wherry, name: str) -> None:
    wherry("untag", name)
    size = sum(piece.size for piece in (FIRST.manifest, FIRST.config, FIRST.layers[1]))
    freed = f"{size / 1000:.2f} kB (3 blobs)"
    planned = wherry("gc", "--dry-run")
    assert planned.stdout == f"Would delete: {FIRST.id}\nWould reclaim: {freed}\n"
    answer = json.loads(wherry("gc", "--json").stdout)
    assert answer["images"] == [FIRST.id]
    assert sorted(answer["blobs"]) == sorted(
        [FIRST.digest, FIRST.config.digest, FIRST.layers[1].digest]
    )
    assert answer["size"] == size
    assert wherry("gc").stdout == "Reclaimed: 0 B (0 blobs)\n"
    assert ids(wherry) == [SECOND.id]
