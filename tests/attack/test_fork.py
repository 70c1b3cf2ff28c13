"""Forked children that use the connections, locks and database of their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from wherry.testing import (
    FakeRegistry,
    Fault,
    Trickle,
    build_image,
    make_certificate,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry.testing import BuiltImage

pytestmark = pytest.mark.usefixtures("environment")

TAGS = 20
CHILDREN = 8
NAME = "attack/fork"

# The start of each program below: the registry, the store, and forks that cannot hang.
PRELUDE = """
import multiprocessing, os, signal, sys, threading, time
import wherry
from wherry.image_store import local_store

HOST, STORE = sys.argv[1:3]
NAME = f"{HOST}/attack/fork"

def fork(work, seconds=20):
    # Run `work` in a child, which is killed if it hangs; its exit code is 0 if it returned True.
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        code = 0 if work() else 3
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)

def wait(pids):
    # The exit code of each child; a negative number is the signal that killed it.
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
"""


def slow_blobs(bytes_per_second: float) -> Fault:
    """Send blobs slowly."""
    return Fault(Trickle(bytes_per_second), path="/blobs/")


def image(number: int, size: int = 0) -> BuiltImage:
    """Build a small image; ``size`` adds a second layer of so many bytes."""
    layers = [tar_layer({"name": b"%d" % number})]
    if size:
        layers.append(tar_layer(pseudo_random_files(number, size, 2)))
    return build_image(layers, labels={"number": str(number)})


@contextlib.contextmanager
def serving(tls: tuple[Path, Path] | None = None) -> Iterator[FakeRegistry]:
    """Serve `TAGS` images."""
    with FakeRegistry(tls=tls) as served:
        for number in range(TAGS):
            served.add_image(NAME, image(number), f"t{number}")
        yield served


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    """Serve images over plain http, for attacks that do not depend on TLS."""
    with serving() as served:
        yield served


@pytest.fixture(params=["http", "https"])
def registry(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FakeRegistry]:
    """Serve images over plain http, and over TLS."""
    files = None
    if request.param == "https":
        authority, certificate, key = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        files = certificate, key
    with serving(files) as served:
        yield served


@pytest.fixture
def attack(tmp_path: Path) -> Callable[..., str]:
    """Run a program that begins with `PRELUDE`, and return what it printed."""

    def run(served: FakeRegistry, program: str, seconds: float = 90) -> str:
        file = tmp_path / "program.py"
        file.write_text(PRELUDE + textwrap.dedent(program))
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", file, served.host, tmp_path / "store"],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-12000:]
        return done.stdout

    return run


def test_children_share_no_connection(registry: FakeRegistry, attack: Callable[..., str]) -> None:
    expected = {f"t{number}": image(number).digest for number in range(TAGS)}
    program = f"""
    expected = {expected!r}
    with wherry.Client(store=STORE) as client:
        def ask():
            wrong = 0
            for turn in range(5):
                for tag, digest in expected.items():
                    wrong += str(client.digest(f"{{NAME}}:{{tag}}")) != digest
            return wrong == 0
        assert ask()
        children = [fork(ask) for _ in range({CHILDREN})]
        assert ask()
        print(wait(children))
        assert ask()
    """
    assert attack(registry, program).strip() == str([0] * CHILDREN)


def test_a_child_holds_nothing_of_its_parent_open(
    registry: FakeRegistry, attack: Callable[..., str]
) -> None:
    registry.add_image(NAME, image(30, 2_000_000), "big")
    registry.inject(slow_blobs(200_000))
    program = """
    def open_files():
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:
                pass
        found = [name for name in found if name.startswith((STORE, "socket:"))]
        return [name for name in found if not os.path.isdir(name)]

    def child():
        print(open_files(), flush=True)
        return not open_files()

    with wherry.Client(store=STORE) as client:
        client.pull(f"{NAME}:t0")
        pulling = threading.Thread(target=client.pull, args=(f"{NAME}:big",), daemon=True)
        pulling.start()
        time.sleep(1)
        assert any(name.endswith(".part") for name in open_files()), open_files()
        assert any("/leases/" in name for name in open_files()), open_files()
        print(wait([fork(child)]))
        os._exit(0)
    """
    assert attack(registry, program).splitlines()[-1] == "[0]"


def test_children_forked_while_threads_pull(
    registry: FakeRegistry, attack: Callable[..., str]
) -> None:
    expected = {f"t{number}": image(number).digest for number in range(TAGS)}
    for number in range(8):
        registry.add_image(NAME, image(100 + number, 300_000), f"big{number}")
    program = f"""
    expected = {expected!r}
    store = wherry.Store(STORE)
    with wherry.Client(store=store) as client:
        failed = []

        def pull(number):
            try:
                for turn in range(6):
                    image = client.pull(f"{{NAME}}:big{{number}}")
                    client.pull(f"{{NAME}}:t{{(number + turn) % {TAGS}}}")
                    store.remove(image.names[0], force=True)
                client.pull(f"{{NAME}}:big{{number}}")
            except BaseException as error:
                failed.append(error)

        def child(number):
            tag = f"t{{number % {TAGS}}}"
            right = str(client.digest(f"{{NAME}}:{{tag}}")) == expected[tag]
            image = client.pull(f"{{NAME}}:{{tag}}")
            return right and str(image.digest) == expected[tag] and bool(store.images())

        threads = [threading.Thread(target=pull, args=(n,), daemon=True) for n in range(8)]
        for thread in threads:
            thread.start()
        children = []
        while any(thread.is_alive() for thread in threads):
            children.append(fork(lambda: child(len(children))))
            time.sleep(0.05)
            if len(children) == 24:
                break
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not failed, failed
        codes = wait(children)
        assert len(codes) > 3 and set(codes) == {{0}}, codes
        assert len(store.images()) >= 8 and not store.check().problems
    """
    attack(registry, program)


def test_an_idle_child_keeps_no_lock_of_a_killed_parent(
    plain: FakeRegistry, attack: Callable[..., str], tmp_path: Path
) -> None:
    registry = plain
    registry.inject(slow_blobs(400_000))
    registry.add_image(NAME, image(31, 2_000_000), "big")
    program = """
    from pathlib import Path

    with wherry.Client(store=STORE) as client:
        threading.Thread(target=client.pull, args=(f"{NAME}:big",), daemon=True).start()
        while not any(path.stat().st_size > 100_000 for path in Path(STORE, "ingest").glob("*")):
            time.sleep(0.05)
        pid = os.fork()
        if not pid:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            time.sleep(60)
            os._exit(0)
        print(pid, flush=True)
        parent = fork(lambda: bool(os.kill(os.getppid(), signal.SIGKILL)) or True)
        time.sleep(10)
    """
    file = tmp_path / "program.py"
    file.write_text(PRELUDE + textwrap.dedent(program))
    with subprocess.Popen(
        [sys.executable, file, registry.host, tmp_path / "store"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.wait(20) == -signal.SIGKILL
    try:
        registry.clear()
        parts = list((tmp_path / "store" / "ingest").iterdir())
        assert any(part.stat().st_size > 100_000 for part in parts)
        os.kill(child, 0)
        # The child lives for a minute.
        attack(registry, 'wherry.Client(store=STORE).pull(f"{NAME}:big")', seconds=30)
        attack(registry, "assert wherry.Store(STORE).usage().parts == 0")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_leaves_its_blocks_disturbs_nothing(
    registry: FakeRegistry, attack: Callable[..., str]
) -> None:
    program = """
    store = wherry.Store(STORE)
    with wherry.Client(store=store) as client:
        image = client.pull(f"{NAME}:t0")
        other = client.pull(f"{NAME}:t1")
        with local_store(store).hold(image.digest):
            layer = client.manifest(f"{NAME}:t2").layers[0]
            with client.blob(f"{NAME}:t2", layer.digest) as blob:
                pid = os.fork()
                if not pid:
                    sys.exit(0)  # leaves all blocks, and ends as a program does
                assert wait([pid]) == [0]
                assert len(blob.read()) > 50
            assert len(os.listdir(f"{STORE}/leases")) == 1
            store.untag(image.names[0])
            collector = fork(lambda: wherry.Store(STORE).gc() is not None)
            assert wait([collector]) == [0]
            assert len(image.layers[0].open().read()) > 50
        assert str(client.digest(f"{NAME}:t1")) == str(other.digest)
    assert not os.listdir(f"{STORE}/leases")
    """
    attack(registry, program)
    assert len({each.connection for each in registry.requests}) <= 4


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_processes(
    registry: FakeRegistry, attack: Callable[..., str], method: str
) -> None:
    expected = {f"t{number}": image(number).digest for number in range(TAGS)}
    program = f"""
    CLIENT = None

    def begin():
        global CLIENT
        CLIENT = CLIENT or wherry.Client(store=STORE)

    def work(given):
        store, tag = given
        image = CLIENT.pull(f"{{NAME}}:{{tag}}", store=store)
        assert store.get(f"{{NAME}}:{{tag}}") == image
        return tag, str(CLIENT.digest(f"{{NAME}}:{{tag}}")), str(image.digest)

    if __name__ == "__main__":
        begin()
        store = wherry.Store(STORE)
        CLIENT.pull(f"{{NAME}}:t0", store=store)
        assert len(store.images()) == 1
        expected = {expected!r}
        with multiprocessing.get_context("{method}").Pool(4, begin) as pool:
            asked = [(store, tag) for tag in expected] * 3
            for tag, digest, pulled in pool.map(work, asked, chunksize=1):
                assert digest == pulled == expected[tag], (tag, digest, pulled)
        assert len(store.images()) == len(expected)
        assert not store.check().problems
    """
    attack(registry, program)


def test_a_token_cancelled_in_a_child_stops_nothing_in_its_parent(
    registry: FakeRegistry, attack: Callable[..., str]
) -> None:
    registry.add_image(NAME, image(32, 1_000_000), "big")
    registry.inject(slow_blobs(400_000))
    program = """
    with wherry.Client(store=STORE) as client:
        token, pulled = wherry.CancelToken(), []
        thread = threading.Thread(
            target=lambda: pulled.append(client.pull(f"{NAME}:big", cancel=token)), daemon=True
        )
        thread.start()
        time.sleep(1)

        def cancel():
            token.cancel()
            client.close()
            return True

        assert wait([fork(cancel) for _ in range(3)]) == [0, 0, 0]
        thread.join(30)
        assert pulled
    """
    attack(registry, program)
    blobs = [each for each in registry.requests if "/blobs/" in each.path]
    assert len(blobs) <= 3  # nothing was requested twice


def test_a_child_forked_in_a_callback_ends_what_its_parent_has_begun(
    registry: FakeRegistry, attack: Callable[..., str]
) -> None:
    registry.add_image(NAME, image(33, 2_000_000), "big")
    program = """
    children, lock = [], threading.Lock()

    def fork_here(_):
        with lock:
            if len(children) < 12:
                pid = os.fork()
                if pid:
                    children.append(pid)
                    return
                signal.alarm(20)  # returns into the parent's call, in the child

    with wherry.Client(store=STORE, on_request=fork_here) as client:
        image = client.pull(f"{NAME}:big", on_event=fork_here)
        if os.getpid() != PARENT:
            os._exit(0)
        assert len(image.layers[1].open().read()) > 1_000_000
        codes = wait(children)
        assert -signal.SIGALRM not in codes, codes
        assert not client.store.check().problems
        assert not os.listdir(f"{STORE}/leases")
    """
    attack(registry, "PARENT = os.getpid()\n" + textwrap.dedent(program))


def test_a_blob_that_both_read_is_the_parents(
    registry: FakeRegistry, attack: Callable[..., str]
) -> None:
    registry.add_image(NAME, image(34, 3_000_000), "big")
    program = """
    with wherry.Client(store=STORE) as client:
        layer = client.manifest(f"{NAME}:big").layers[1]
        with client.blob(f"{NAME}:big", layer.digest) as blob:
            size = len(blob.read(10_000))

            def read():
                try:
                    while blob.read(100_000):
                        pass
                except wherry.Cancelled:
                    return len(client.blob(f"{NAME}:big", layer.digest).read()) == layer.size

            children = [fork(read) for _ in range(4)]
            while data := blob.read(100_000):
                size += len(data)
            assert size == layer.size
            assert wait(children) == [0] * 4
    """
    attack(registry, program)


# The database


@pytest.fixture
def on_a_store(attack: Callable[..., str], plain: FakeRegistry) -> Callable[[str], str]:
    """Run a program whose `store` holds three images."""
    beginning = """
    store = wherry.Store(STORE)
    with wherry.Client(store=store) as client:
        for number in range(3):
            client.pull(f"{NAME}:t{number}")
    """
    return lambda program: attack(plain, textwrap.dedent(beginning) + textwrap.dedent(program))


def test_a_child_forked_in_a_loop_over_a_store_is_refused(on_a_store: Callable[[str], str]) -> None:
    program = """
    def read():
        try:
            store.images()
        except wherry.StoreError as error:
            return "was forked while a thread was reading" in str(error)

    def go_on(rows):
        try:
            next(rows)
        except wherry.StoreError as error:
            return "was forked while a thread was reading" in str(error)

    rows = local_store(store).named_images()
    next(rows)
    children = [fork(read), fork(lambda: go_on(rows)), fork(lambda: wait([fork(read)]) == [0])]
    pid = os.fork()
    if not pid:
        sys.exit(0)  # closes nothing of the parent's
    children.append(pid)
    store.tag(f"{NAME}:t0", "one:more")
    assert len(list(rows)) >= 5  # each tag has a digest beside it
    assert wait(children) == [0, 0, 0, 0]
    assert wait([fork(lambda: len(store.images()) == 3)]) == [0]
    print(sorted(store.get("one:more").names)[-1], store.check().problems)
    """
    assert on_a_store(program).strip().endswith(" []")


def test_a_fork_waits_for_other_threads_to_end_their_reading(
    on_a_store: Callable[[str], str],
) -> None:
    program = """
    read, go_on = threading.Event(), threading.Event()

    def loop():
        for row in local_store(store).named_images():
            read.set()
            go_on.wait(20)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    read.wait()
    threading.Timer(1, go_on.set).start()
    child = fork(lambda: len(store.images()) == 3)
    assert go_on.is_set()
    assert wait([child]) == [0]

    go_on.clear(), read.clear()
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    read.wait()
    child = fork(lambda: len(store.images()) == 3)  # in vain: the thread does not end its loop
    assert wait([child]) == [1]
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert len(store.images()) == 3
    """
    on_a_store(program)


def test_a_thread_in_the_database_may_lock_files_while_a_fork_waits(
    on_a_store: Callable[[str], str],
) -> None:
    """As gc does when it looks for the leases of ended processes."""
    program = """
    from wherry.store.locks import FileLock

    read, go_on = threading.Event(), threading.Event()

    def loop():
        for row in local_store(store).named_images():
            read.set()
            go_on.wait(20)
            FileLock(lambda: os.open(os.devnull, os.O_RDWR)).release()

    threading.Thread(target=loop, daemon=True).start()
    read.wait()
    threading.Timer(1, go_on.set).start()
    begun = time.monotonic()
    child = fork(lambda: len(store.images()) == 3)
    assert time.monotonic() - begun < 4
    assert wait([child]) == [0]
    """
    on_a_store(program)


def test_a_fork_while_another_process_holds_the_database(on_a_store: Callable[[str], str]) -> None:
    program = """
    import sqlite3

    other = sqlite3.connect(f"{STORE}/wherry.db", isolation_level=None)
    reader, writer = os.pipe()
    holder = os.fork()
    if not holder:
        held = sqlite3.connect(f"{STORE}/wherry.db", isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        os.write(writer, b".")
        time.sleep(4)
        held.execute("COMMIT")
        os._exit(0)
    other.close()
    os.read(reader, 1)
    done = []
    thread = threading.Thread(
        target=lambda: done.append(store.tag(f"{NAME}:t0", "one:more")), daemon=True
    )
    thread.start()
    time.sleep(0.5)
    child = fork(lambda: bool(store.images()) and bool(store.tag(f"{NAME}:t1", "two:more")))
    assert os.waitpid(holder, os.WNOHANG) == (0, 0)  # the fork has not waited for it
    thread.join(20)
    assert done
    assert wait([child, holder]) == [0, 0]
    assert store.get("one:more") and store.get("two:more")
    """
    on_a_store(program)


def test_names_set_by_children_and_threads_at_once(on_a_store: Callable[[str], str]) -> None:
    program = """
    import sqlite3

    failed = []

    def name(writer):
        try:
            for number in range(20):
                store.tag(f"{NAME}:t{number % 3}", f"made/by:{writer}-{number}")
        except BaseException as error:
            failed.append(error)
        return not failed

    threads = [threading.Thread(target=name, args=(f"t{n}",), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    children = [fork(lambda: name(f"c{n}")) for n in range(6)]
    for thread in threads:
        thread.join(60)
    assert wait(children) == [0] * 6
    assert not failed, failed
    assert len(list(local_store(store).named_images())) == 6 + 10 * 20
    assert not store.check().problems
    found = sqlite3.connect(f"{STORE}/wherry.db").execute("PRAGMA integrity_check").fetchall()
    assert found == [("ok",)], found
    """
    on_a_store(program)


def test_a_child_keeps_its_parents_copy_of_a_database(on_a_store: Callable[[str], str]) -> None:
    program = """
    import sqlite3, tempfile
    from wherry.store.db import Database
    from wherry.store.root_directory import open_store

    store.close()
    tempfile.tempdir = f"{STORE}.tmp"
    os.mkdir(tempfile.tempdir)
    with sqlite3.connect(f"{STORE}/wherry.db") as old:  # an older version is read from a copy
        old.executescript("DROP INDEX refs_by_manifest; ALTER TABLE refs DROP COLUMN kept;"
                          "DROP TABLE packed; DROP TABLE v1_ids; DROP TABLE subjects;"
                              "DROP TABLE repository_blobs; DROP TABLE cached;"
                              "DROP INDEX edges_by_child; PRAGMA user_version = 1;")
    old.close()
    copy = Database(open_store(STORE), "wherry.db", read_only=True)
    assert len(os.listdir(tempfile.tempdir)) == 1
    pid = os.fork()
    if not pid:
        with copy.read() as connection:
            assert connection.execute("SELECT count(*) FROM refs").fetchone() >= (3,)
        sys.exit(0)
    assert wait([pid]) == [0]
    assert len(os.listdir(tempfile.tempdir)) == 1
    with copy.read() as connection:
        assert connection.execute("SELECT count(*) FROM refs").fetchone() >= (3,)
    copy.close()
    assert not os.listdir(tempfile.tempdir)
    """
    on_a_store(program)
