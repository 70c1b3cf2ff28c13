"""Several processes that do all operations on one store at once, some of them killed.

At any moment, a name stands for an image whose blobs are all stored. At the end, every file
matches its digest, the database has exactly the files, and `gc` leaves only what names keep.
"""

from __future__ import annotations

import collections
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.model.digest import Digest
from wherry.store.graph import closure, needed
from wherry.testing import (
    FakeRegistry,
    build_image,
    build_index,
    build_schema1,
    make_key,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = 4
THREADS = 2
TAGS = [f"v{number}" for number in range(6)]
OTHERS = ["multi", "old", "moving"]

WORKER = """
import collections, json, random, sys, threading, time
import wherry

path, repository, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
tags = sys.argv[5].split(",")
store = wherry.Store(path)
client = wherry.Client(store=store, jobs=2)
done = collections.Counter()
end = time.monotonic() + seconds
failures = []

# Errors that are due to what another process has just done.
EXPECTED = ("no such image", "is missing from", "several repositories", "platforms of",
            "is not a document of the store", "begin like this")

def mine(dice):
    return f"mine{dice.randrange(4)}:{dice.randrange(3)}"

def name(dice):
    return dice.choice([f"{repository}:{dice.choice(tags)}", mine(dice)])

def an_id(dice):
    ids = [image.id.hex[: dice.choice([8, 12, 64])] for image in store.images()]
    return dice.choice(ids) if ids else "0000"

def look(dice):
    for image in store.images():
        if dice.random() < 0.2:
            with image.layers[0].open_tar() as tar:
                tar.getnames()

def check(dice):
    problems = store.check().problems
    assert not problems, problems

OPERATIONS = {
    "pull": (8, lambda dice: client.pull(
        f"{repository}:{dice.choice(tags)}", all_platforms=dice.random() < 0.3)),
    "tag": (4, lambda dice: store.tag(name(dice), mine(dice))),
    "tag by id": (2, lambda dice: store.tag(an_id(dice), mine(dice))),
    "untag": (3, lambda dice: store.untag(name(dice))),
    "rm": (3, lambda dice: store.remove(name(dice))),
    "rm by id": (1, lambda dice: store.remove(an_id(dice), force=dice.random() < 0.5)),
    "gc": (2, lambda dice: store.gc(dry_run=dice.random() < 0.2)),
    "images": (2, look),
    "list": (1, lambda dice: store.images(dangling=dice.choice([None, True, False]))),
    "fsck": (1, check),
    "df": (1, lambda dice: store.usage()),
}

def work(number):
    dice = random.Random(seed * 100 + number)
    names = [key for key, (weight, _) in OPERATIONS.items() for _ in range(weight)]
    while time.monotonic() < end and not failures:
        what = dice.choice(names)
        try:
            OPERATIONS[what][1](dice)
            done[what] += 1
        except (wherry.NotFound, wherry.StoreError) as error:
            if not any(text in str(error) for text in EXPECTED):
                failures.append(f"{what}: {type(error).__name__}: {error}")
            done[f"{what}, in vain"] += 1
        except BaseException as error:
            import traceback
            failures.append(f"{what}: {''.join(traceback.format_exception(error))}")

threads = [threading.Thread(target=work, args=(number,)) for number in range(int(sys.argv[6]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
client.close()
store.close()
print(json.dumps({"done": done, "failures": failures}))
"""


def fill(registry: FakeRegistry) -> str:
    """Add images that share layers to a registry, and return the repository."""
    tars = [tar_layer(pseudo_random_files(seed, 300_000, 2)) for seed in range(5)]
    images = [
        build_image([tars[number % 5], tars[(number + 1) % 5], tar_layer({"n": b"%d" % number})])
        for number in range(len(TAGS))
    ]
    for tag, image in zip(TAGS, images, strict=True):
        registry.add_image("team/app", image, tag)
    arm = build_image(tars[:2], architecture="arm64")
    index = build_index(
        [
            (images[0], {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    registry.add_image("team/app", index, "multi")
    signed = build_schema1([tars[0], tars[3]], keys=[("ES256", make_key("ES256"))])
    for layer in signed.layers:
        registry.add_blob(layer)
    registry.add_manifest(
        "team/app", signed.manifest.data, signed.manifest.media_type, "old", digest=signed.digest
    )
    registry.tags["team/app"]["moving"] = images[0].digest
    return f"{registry.host}/team/app"


class Checker:
    """Checks a store from outside, in a transaction that keeps writers out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.looks = 0
        self.names = 0
        self.longest = 0.0

    def look(self) -> None:
        if not (self.path / "wherry.db").exists():
            return
        connection = sqlite3.connect(self.path / "wherry.db", timeout=60, isolation_level=None)
        started = time.monotonic()
        connection.execute("BEGIN IMMEDIATE")
        self.longest = max(self.longest, time.monotonic() - started)
        try:
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                return  # another process is creating it
            for name, root, manifest in connection.execute(
                "SELECT name, root, manifest FROM refs"
            ).fetchall():
                record = connection.execute("SELECT 1 FROM images WHERE manifest = ?", (manifest,))
                assert record.fetchone(), f"{name}: its image is unknown"
                for digest in needed(connection, root, manifest):
                    file = self.path / "blobs" / digest.replace(":", "/")
                    assert file.exists(), f"{name} needs {digest}, which is gone"
                self.names += 1
            self._look_at_platforms(connection)
        finally:
            connection.execute("ROLLBACK")
            connection.close()
        self.looks += 1

    def _look_at_platforms(self, connection: sqlite3.Connection) -> None:
        """Check that the wanted platforms of named indexes are stored."""
        rows = connection.execute("SELECT root FROM refs").fetchall()
        below = closure(connection, [root for (root,) in rows])
        for parent, child in connection.execute("SELECT parent, child FROM edges WHERE wanted"):
            if parent in below and child in below:
                file = self.path / "blobs" / child.replace(":", "/")
                assert file.exists(), f"{parent} wants {child}, which is gone"

    def look_at_the_end(self, store: library.Store) -> int:
        """Check everything, collect garbage, and check that only named blobs are left."""
        self.look()
        files = self._files()
        store.gc()
        assert self._files() <= files
        self.look()
        with sqlite3.connect(self.path / "wherry.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            known = {digest for (digest,) in connection.execute("SELECT digest FROM blobs")}
            roots = [
                root
                for row in connection.execute("SELECT root, manifest FROM refs")
                for root in row
            ]
            assert self._files() == known
            assert known <= closure(connection, roots)
            assert connection.execute("SELECT count(*) FROM leases").fetchone() == (0,)
        connection.close()
        assert list((self.path / "leases").iterdir()) == []
        assert list((self.path / "ingest").iterdir()) == []
        return len(known)

    def _files(self) -> set[str]:
        """Hash all blob files, and return their digests."""
        found = set()
        for path in (self.path / "blobs").glob("*/*"):
            digest = Digest(f"{path.parent.name}:{path.name}")
            assert digest.matches(path.read_bytes())
            found.add(str(digest))
        return found


def start(path: Path, repository: str, seed: int, seconds: float) -> subprocess.Popen[str]:
    arguments = [path, repository, seed, seconds, ",".join(TAGS + OTHERS), THREADS]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [5, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.usefixtures("environment")
def test_all_operations_at_once(tmp_path: Path, fake: FakeRegistry, seconds: float) -> None:
    repository = fill(fake)
    path = tmp_path / "store"
    checker = Checker(path)
    end = time.monotonic() + seconds
    workers = [start(path, repository, seed, seconds) for seed in range(PROCESSES)]
    done: collections.Counter[str] = collections.Counter()
    dice = random.Random(7)  # noqa: S311 - a test's dice
    stop = threading.Event()
    images = list(dict.fromkeys(fake.tags["team/app"][tag] for tag in TAGS))

    def move_tags() -> None:
        while not stop.wait(0.05):
            fake.tags["team/app"]["moving"] = dice.choice(images)

    mover = threading.Thread(target=move_tags)
    mover.start()
    kills = 0
    try:
        while time.monotonic() < end:
            doomed = start(path, repository, 1000 + kills, seconds)
            # Give it time to begin, and kill it in the middle of its work.
            until = time.monotonic() + dice.uniform(0.5, 1.5)
            while time.monotonic() < until:
                checker.look()
                time.sleep(0.01)
            doomed.send_signal(signal.SIGKILL)
            doomed.communicate()
            kills += 1
        for worker in workers:
            answer, said = worker.communicate(timeout=60)
            assert (worker.returncode, said) == (0, "")
            found = json.loads(answer)
            assert not found["failures"], "\n".join(found["failures"])
            done.update(found["done"])
    finally:
        stop.set()
        mover.join()
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert all(done[what] for what in ("pull", "tag", "untag", "rm", "gc", "images", "fsck")), done
    assert checker.names
    store = library.Store(path)
    blobs = checker.look_at_the_end(store)
    store.close()
    figures = [
        f"{sum(done.values())} operations: {dict(sorted(done.items()))}",
        f"{kills} kills, {checker.looks} looks at {checker.names} names, {blobs} blobs left",
        f"longest wait for the write lock {checker.longest:.2f} s",
    ]
    sys.stderr.write("\n".join(["", *figures, ""]))  # pytest -s shows them
