"""Several processes that store blobs at once, most of them killed."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from wherry.model.digest import Digest
from wherry.store import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 6
BLOBS = 40
# Puts blobs made from numbers, slowly enough to be killed in the middle of one.
WRITER = """
import random, sys, time
from pathlib import Path
from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Busy, Opened
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store import LocalStore

class Slow:
    def __init__(self, data):
        self.left = data
    def read1(self, size):
        time.sleep(0.0005)
        data, self.left = self.left[:4096], self.left[4096:]
        return data
    def close(self):
        pass

store = LocalStore(Path(sys.argv[1]))
numbers = list(range(int(sys.argv[2])))
random.shuffle(numbers)
with store.ingest() as ingest:
    while numbers:
        number = numbers.pop()
        data = random.Random(number).randbytes(64 * 1024)
        descriptor = Descriptor("", Digest.of(data), len(data))
        blob = Blob(descriptor, lambda offset, _: Opened(Slow(data[offset:]), offset))
        try:
            ingest.put(blob, cancel=CancelToken(), on_bytes=lambda _: None)
        except Busy:
            numbers.insert(0, number)
"""


def start(store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store), str(BLOBS)], stderr=subprocess.PIPE, text=True
    )


def check_whole(path: Path) -> int:
    """Hash all blobs, and return their number."""
    count = 0
    for blob in (path / "blobs" / "sha256").iterdir():
        assert Digest(f"sha256:{blob.name}").matches(blob.read_bytes())
        count += 1
    return count


def test_processes_may_create_a_store_at_once(tmp_path: Path) -> None:
    writers = [start(tmp_path / "store") for _ in range(WRITERS)]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    assert check_whole(tmp_path / "store") == BLOBS
    assert list((tmp_path / "store" / "ingest").iterdir()) == []


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_killed_writers_do_not_affect_others(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "store"
    chance = random.Random(7)  # noqa: S311 - a test's dice
    for _ in range(rounds):
        writers = [start(path) for _ in range(WRITERS)]
        time.sleep(chance.uniform(0.2, 0.8))
        doomed = writers[: WRITERS - 1]
        for writer in doomed:
            writer.send_signal(signal.SIGKILL)
        _, errors = writers[-1].communicate(timeout=60)
        assert (writers[-1].returncode, errors) == (0, "")
        for writer in doomed:
            writer.communicate(timeout=10)
        assert check_whole(path) == BLOBS
        for blob in (path / "blobs" / "sha256").iterdir():
            if chance.random() < 0.8:
                blob.unlink()  # so that the next round has work; the rows stay behind
    store = LocalStore(path)
    with sqlite3.connect(path / "wherry.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
