"""The battery's check of a store finds each kind of damage."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest

import subjects
from checking import blob_path, part_path, problems
from wherry.store.locks import lock_file
from wherry.store.root_directory import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry import Client
    from wherry.testing import FakeRegistry

IMAGE = subjects.small()
LAYER = IMAGE.layers[0]


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def change(store: Path, statement: str) -> None:
    with sqlite3.connect(store / "wherry.db") as connection:
        connection.execute(statement)
    connection.close()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (
        lambda store: rewrite(blob_path(store, LAYER.digest), b"x" + LAYER.data[1:]),
        "has the content of",
    ),
    "a layer is gone": (lambda store: blob_path(store, LAYER.digest).unlink(), "lacks sha256:"),
    "the config is gone": (lambda store: blob_path(store, IMAGE.id).unlink(), "lacks sha256:"),
    "the manifest is gone": (
        lambda store: blob_path(store, IMAGE.digest).unlink(),
        "root of .* is missing",
    ),
    "no name": (lambda store: change(store, "DELETE FROM refs"), "stands for None"),
    "a wrong part": (
        lambda store: part_path(store, LAYER.digest).write_bytes(b"not its beginning"),
        "differs from its blob",
    ),
    "a strange part": (
        lambda store: part_path(store, "sha256:" + "0" * 64).write_bytes(b""),
        "left over: ingest/",
    ),
    "a strange file": (lambda store: (store / "x.tmp").touch(), "left over: x.tmp"),
    "a strange blob": (lambda store: (store / "blobs" / "x").touch(), "left over: blobs/x"),
    "a lease that is held": (
        lambda store: lock_file(open_store(f"{store}/leases"), "0123"),
        "is held by no known process",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found(fake: FakeRegistry, client: Client, damage: str) -> None:
    fake.add_image("app", IMAGE, "t")
    name = f"{fake.host}/app:t"
    client.pull(name)
    store = client.store.path
    contents, names = subjects.contents(IMAGE), {name: IMAGE.digest}
    assert problems(store, contents, names) == []
    act, found = DAMAGES[damage]
    act(store)
    (first, *_) = problems(store, contents, names)
    assert re.search(found, first)
