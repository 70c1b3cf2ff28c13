"""``wherry history`` of images in the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wherry.testing import BuiltImage, FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry

STEP = "/bin/sh -c  apt-get update && apt-get install --yes everything\tunder-the-sun"
IMAGE = build_image(
    [tar_layer({"a": b"1"}), tar_layer({"b": b"2"})],
    history=[
        {"created": "2024-01-02T03:04:05Z", "created_by": "ADD rootfs / # buildkit"},
        {"created": "2024-01-02T03:04:05Z", "created_by": "ENV A=b", "empty_layer": True},
        {"created": "2024-01-03T03:04:05Z", "created_by": STEP, "comment": "with a\x1b[31mcomment"},
    ],
)


def test_history_as_a_table(wherry: Wherry, client: library.Client, fake: FakeRegistry) -> None:
    fake.add_image("team/app", IMAGE, "t")
    name = f"{fake.host}/team/app:t"
    client.pull(name)
    done = wherry("history", name)
    assert (done.returncode, done.stderr) == (0, "")
    header, first, second, third = done.stdout.splitlines()
    assert header.split() == ["LAYER", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    short = [layer.digest.removeprefix("sha256:")[:12] for layer in IMAGE.layers]
    assert first.startswith(short[1])
    assert "apt-get update && apt-get install…" in first
    assert "\x1b" not in done.stdout
    assert second.split()[0] == "-"
    assert "ENV A=b" in second
    assert third.startswith(short[0])
    full = wherry("history", "--no-trunc", f"store:{name}").stdout
    assert " ".join(STEP.split()) in full
    assert all(layer.digest in full for layer in IMAGE.layers)
    assert "2024-01-03T03:04:05Z" in full


def test_history_as_json(wherry: Wherry, client: library.Client, fake: FakeRegistry) -> None:
    fake.add_image("team/app", IMAGE, "t")
    image = client.pull(f"{fake.host}/team/app:t")
    steps = json.loads(wherry("history", "--json", image.id.short).stdout)
    assert [step["created_by"] for step in steps] == [STEP, "ENV A=b", "ADD rootfs / # buildkit"]
    assert [step["empty_layer"] for step in steps] == [False, True, False]
    assert [step["digest"] for step in steps] == [
        IMAGE.layers[1].digest,
        None,
        IMAGE.layers[0].digest,
    ]
    assert [step["diff_id"] for step in steps] == [IMAGE.diff_ids[1], None, IMAGE.diff_ids[0]]
    assert [step["size"] for step in steps] == [IMAGE.layers[1].size, None, IMAGE.layers[0].size]


def test_history_of_a_missing_image(wherry: Wherry) -> None:
    done = wherry("history", "store:nothing")
    assert (done.returncode, done.stdout) == (3, "")


def test_an_ambiguous_id_is_not_looked_up_in_a_registry(wherry: Wherry, fake: FakeRegistry) -> None:
    seen: dict[str, BuiltImage] = {}
    layer = tar_layer({"a": b"1"})
    for number in range(5000):
        image = build_image([layer], env=[f"N={number}"])
        prefix = image.id.partition(":")[2][:4]
        if prefix in seen:
            break
        seen[prefix] = image
    both = (seen[prefix], image)
    for number, each in enumerate(both):
        fake.add_image("app", each, f"t{number}")
        assert wherry("pull", "-q", f"{fake.host}/app:t{number}").returncode == 0
    for command in ("history", "show"):
        done = wherry(command, prefix)
        assert done.returncode == 3
        assert all(each.id.partition(":")[2][:12] in done.stderr for each in both)
