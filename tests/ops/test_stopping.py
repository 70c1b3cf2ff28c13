"""Stop pulls by token and by signal, whatever the thread is blocked in.

Each obstacle lasts far longer than `PATIENCE`, so a pull that ends was cancelled. The time
that takes is not asserted, because it depends on the load of the machine.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry as library
from waiting import wait_for
from wherry import Cancelled, CancelToken, Event, Status
from wherry.image_store import local_store
from wherry.testing import (
    BuiltImage,
    Delay,
    FakeRegistry,
    Fault,
    FixedReply,
    SilentPort,
    Stall,
    build_image,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from conftest import Wherry

PATIENCE = 20.0
IMAGE = build_image([tar_layer(pseudo_random_files(21, 1_200_000, 2))])
LAYER = IMAGE.layers[0]


@pytest.fixture
def full_backlog() -> Iterator[str]:
    """A host whose queue of connections is full: connecting to it blocks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        held = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)  # noqa: FBT003 - the way it is called
            sock.connect_ex(address)
            held.append(sock)
        time.sleep(0.05)
        yield f"127.0.0.1:{address[1]}"
        for sock in held:
            sock.close()


def zeros() -> BuiltImage:
    """Make an image of 60 MB that decompresses to 60 GB, which takes a minute."""
    packed = gzip.compress(bytes(10_000_000), 6, mtime=0) * 6000
    return build_image([packed], compression="none", diff_ids=["sha256:" + "0" * 64])


class Pull:
    """A pull in a thread."""

    def __init__(self, client: library.Client, name: str) -> None:
        self.token = CancelToken()
        self.error: BaseException | None = None
        self.events: list[Event] = []
        self._client, self._name = client, name
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._client.pull(self._name, cancel=self.token, on_event=self.events.append)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def stops(self) -> None:
        self.token.cancel()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert isinstance(self.error, Cancelled)


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", IMAGE, "t")
    return f"{fake.host}/app:t"


# By token


def connecting(host: str) -> int:
    """Return the number of connections to a host in the state SYN-SENT (Linux)."""
    port = int(host.partition(":")[2])
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


def test_while_connecting(client: library.Client, full_backlog: str) -> None:
    before = connecting(full_backlog)
    pull = Pull(client, f"{full_backlog}/app:t")
    wait_for(lambda: connecting(full_backlog) > before)
    pull.stops()


def test_while_shaking_hands(store: library.Store) -> None:
    with SilentPort() as port, library.Client(store=store, insecure=True) as client:
        pull = Pull(client, f"{port.host}/app:t")
        wait_for(lambda: port.received)  # the client hello, which gets no response
        pull.stops()


def test_while_waiting_for_a_head(client: library.Client, fake: FakeRegistry, name: str) -> None:
    fault = fake.inject(Fault(Delay(60), path=LAYER.digest))
    pull = Pull(client, name)
    wait_for(lambda: fault.count)
    pull.stops()


def test_while_decompressing(client: library.Client, fake: FakeRegistry) -> None:
    fake.add_image("app", zeros(), "t")
    pull = Pull(client, f"{fake.host}/app:t")
    wait_for(lambda: any(event.status is Status.VERIFYING for event in pull.events))
    pull.stops()


def test_while_backing_off(client: library.Client, fake: FakeRegistry, name: str) -> None:
    fake.inject(Fault(FixedReply(503, {"Retry-After": "60"}), path="/manifests/"))
    pull = Pull(client, name)
    wait_for(lambda: any(event.status is Status.RETRYING for event in pull.events))
    pull.stops()


def test_while_another_process_holds_the_database(
    client: library.Client, fake: FakeRegistry, store: library.Store, name: str
) -> None:
    fake.add_image("app", build_image([tar_layer({"a": b"a"})]), "first")
    client.pull(name.removesuffix("t") + "first")
    with closing(sqlite3.connect(store.path / "wherry.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pull = Pull(client, name)
        wait_for(lambda: any(event.status is Status.VERIFYING for event in pull.events))
        time.sleep(0.1)
        pull.stops()  # the thread that waits stays behind


def test_a_signal_handler_may_cancel_what_its_own_thread_is_doing(
    client: library.Client, fake: FakeRegistry, name: str
) -> None:
    fault = fake.inject(Fault(Stall(after=100_000), path=LAYER.digest))
    token = CancelToken()
    before = signal.signal(signal.SIGUSR1, lambda *_: token.cancel())

    def interrupt() -> None:
        wait_for(lambda: fault.count)
        os.kill(os.getpid(), signal.SIGUSR1)

    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(Cancelled):
            client.pull(name, cancel=token)
    finally:
        signal.signal(signal.SIGUSR1, before)


# By signal


def interrupted(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Send a signal, wait for the process, and return its last line."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_connecting(wherry: Wherry, full_backlog: str, number: int) -> None:
    before = connecting(full_backlog)
    process = wherry.start("pull", f"{full_backlog}/app:t")
    wait_for(lambda: connecting(full_backlog) > before)
    assert interrupted(process, number) == "wherry: interrupted"


def test_a_signal_while_shaking_hands(wherry: Wherry) -> None:
    with SilentPort() as port:
        process = wherry.start("pull", "--insecure", f"{port.host}/app:t")
        wait_for(lambda: port.received)
        assert interrupted(process) == "wherry: interrupted"


def test_a_signal_while_decompressing(
    wherry: Wherry, fake: FakeRegistry, store: library.Store
) -> None:
    built = zeros()
    fake.add_image("app", built, "t")
    process = wherry.start("pull", f"{fake.host}/app:t")
    part = store.path / "ingest" / f"{built.layers[0].digest.replace(':', '-')}.part"
    wait_for(lambda: part.exists() and part.stat().st_size == built.layers[0].size)
    assert " are kept, " in interrupted(process)


def test_a_signal_while_backing_off(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    fault = fake.inject(Fault(FixedReply(429, {"Retry-After": "60"}), path=LAYER.digest))
    process = wherry.start("pull", name)
    wait_for(lambda: fault.count)
    assert interrupted(process).startswith("wherry: interrupted")


def test_a_signal_while_several_connections_bring_a_blob(
    wherry: Wherry, fake: FakeRegistry, store: library.Store
) -> None:
    files = {"noise": bytes(range(256)) * 2**16}
    built = build_image([tar_layer(files)], compression="none")
    fake.add_image("app", built, "t")
    fake.inject(Fault(Stall(after=1_000_000), path=built.layers[0].digest))
    process = wherry.start("pull", "--split=3", f"{fake.host}/app:t")
    part = store.path / "ingest" / f"{built.layers[0].digest.replace(':', '-')}.part"
    wait_for(lambda: part.exists() and part.stat().st_size >= 1_000_000)
    assert " are kept, " in interrupted(process)
    assert built.layers[0].data.startswith(part.read_bytes())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_credential_helper_is_asked(
    wherry: Wherry, helper_program: Callable[..., Path], tmp_path: Path, number: int
) -> None:
    directory = helper_program(
        "slow", '#!/bin/sh\nsleep 0.3\necho $$ > "$(dirname "$0")/pid"\nexec sleep 60\n'
    )
    with FakeRegistry(users={"me": "secret"}) as fake:
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"credHelpers": {fake.host: "slow"}}))
        env = {"PATH": os.environ["PATH"]}
        process = wherry.start("pull", "--authfile", str(file), f"{fake.host}/app:t", env=env)
        wait_for(lambda: (directory / "pid").exists() and (directory / "pid").read_text())
        pid = int((directory / "pid").read_text())
        assert interrupted(process, number) == "wherry: interrupted"
    wait_for(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Tell whether a process runs (Linux); a zombie does not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_open(pid: int, name: str) -> bool:
    """Tell whether a process has a file of this name open (Linux)."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if descriptor.readlink().name == name:
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_another_process_holds_the_database(
    wherry: Wherry, store: library.Store, name: str, number: int
) -> None:
    """The main thread is in SQLite, which ignores signals for half a minute."""
    assert wherry("pull", name).returncode == 0
    with closing(sqlite3.connect(store.path / "wherry.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = wherry.start("tag", name, "other:t")
        wait_for(lambda: has_open(process.pid, "wherry.db"))
        time.sleep(0.2)
        assert process.poll() is None
        assert interrupted(process, number) == "wherry: interrupted"
    assert not any("other" in found for found, *_ in local_store(store).named_images())


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_signal_while_stderr_is_not_read(
    wherry: Wherry, fake: FakeRegistry, name: str, form: str
) -> None:
    """Writing to a full pipe blocks, and so does writing the last message."""
    fake.inject(Fault(Stall(after=100_000), path=LAYER.digest))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(512)):
            pass
    os.set_blocking(writing, True)
    process = wherry.start("pull", "--progress", form, name, stderr=writing)
    os.close(writing)
    wait_for(lambda: any(LAYER.digest in request.path for request in fake.requests))
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.communicate()
        os.close(reading)
