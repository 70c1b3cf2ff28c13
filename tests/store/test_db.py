"""Transactions of the database: waits, interrupts and checkpoints."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from wherry.errors import StoreError
from wherry.store.db import Database
from wherry.store.root_directory import open_store

if TYPE_CHECKING:
    from pathlib import Path

RECOVERING = """
import fcntl, os, sys, time

# As SQLite does while it recovers the log after a writer was killed: the index of the log has no
# valid header, and the third lock is held (sqlite.org, "WAL-mode File Format", section 2.3).
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(file, fcntl.LOCK_EX, 1, 122)
os.pwrite(file, bytes(96), 0)
print("ready", flush=True)
time.sleep(1)
"""


def opened(place: Path) -> Database:
    return Database(open_store(str(place)), "wherry.db")


def test_a_writer_waits_while_another_process_recovers_the_log(tmp_path: Path) -> None:
    """SQLite then reports SQLITE_BUSY_RECOVERY instead of SQLITE_BUSY."""
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


def test_an_interrupt_of_a_waiting_writer_leaves_no_transaction(tmp_path: Path) -> None:
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


@pytest.mark.timeout(20)  # a wait would take 30 s
def test_a_writer_with_an_outdated_snapshot_fails_at_once(tmp_path: Path) -> None:
    """A thread that reads an outdated snapshot cannot write, however long it waits."""
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
