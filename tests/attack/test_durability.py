"""Durability of success, when system calls fail and processes are killed.

A command that exits with 0 has done its work. A command that fails has lost nothing, leaves no
half-written file, and names the failure in one line. The next run does the work.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from failing_calls import Fault, Stage
from shim import KILL, Shim, build, read_log
from wherry.testing import FakeRegistry
from worlds import APP, COMMANDS, NEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shim import Call
    from worlds import World

SYNC = "fsync,fdatasync"
WRITE = "write,pwrite,ftruncate"
NAMES = "rename,link,unlink,mkdir,fchmod"
KINDS = {"sync": SYNC, "write": WRITE, "names": NAMES, "close": "close"}
ERRORS = {"sync": errno.EIO, "write": errno.ENOSPC, "names": errno.EIO, "close": errno.EDQUOT}
TRIES = 1  # of each kind and command in the short form
NAMES_COPY = "names.json"


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """The library that makes system calls fail."""
    return Shim(build(tmp_path_factory.mktemp("shim")))


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    """A registry that all worlds use."""
    with FakeRegistry() as found:
        yield found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, shim: Shim, registry: FakeRegistry) -> Stage:
    """A world for each command."""
    return Stage(tmp_path_factory.mktemp("stage"), registry, shim)


# Each call once


def sampled(name: str, count: int, most: int) -> list[int]:
    """Choose some call numbers, the same ones in each run."""
    numbers = list(range(1, count + 1))
    return random.Random(name).sample(numbers, min(most, count))  # noqa: S311 - no secret


@pytest.mark.parametrize("command", COMMANDS)
def test_one_call_that_fails(
    stage: Stage, command: str, record_property: Callable[[str, object], None]
) -> None:
    problems: list[str] = []
    tries = 0
    made = [call.kind for call in stage.count(COMMANDS[command], ",".join(KINDS.values()))]
    for kind, calls in KINDS.items():
        count = sum(each in calls.split(",") for each in made)
        for number in sampled(f"{command} {kind}", count, TRIES):
            tries += 1
            problems += stage.attempt(COMMANDS[command], Fault(calls, number, ERRORS[kind]))
    record_property("tries", tries)
    assert problems == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_each_call_that_fails(
    stage: Stage, command: str, kind: str, record_property: Callable[[str, object], None]
) -> None:
    calls = KINDS[kind]
    count = len(stage.count(COMMANDS[command], calls))
    record_property("tries", count)
    problems = [
        problem
        for number in range(1, count + 1)
        for problem in stage.attempt(COMMANDS[command], Fault(calls, number, ERRORS[kind]))
    ]
    assert problems == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_from_some_call_on(stage: Stage, command: str) -> None:
    count = len(stage.count(COMMANDS[command], WRITE))
    for number in sampled(command, count, 1):
        fault = Fault(WRITE, number, errno.ENOSPC, lasting=True)
        assert stage.attempt(COMMANDS[command], fault) == []


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name.startswith(("save", "copy", "unpack", "export"))]
)
def test_an_output_that_is_killed(stage: Stage, command: str) -> None:
    count = len(stage.count(COMMANDS[command], "all"))
    for number in sampled(command, count, 4):
        assert stage.attempt(COMMANDS[command], Fault("all", number, KILL)) == []


# fsync before a rename, and fsync of the directory after it


def unsafe_names(calls: list[Call]) -> list[str]:
    """Return files that were renamed before an fsync, or whose directory was not synced."""
    synced: set[str] = set()
    waiting: dict[str, str] = {}
    found = []
    for kind, path, _ in calls:
        directory = os.path.dirname(path)  # noqa: PTH120 - a string
        if kind in {"fsync", "fdatasync"}:
            synced.add(path)
            waiting = {name: where for name, where in waiting.items() if where != path}
        elif kind in {"rename", "link", "mkdir"}:
            waiting[path] = directory
        elif kind in {"write", "pwrite", "ftruncate"}:
            synced.discard(path)
            if path in waiting:
                found.append(f"written after it got its name: {path}")
    return [*found, *(f"its directory was not synced: {path}" for path in waiting)]


@pytest.mark.parametrize("command", [name for name in COMMANDS if not name.startswith("unpack")])
def test_directories_are_synced_after_files_got_their_names(stage: Stage, command: str) -> None:
    _, calls = stage.traced(COMMANDS[command], f"{SYNC},{WRITE},rename,link,mkdir")
    # An existing directory and the files that a rebuild sets aside need no sync.
    assert [name for name in unsafe_names(calls) if ".damaged" not in name] == []


# A part whose fsync failed


@pytest.mark.parametrize("unlink", [False, True], ids=["removed", "emptied"])
def test_a_part_whose_fsync_failed_is_downloaded_anew(
    stage: Stage, registry: FakeRegistry, shim: Shim, *, unlink: bool
) -> None:
    """After a failed fsync, a second one succeeds although pages are lost."""
    command = COMMANDS["pull"]
    world = stage.world(command).copy(stage.path / "part")
    calls = "fsync,unlink" if unlink else "fsync"
    below = world.store / "ingest"
    below.mkdir(exist_ok=True)
    log = world.path / "log"
    environment = shim.environment(below, calls, 1, lasting=unlink, log=log)
    assert world.run(*command.arguments(world), env=environment).returncode == 1
    calls_made = [call for call in read_log(log) if call.failed and call.kind == "fsync"]
    failed = {call.path.rpartition("/")[2] for call in calls_made}
    assert failed
    assert {path.name for path in below.iterdir() if path.stat().st_size}.isdisjoint(failed)
    registry.requests.clear()
    assert world.run(*command.arguments(world)).returncode == 0
    ranges = {
        request.path.rpartition("/")[2].replace(":", "-") + ".part": request.headers.get("range")
        for request in registry.requests
    }
    for name in failed - {f"{NEW.digest.replace(':', '-')}.part"}:
        assert ranges.get(name, "not asked for") is None


# A rebuild


def rebuilt(world: World, *, env: dict[str, str] | None = None) -> list[str]:
    """Run a rebuild that fails and keeps database and names; return its error lines."""
    names, copy = world.names(), world.store / NAMES_COPY
    before = copy.lstat()
    done = world.run("fsck", "--rebuild", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert world.names() == names != {}
    assert os.path.samestat(copy.lstat(), before)
    assert list(world.store.glob("wherry.db.new*")) == []
    lines: list[str] = done.stderr.splitlines()
    return lines


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.EMFILE, errno.ESTALE])
@pytest.mark.parametrize("call", ["open", "read"])
def test_a_copy_of_the_names_that_the_system_does_not_give(
    stage: Stage, shim: Shim, call: str, error: int
) -> None:
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    told, hint, _ = rebuilt(world, env=shim.environment(world.store / NAMES_COPY, call, 1, error))
    assert NAMES_COPY in told
    assert os.strerror(error) in told
    assert "left as it was" in hint


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda text: b"\0" * len(text),
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: text[1:],
        lambda text: text[:40] + bytes(len(text) - 80) + text[-40:],
        lambda text: text.replace(b"sha256", b"sha257"),
        lambda _: b"null",
        lambda _: b'{"version":2,"names":[]}',
    ],
    ids=["empty", "zeros", "end", "half", "start", "middle", "all rows", "other", "version"],
)
@pytest.mark.parametrize("lost", [False, True], ids=["with a database", "without"])
def test_a_copy_of_the_names_that_is_damaged(
    stage: Stage, spoil: Callable[[bytes], bytes], *, lost: bool
) -> None:
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    copy, database = world.store / NAMES_COPY, world.store / "wherry.db"
    names = world.names()
    copy.write_bytes(spoil(copy.read_bytes()))
    if lost:
        database.rename(world.path / "aside")
        done = world.run("fsck", "--rebuild")
        assert done.returncode == 1
        assert not database.exists()
        (world.path / "aside").rename(database)
    assert NAMES_COPY in rebuilt(world)[0]
    copy.unlink()  # only a missing file means that there is no copy
    if lost:
        database.unlink()
    done = world.run("fsck", "--rebuild")
    count = 0 if lost else len(names)
    assert (done.returncode, done.stdout) == (0, f"Rebuilt: 2 images, {count} names\n")


def test_names_that_only_the_database_has(stage: Stage, shim: Shim) -> None:
    """The copy lacks a name: writing it failed after the database had stored the name."""
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    environment = shim.environment(world.store / "names.new", "fsync", 1)
    world.must("untag", "mine:1")
    assert world.run("tag", world.name("app"), "late:1", env=environment).returncode == 0
    names = world.names()
    assert "late" not in (world.store / NAMES_COPY).read_text()
    assert world.run("fsck", "--rebuild").returncode == 0
    assert world.names() == names


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_a_copy_of_the_names_that_is_not_a_file(stage: Stage, kind: str) -> None:
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    copy = world.store / NAMES_COPY
    copy.rename(world.path / "aside")
    if kind == "fifo":
        os.mkfifo(copy)
    elif kind == "link":
        copy.symlink_to(world.path / "aside")
    else:
        copy.mkdir()
    assert NAMES_COPY in rebuilt(world)[0]


@pytest.mark.parametrize("calls", [SYNC, WRITE, f"{SYNC},{WRITE}"])
@pytest.mark.parametrize("number", [1, 5, 9])
def test_a_rebuild_on_a_disk_that_fails_for_good(stage: Stage, calls: str, number: int) -> None:
    fault = Fault(calls, number, errno.EIO, lasting=True)
    assert stage.attempt(COMMANDS["rebuild"], fault) == []


@pytest.mark.timeout(300)
def test_a_rebuild_that_is_killed_at_any_name(stage: Stage) -> None:
    """The files of an earlier rebuild are removed last; logs stay beside their database."""
    command = COMMANDS["rebuild"]
    count = len(stage.count(command, "rename,unlink"))
    for number in range(1, count + 1):
        assert stage.attempt(command, Fault("rename,unlink", number, KILL)) == []


def test_a_rebuild_takes_an_old_journal_away(stage: Stage) -> None:
    """SQLite would roll it back into the new database."""
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    names = world.names()
    connection = sqlite3.connect(world.store / "wherry.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM refs")
    connection.executemany("INSERT INTO leases VALUES (?, 'x')", [(str(n),) for n in range(5000)])
    journal = world.store / "wherry.db-journal"
    old = journal.read_bytes()
    connection.execute("ROLLBACK")
    connection.close()
    journal.write_bytes(old)
    assert world.run("fsck", "--rebuild").returncode == 0
    assert not journal.exists()
    assert world.names() == names
    assert world.run("fsck").returncode == 0


def test_a_failed_rebuild_keeps_the_database_of_an_earlier_one(stage: Stage, shim: Shim) -> None:
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    world.must("fsck", "--rebuild")
    kept = world.store / "wherry.db.damaged"
    before = kept.stat()
    rebuilt(world, env=shim.environment(world.store / "wherry.db.new", "fdatasync,fsync", 2))
    assert os.path.samestat(kept.stat(), before)


def test_a_document_that_cannot_be_read_stops_a_rebuild(stage: Stage, shim: Shim) -> None:
    world = stage.world(COMMANDS["rebuild"]).copy(stage.path / "names")
    manifest = world.store / "blobs" / APP.digest.replace(":", "/")
    told, _ = rebuilt(world, env=shim.environment(manifest, "read", 1))
    assert str(manifest) in told


# Files of a killed writer


@pytest.mark.parametrize(
    "command", ["save-docker", "save-oci", "copy-oci-archive", "copy-dir", "blob", "login"]
)
@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed", "named"])
def test_the_next_writer_removes_leftovers_of_a_killed_one(
    stage: Stage, shim: Shim, command: str, *, unnamed: bool
) -> None:
    """Also without unnamed files (`O_TMPFILE`), which some file systems do not support."""
    chosen = COMMANDS[command]
    world = stage.world(chosen).copy(stage.path / "killed")
    environment = shim.environment(world.path, "fsync", 1, KILL)
    if not unnamed:
        environment["FAIL_UNNAMED"] = "1"
    assert world.run(*chosen.arguments(world), env=environment).returncode == -9
    left = len(list(world.path.glob(".wherry-*.part")))
    assert left == (0 if unnamed and command not in {"save-oci", "copy-dir"} else 1)
    (world.path / ".wherry-0123456789abcdef.part").write_bytes(b"of an earlier one")
    (world.path / ".wherry-0123456789abcdef.part.mine").write_bytes(b"another's")
    world.must(*chosen.arguments(world))
    hidden = sorted(path.name for path in world.path.glob(".wherry-*"))
    assert hidden == [".wherry-0123456789abcdef.part.mine"]
    assert chosen.done(world) == []


def test_the_file_of_a_writer_at_work_stays(stage: Stage, shim: Shim) -> None:
    """Two concurrent saves into one directory, without unnamed files."""
    world = stage.world(COMMANDS["save-docker"]).copy(stage.path / "killed")
    command = ["-m", "wherry", "save", "-q", "-o", "one.tar", world.name("app")]
    environment = world.environment({"FAIL_UNNAMED": "1"} | shim.environment(world.path))
    running = subprocess.Popen(
        [sys.executable, "-c", HELD, str(world.path)], env=environment, stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        assert running.stdout.readline() == b"writing\n"
        subprocess.run([sys.executable, *command], cwd=world.path, env=environment, check=True)
        assert len(list(world.path.glob(".wherry-*.part"))) == 1
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    subprocess.run([sys.executable, *command], cwd=world.path, env=environment, check=True)
    assert list(world.path.glob(".wherry-*.part")) == []


HELD = """
import pathlib, sys, time
from wherry.content.output import whole_file
with whole_file(pathlib.Path(sys.argv[1], "held")):
    print("writing", flush=True)
    time.sleep(60)
"""


# Standard output


@pytest.mark.parametrize(
    "arguments",
    [
        ("save", "app"),
        ("save", "--format", "oci-archive", "app"),
        ("blob", "app", APP.layers[0].digest),
        ("config", "store:app"),
        ("manifest", "store:app"),
        ("images",),
        ("images", "--json"),
        ("gc", "--dry-run"),
        ("pull", "app"),
        ("fsck",),
        ("df",),
    ],
    ids=" ".join,
)
def test_standard_output_that_is_full(stage: Stage, arguments: tuple[str, ...]) -> None:
    world = stage.world(COMMANDS["tag"]).copy(stage.path / "full")
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = run_to(world, arguments, full.fileno())
    assert done.returncode == 1
    assert done.stderr.endswith("wherry: cannot write the result: No space left on device\n")


@pytest.mark.parametrize("call", ["fsync", "close"])
@pytest.mark.parametrize("name", ["save", "blob"])
def test_standard_output_whose_bytes_get_lost(
    stage: Stage, shim: Shim, name: str, call: str
) -> None:
    world = stage.world(COMMANDS["tag"]).copy(stage.path / "full")
    arguments = ("save", "app") if name == "save" else ("blob", "app", APP.layers[0].digest)
    output = world.path / "output"
    environment = shim.environment(output, call, 1, errno.EDQUOT)
    with output.open("wb") as file:
        done = run_to(world, arguments, file.fileno(), environment)
    assert done.returncode == 1
    assert done.stderr.endswith("wherry: cannot write the result: Disk quota exceeded\n")


def run_to(
    world: World,
    arguments: tuple[str, ...],
    stdout: int,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command with this standard output; replace `app` by the image's name."""
    named = [each.replace("app", world.name("app")) for each in arguments]
    return subprocess.run(
        [sys.executable, "-m", "wherry", *named],
        cwd=world.path,
        env=world.environment(env),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("save", "-o"), ("blob", "-o")], ids=" ".join)
def test_an_output_that_is_full(stage: Stage, arguments: tuple[str, ...]) -> None:
    world = stage.world(COMMANDS["tag"]).copy(stage.path / "full")
    rest = [APP.layers[0].digest] if arguments[0] == "blob" else []
    done = world.run(*arguments, "/dev/full", world.name("app"), *rest)
    assert done.returncode == 1
    assert "wherry: /dev/full: No space left on device" in done.stderr.splitlines()


def test_a_directory_that_can_be_written_and_not_read(stage: Stage) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory() as place:  # other users cannot enter pytest's directory
        Path(place).chmod(0o755)
        world = stage.world(COMMANDS["tag"]).copy(Path(place, "shut"))
        save_into_a_shut_box(world)


def save_into_a_shut_box(world: World) -> None:
    """Save as another user into a directory with write permission alone."""
    for path in (world.path, *world.path.rglob("*")):
        os.chown(path, 65534, 65534)
    box = world.path / "box"
    box.mkdir()
    box.chmod(0o333)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for form in ("docker", "oci"):
        command = ["save", "-q", "--format", form, "-o", f"box/{form}", world.name("app")]
        done = subprocess.run(
            [*user, sys.executable, "-m", "wherry", *command],
            cwd=world.path,
            env=world.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in box.iterdir()) == ["docker", "oci"]
