"""``wherry history`` of images in the store."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

from wherry.model.digest import Digest
from wherry.model.v1 import strong_id
from wherry.testing import (
    BuiltImage,
    FakeRegistry,
    Schema1Entry,
    build_image,
    compress,
    schema1_of,
    tar_layer,
    v1_id,
)

if TYPE_CHECKING:
    from pathlib import Path

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


def test_ids_of_version_1_are_those_of_the_saved_archive(
    wherry: Wherry, client: library.Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    fake.add_image("team/app", IMAGE, "t")
    name = f"{fake.host}/team/app:t"
    client.pull(name)
    done = wherry("-v", "save", "-o", str(tmp_path / "archive"), name)
    with tarfile.open(tmp_path / "archive") as archive:
        found = archive.extractfile("repositories")
        assert found is not None
        top = json.load(found)[f"{fake.host}/team/app"]["t"]
        below = {each.name.partition("/")[0] for each in archive if each.isdir()} - {top}
    steps = json.loads(wherry("history", "--v1", "--json", name).stdout)
    assert [step["saved_id"] for step in steps] == [top, None, *below]
    assert [(step["v1_id"], step["strong_id"]) for step in steps] == [(None, None)] * 3
    assert [step["empty_layer"] for step in steps] == [False, True, False]
    header, *rows = wherry("history", "--v1", name).stdout.splitlines()
    assert header.split()[:4] == ["LAYER", "SAVED", "ID", "CREATED"]
    assert [row.split()[1] for row in rows] == [top[:12], "-", *(each[:12] for each in below)]
    assert top in wherry("history", "--v1", "--no-trunc", name).stdout
    for step in (steps[0], steps[2]):
        note = f"layer {step['digest'][7:19]} is in the directory {step['saved_id']}"
        assert f"Note: {name}: {note}" in done.stderr.splitlines()
    (result,) = client.save(name, tmp_path / "again")
    assert result.v1_ids == (*below, top)
    assert client.save(name, tmp_path / "layout", format="oci")[0].v1_ids == ()
    plain = json.loads(wherry("history", "--json", name).stdout)
    assert not {"v1_id", "strong_id", "saved_id"} & set(plain[0])


def test_ids_of_a_schema1_manifest(
    wherry: Wherry, client: library.Client, fake: FakeRegistry
) -> None:
    layers = [compress(tar_layer({f"f{number}": b"x"}), "gzip") for number in range(3)]
    each: dict[str, object] = {
        "created": "2015-06-10T20:39:00Z",
        "docker_version": "1.9.1",
        "os": "linux",
    }
    chain: list[dict[str, object]] = [
        each | {"id": v1_id(0)},
        each | {"id": v1_id(1), "parent": v1_id(0), "throwaway": True},
        each | {"id": v1_id(2), "parent": v1_id(1)},
    ]
    built = schema1_of([Schema1Entry(*pair) for pair in zip(layers, chain, strict=True)])
    for layer in layers:
        fake.add_blob(layer)
    fake.add_manifest("old", built.manifest.data, built.manifest.media_type, "t")
    name = f"{fake.host}/old:t"
    strong: list[Digest] = []
    for layer, found in zip(layers, chain, strict=True):
        below = strong[-1] if strong else None
        strong.append(strong_id(json.dumps(found).encode(), Digest.of(layer), below))
    steps = json.loads(wherry("history", "--v1", "--json", name).stdout)[::-1]
    assert [step["v1_id"] for step in steps] == [found["id"] for found in chain]
    assert [step["strong_id"] for step in steps] == [str(each) for each in strong]
    assert [step["saved_id"] for step in steps] == [None] * 3  # it depends on the DiffIDs
    assert [step["empty_layer"] for step in steps] == [False, True, False]
    header, *rows = wherry("history", "--v1", name).stdout.splitlines()
    assert header.split()[:6] == ["LAYER", "V1", "ID", "STRONG", "ID", "CREATED"]
    assert [row.split()[1:3] for row in rows[::-1]] == [
        [str(found["id"])[:12], each.short] for found, each in zip(chain, strong, strict=True)
    ]
    assert [row.split()[-1] for row in rows] == ["-", "B", "-"]  # sizes are not known
    client.pull(name)
    assert client.history(f"store:{name}", v1=True) == client.history(f"docker://{name}", v1=True)


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
