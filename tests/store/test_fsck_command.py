"""``wherry fsck`` and ``wherry df``."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from wherry.image_store import local_store
from wherry.store.schema import VERSION
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
)

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry
from stored_images import FIRST, damage, lose


@pytest.mark.parametrize("open_", [False, True], ids=["closed", "in its log"])
def test_fsck_rebuild_leaves_a_newer_database_alone(
    wherry: Wherry, store: library.Store, name: str, *, open_: bool
) -> None:
    store.close()
    connection = sqlite3.connect(store.path / "wherry.db")
    connection.execute("PRAGMA user_version=9")
    if not open_:
        connection.close()
    refused = wherry("images")
    assert "the store has version 9" in refused.stderr
    done = wherry("fsck", "--rebuild")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", refused.stderr)
    assert not list(store.path.glob("*.damaged*"))
    connection.close()
    with contextlib.closing(sqlite3.connect(store.path / "wherry.db")) as connection:
        connection.execute(f"PRAGMA user_version={VERSION}")
    assert wherry("show", name).returncode == 0


def test_fsck_reports_and_repairs_a_damaged_blob(
    wherry: Wherry, store: library.Store, name: str
) -> None:
    done = wherry("fsck")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": good\n")
    damage(store, FIRST.layers[0].digest)
    done = wherry("fsck")
    assert done.returncode == 5
    first, summary, advice = done.stdout.splitlines()
    assert first.startswith(f"damaged: {FIRST.layers[0].digest}: its content is sha256:")
    assert name in first
    assert summary.endswith("1 problem")
    assert "--repair" in advice
    found = json.loads(wherry("fsck", "--json").stdout)
    assert [each["digest"] for each in found["problems"]] == [FIRST.layers[0].digest]
    done = wherry("fsck", "--repair")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:2] == ["  repaired"]
    assert wherry("fsck").returncode == 0


def test_fsck_hints_at_the_command_that_helps(
    wherry: Wherry, store: library.Store, name: str
) -> None:
    damage(store, FIRST.layers[0].digest)
    store.untag(name)
    done = wherry("fsck")
    assert (done.returncode, "--repair" in done.stdout) == (5, True)  # its name by digest is left
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        connection.execute("DELETE FROM refs")
    done = wherry("fsck")
    assert (done.returncode, "--repair" in done.stdout) == (5, False)
    assert done.stdout.splitlines()[-1] == "  `wherry gc` removes content that is in no named image"
    assert wherry("gc").returncode == 0
    assert wherry("fsck").stdout.endswith(": good\n")


def test_fsck_that_cannot_repair(
    wherry: Wherry, store: library.Store, fake: FakeRegistry, name: str
) -> None:
    damage(store, FIRST.layers[0].digest)
    fake.inject(Fault(FixedReply(500), path="/v2/"))
    done = wherry("fsck", "--repair", "--retries=1")
    assert done.returncode == 5
    assert "1 problem" in done.stdout
    assert name


def test_fsck_rebuild(wherry: Wherry, store: library.Store, name: str) -> None:
    lose(store, "no database")
    refused = wherry("images")
    assert refused.returncode == 1
    assert "wherry fsck --rebuild" in refused.stderr
    done = wherry("fsck", "--rebuild")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Rebuilt: 1 image, 2 names\n", "")
    assert wherry("show", name).returncode == 0
    assert wherry("fsck", "--rebuild", "--repair").returncode == 2


def test_df(wherry: Wherry, store: library.Store, name: str) -> None:
    found = json.loads(wherry("df", "--json").stdout)
    sizes = [path.stat().st_size for path in (store.path / "blobs").glob("*/*")]
    assert (found["images"], found["named"], found["blobs"]) == (1, 1, len(sizes))
    assert (found["size"], found["reclaimable"]) == (sum(sizes), 0)
    assert found["layers_size"] == sum(piece.size for piece in FIRST.layers)
    assert found["total"] >= found["size"] + found["database"] > found["size"]
    store.untag(name)
    found = json.loads(wherry("df", "--json").stdout)
    assert (found["named"], found["reclaimable"]) == (0, sum(sizes))
    shown = wherry("df")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "layers" in shown.stdout
