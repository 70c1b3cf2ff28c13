"""``wherry images``: the table, JSON and ids."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from command_images import IMAGE, size_of

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry
    from wherry.testing import (
        FakeRegistry,
    )


def test_an_empty_store(wherry: Wherry, store: library.Store) -> None:
    done = wherry("images")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["NAME", "TAG", "ID", "CREATED", "SIZE"]
    assert json.loads(wherry("images", "--json").stdout) == []
    assert wherry("images", "-q").stdout == ""
    assert not store.path.exists()  # reading creates nothing


def test_images(wherry: Wherry, pulled: str) -> None:
    done = wherry("images")
    assert (done.returncode, done.stderr) == (0, "")
    header, row = done.stdout.splitlines()
    assert header.split() == ["NAME", "TAG", "ID", "CREATED", "SIZE"]
    columns = [header.index(title) for title in header.split()] + [None]
    cells = [row[a:b].strip() for a, b in itertools.pairwise(columns)]
    assert cells[:3] == [
        pulled.removesuffix(":t"),
        "t",
        IMAGE.id.removeprefix("sha256:")[:12],
    ]
    assert cells[3].endswith(" ago")
    amount, unit = cells[4].split()
    assert unit == "kB"
    assert abs(float(amount) - size_of(IMAGE) / 1000) < 0.1


def test_images_with_digests(wherry: Wherry, pulled: str) -> None:
    assert pulled
    header, row = wherry("images", "--digests").stdout.splitlines()
    assert header.split() == ["NAME", "TAG", "DIGEST", "ID", "CREATED", "SIZE"]
    assert row.split()[2] == IMAGE.digest


def test_images_as_json(wherry: Wherry, pulled: str) -> None:
    done = wherry("images", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [
        {
            "name": pulled.removesuffix(":t"),
            "tag": "t",
            "digest": IMAGE.digest,
            "id": IMAGE.id,
            "manifest": IMAGE.digest,
            "platform": "linux/amd64",
            "created": "2024-01-02T03:04:05Z",
            "size": size_of(IMAGE),
        }
    ]


def test_images_quiet(
    wherry: Wherry, pulled: str, fake: FakeRegistry, client: library.Client
) -> None:
    fake.add_image("team/app", IMAGE, "second")
    client.pull(pulled.replace(":t", ":second"))
    assert wherry("images", "-q").stdout == f"{IMAGE.id}\n"
    assert len(wherry("images").stdout.splitlines()) == 3


def test_images_pulled_by_digest_alone_have_no_tag(
    wherry: Wherry, fake: FakeRegistry, client: library.Client
) -> None:
    fake.add_image("team/app", IMAGE)
    client.pull(f"{fake.host}/team/app@{IMAGE.digest}")
    (found,) = json.loads(wherry("images", "--json").stdout)
    assert (found["tag"], found["digest"]) == (None, IMAGE.digest)
    assert wherry("images").stdout.splitlines()[1].split()[1] == "<none>"
