"""``wherry show``: images by name, id and digest, as text and JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE, TARS, size_of
from wherry.testing import (
    BuiltImage,
    FakeRegistry,
    build_image,
)

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry


def keys_of(pulled: str) -> dict[str, str]:
    value = IMAGE.id.removeprefix("sha256:")
    return {
        "name": pulled,
        "address": f"store:{pulled}",
        "name-and-digest": f"{pulled.removesuffix(':t')}@{IMAGE.digest}",
        "id": IMAGE.id,
        "hex": value,
        "prefix": value[:12],
        "shortest-prefix": value[:4],
    }


@pytest.mark.parametrize("key", keys_of("x:t"))
def test_show_by(wherry: Wherry, pulled: str, key: str) -> None:
    done = wherry("show", keys_of(pulled)[key])
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines() if line[0] != " ")
    assert rows["id"] == IMAGE.id
    assert rows["digest"] == IMAGE.digest
    assert rows["names"] == pulled
    assert rows["platform"] == "linux/amd64"
    assert rows["entrypoint"] == "/entry 'with space'"
    assert rows["cmd"] == "serve"
    assert "A=b=c" in done.stdout
    for piece in IMAGE.layers:
        assert piece.digest.removeprefix("sha256:")[:12] in done.stdout


def test_show_several(wherry: Wherry, pulled: str) -> None:
    one = wherry("show", pulled).stdout
    assert wherry("show", pulled, IMAGE.id).stdout == f"{one}\n{one}"
    done = wherry("show", "no", pulled, "neither")
    assert (done.returncode, done.stdout) == (3, one)
    assert [line.split()[1] for line in done.stderr.splitlines() if line[0] != " "] == [
        "no:",
        "neither:",
    ]
    decoder, text = json.JSONDecoder(), wherry("show", "--json", pulled, pulled).stdout
    first, end = decoder.raw_decode(text)
    assert decoder.raw_decode(text[end:].lstrip())[0] == first


def test_show_as_json(wherry: Wherry, pulled: str) -> None:
    done = wherry("show", "--json", pulled)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["config"] == json.loads(IMAGE.config.data)
    assert found["id"] == IMAGE.id
    assert found["digest"] == IMAGE.digest
    assert set(found["names"]) == {pulled, f"{pulled.removesuffix(':t')}@{IMAGE.digest}"}
    assert found["platform"] == "linux/amd64"
    assert found["platforms"] == ["linux/amd64"]
    assert found["created"] == "2024-01-02T03:04:05Z"
    assert found["size"] == size_of(IMAGE)
    assert found["manifest"] == {
        "mediaType": IMAGE.manifest.media_type,
        "digest": IMAGE.digest,
        "annotations": {},
    }
    assert found["layers"] == [
        {
            "digest": piece.digest,
            "diff_id": diff_id,
            "mediaType": piece.media_type,
            "size": piece.size,
            "created_by": f"/bin/sh -c make layer {number}",
        }
        for number, (piece, diff_id) in enumerate(zip(IMAGE.layers, IMAGE.diff_ids, strict=True))
    ]


@pytest.mark.parametrize("key", ["none/such:t", "abcd", "abc", "f" * 64, "sha256:" + "0" * 64])
def test_show_a_missing_image(wherry: Wherry, pulled: str, key: str) -> None:
    assert pulled
    done = wherry("show", key)
    assert (done.returncode, done.stdout) == (3, "")
    first, *hints = done.stderr.splitlines()
    assert first.startswith(f"wherry: {key}: ")
    assert all(hint.startswith("  ") for hint in hints)


def test_a_prefix_of_several_ids(
    wherry: Wherry, fake: FakeRegistry, client: library.Client
) -> None:
    made: dict[str, BuiltImage] = {}
    for number in range(5000):
        image = build_image([TARS[0]], labels={"n": str(number)})
        other = made.setdefault(image.id[: len("sha256:") + 4], image)
        if other.id != image.id:
            break
    for tag, found in (("a", image), ("b", other)):
        fake.add_image("twins", found, tag)
        client.pull(f"{fake.host}/twins:{tag}")
    prefix = image.id.removeprefix("sha256:")[:4]
    done = wherry("show", prefix)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"wherry: {prefix}: several images")
    assert wherry("show", image.id).returncode == 0
