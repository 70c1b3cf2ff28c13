"""Interrupted pulls: cancelled, stopped by a signal, killed or cut off."""

from __future__ import annotations

import re
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import wherry as library
from pulls import BIG, BLOB, LAYER, blob_requests, part_size, snapshot, whole
from waiting import wait_for
from wherry import Cancelled, CancelToken, Client
from wherry.testing import (
    Cut,
    Delay,
    FakeRegistry,
    Fault,
    FixedReply,
    Stall,
    build_image,
    tar_layer,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from conftest import Wherry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", BIG, "t")
    return f"{fake.host}/app:t"


@dataclass
class Running:
    """A pull in a thread of its own."""

    token: CancelToken = field(default_factory=CancelToken)
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self, client: Client, name: str) -> None:
        def run() -> None:
            try:
                client.pull(name, cancel=self.token)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """Cancel, and wait for the end of the pull; the faults of these tests last longer."""
        assert self.thread is not None
        self.token.cancel()
        self.thread.join(20)
        assert not self.thread.is_alive()


def test_cancel_while_a_blob_stalls(
    fake: FakeRegistry, name: str, client: Client, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=200_000), path=BLOB, times=1))
    running = Running()
    running.start(client, name)
    wait_for(lambda: part_size(store, LAYER.digest) == 200_000)
    running.cancel()
    assert isinstance(running.error, Cancelled)
    assert part_size(store, LAYER.digest) == 200_000
    assert snapshot(store).names == ()
    client.pull(name)
    whole(store, name, BIG)
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=200000-"]


@pytest.mark.parametrize(
    "path", ["/manifests/t", f"/manifests/{BIG.digest}", BIG.config.digest, BLOB]
)
def test_cancel_while_an_answer_does_not_come(
    fake: FakeRegistry, name: str, client: Client, store: library.Store, path: str
) -> None:
    fault = fake.inject(Fault(Delay(60), path=path, times=1))
    running = Running()
    running.start(client, name)
    wait_for(lambda: fault.count == 1)
    time.sleep(0.05)
    running.cancel()
    assert isinstance(running.error, Cancelled)
    client.pull(name)
    whole(store, name, BIG)


def test_cancel_during_a_pause_before_another_attempt(
    fake: FakeRegistry, name: str, client: Client
) -> None:
    fault = fake.inject(Fault(FixedReply(429, {"Retry-After": "60"}), path=BLOB))
    running = Running()
    running.start(client, name)
    wait_for(lambda: fault.count == 1)
    time.sleep(0.1)
    running.cancel()
    assert isinstance(running.error, Cancelled)
    assert fault.count == 1


def test_cancelled_before_it_began(fake: FakeRegistry, name: str, client: Client) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        client.pull(name, cancel=token)
    assert fake.requests == []


def interrupt(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    """Send a signal and return what the process wrote until its end."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    return output, errors


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], signal.SIGINT),
        ([], signal.SIGTERM),
        (["-q"], signal.SIGINT),
        (["--progress=tty"], signal.SIGINT),
    ],
    ids=["plain", "plain-term", "quiet", "tty"],
)
def test_an_interrupt_while_a_blob_stalls(
    fake: FakeRegistry,
    name: str,
    wherry: Wherry,
    store: library.Store,
    number: signal.Signals,
    options: Sequence[str],
) -> None:
    fake.inject(Fault(Stall(after=500_000), path=BLOB, times=1))
    process = wherry.start("pull", *options, name)
    wait_for(lambda: part_size(store, LAYER.digest) == 500_000)
    time.sleep(0.15)
    output, errors = interrupt(process, number)
    assert process.returncode == 130
    assert output == ""
    told = errors.splitlines()[-1]
    assert "wherry: interrupted; " in told
    assert re.search(r"[\d.]+ of [\d.]+ [kM]B are kept", told)
    assert "Traceback" not in errors
    assert part_size(store, LAYER.digest) == 500_000
    assert snapshot(store).names == ()
    done = wherry("pull", name)
    assert done.returncode == 0, done.stderr
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=500000-"]
    whole(store, name, BIG)


def test_the_reported_kept_bytes_are_in_the_store(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=500_000), path=BLOB, times=1))
    process = wherry.start("pull", name)
    wait_for(lambda: part_size(store, LAYER.digest) == 500_000)
    time.sleep(0.3)
    _, errors = interrupt(process, signal.SIGINT)
    found = re.search(r"([\d.]+) of ([\d.]+) (kB|MB) are kept", errors)
    assert found is not None, errors
    unit = {"kB": 1e3, "MB": 1e6}[found[3]]
    assert abs(float(found[1]) * unit - 500_000) < 0.06 * 1e6
    assert abs(float(found[2]) * unit - LAYER.size) < 0.06 * 1e6


@pytest.mark.parametrize("options", [[], ["-q"], ["--progress=tty"]], ids=["plain", "quiet", "tty"])
def test_the_next_pull_resumes_after_a_lost_connection(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store, options: Sequence[str]
) -> None:
    small = build_image([tar_layer({"small": b"x"})])
    fake.add_image("small", small, "t")
    first = f"{fake.host}/small:t"
    fake.inject(Fault(Cut(after=500_000), path=LAYER.digest, times=1))
    fake.inject(Fault(Cut(after=0), path=LAYER.digest, skip=1))
    done = wherry("pull", *options, "--retries", "1", first, name, f"{fake.host}/small:no")
    assert (done.returncode, done.stdout) == (6, f"{small.id}\n")
    told = done.stderr[done.stderr.index("wherry: ") :].splitlines()
    assert re.fullmatch(r"  [\d.]+ of [\d.]+ [kM]B are kept, the next pull resumes .*", told[1])
    assert part_size(store, LAYER.digest) == 500_000
    # A missing blob leaves no part file.
    assert [line for line in told[2:] if "kept" in line] == []
    missing = f"wherry: {fake.host}/small:no: not found"
    assert any(line.startswith(missing) for line in told)


def test_an_interrupt_before_anything_arrived(
    fake: FakeRegistry, name: str, wherry: Wherry
) -> None:
    fault = fake.inject(Fault(Delay(60), path="/manifests/"))
    process = wherry.start("pull", name)
    wait_for(lambda: fault.count == 1)
    output, errors = interrupt(process, signal.SIGINT)
    assert process.returncode == 130
    assert (output, errors.splitlines()[-1]) == ("", "wherry: interrupted")


def test_the_next_process_resumes_after_a_killed_one(
    fake: FakeRegistry, name: str, wherry: Wherry, store: library.Store
) -> None:
    fake.inject(Fault(Stall(after=300_000), path=BLOB, times=1))
    process = wherry.start("pull", name)
    wait_for(lambda: part_size(store, LAYER.digest) == 300_000)
    process.kill()
    process.communicate(timeout=5)
    assert snapshot(store).names == ()
    assert wherry("pull", name).returncode == 0
    assert blob_requests(fake, LAYER.digest) == [None, "bytes=300000-"]
    assert str(store.get(name).id) == BIG.id
