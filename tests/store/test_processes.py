"""Several processes, one store: the part-lock protocol under fire (six writers, many kills)."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from wherry.errors import StoreError
from wherry.model.digest import Digest
from wherry.store import LocalStore
from wherry.store.db import Database
from wherry.store.root_directory import open_store

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
    """Re-hash everything that has a name; return how many there are."""
    count = 0
    for blob in (path / "blobs" / "sha256").iterdir():
        assert Digest(f"sha256:{blob.name}").matches(blob.read_bytes())
        count += 1
    return count


def test_many_processes_may_make_a_new_store_at_once(tmp_path: Path) -> None:
    writers = [start(tmp_path / "store") for _ in range(WRITERS)]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    assert check_whole(tmp_path / "store") == BLOBS
    assert list((tmp_path / "store" / "ingest").iterdir()) == []


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_killed_writers_harm_nobody(tmp_path: Path, rounds: int) -> None:
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


RECOVERING = """
import fcntl, os, sys, time

# As SQLite does while it reads the log again, after somebody was killed: the index of the log
# has no valid head, and the third lock is held (sqlite.org, "WAL-mode File Format", 2.3).
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(file, fcntl.LOCK_EX, 1, 122)
os.pwrite(file, bytes(96), 0)
print("ready", flush=True)
time.sleep(1)
"""


def opened(place: Path) -> Database:
    return Database(open_store(str(place)), "wherry.db")


def test_a_writer_waits_while_another_reads_the_log_again(tmp_path: Path) -> None:
    """SPEC, section 4: "Two processes may do any of this at once"."""
    database = opened(tmp_path)
    with database.read() as connection:
        connection.execute("SELECT count(*) FROM refs").fetchone()
    command = [sys.executable, "-c", RECOVERING, str(tmp_path / "wherry.db-shm")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with database.write() as connection:
            connection.execute("INSERT INTO blobs VALUES ('sha256:0', 1, NULL, NULL)")
        assert process.wait() == 0
    with database.read() as connection:
        assert connection.execute("SELECT digest FROM blobs").fetchall() == [("sha256:0",)]
    database.close()


def test_an_interrupt_while_a_writer_waits_leaves_nothing_begun(tmp_path: Path) -> None:
    database, other = (
        opened(tmp_path),
        opened(tmp_path),
    )

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(5):
            holder = threading.Thread(target=_hold, args=(other, 0.05))
            holder.start()
            time.sleep(0.01)
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(KeyboardInterrupt), database.write():
                time.sleep(1)
            holder.join()
            with database.write() as connection:
                connection.execute("DELETE FROM blobs")
    finally:
        signal.signal(signal.SIGALRM, before)
    database.close()
    other.close()


def _hold(database: Database, seconds: float) -> None:
    with database.write():
        time.sleep(seconds)


@pytest.mark.timeout(20)  # a writer would wait for 30 s
def test_a_checkpoint_does_not_wait_for_readers(tmp_path: Path) -> None:
    database, other = (
        opened(tmp_path),
        opened(tmp_path),
    )
    with database.write() as connection:
        connection.execute("INSERT INTO blobs VALUES ('sha256:0', 1, NULL, NULL)")
    with other.snapshot() as reading:
        assert reading.execute("SELECT count(*) FROM blobs").fetchone() == (1,)
        with database.write() as connection:
            connection.execute("DELETE FROM blobs")
        database.checkpoint()
    database.close()
    other.close()


@pytest.mark.timeout(20)  # it would try for 30 s
def test_a_writer_does_not_wait_for_what_cannot_come(tmp_path: Path) -> None:
    """A thread that reads what somebody has changed since cannot write; nor by waiting."""
    database, other = (
        opened(tmp_path),
        opened(tmp_path),
    )
    add = "INSERT INTO blobs VALUES (?, 1, NULL, NULL)"
    with database.write() as connection:
        connection.executemany(add, [(f"sha256:{number}",) for number in range(10)])
    with database.read() as connection:
        rows = connection.execute("SELECT digest FROM blobs")
        assert rows.fetchone()
        with other.write() as changing:
            changing.execute(add, ("sha256:a",))
        with pytest.raises(StoreError, match="locked"), database.write():
            pass
    database.close()
    other.close()
