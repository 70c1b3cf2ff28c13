"""Planted links, FIFOs and devices in a store that lead no command out of it.

Another user owns the store and prepares it for root. An ordinary user who runs the tests prepares
the user's own store. The short form runs one command for each kind of file in each place, the long
form runs all commands.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import StoreError
from wherry.image_store import local_store
from wherry.store import LocalStore
from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Wherry
    from wherry.store.ingest import Ingest

IS_ROOT = os.geteuid() == 0
STRANGER = 65534  # the uid that owns the store when root runs the tests
SECRET = "root:$y$j9T$secret-of-the-victim:19000:0:::\n"
LAYER = tar_layer({"planted": b"layer"})
IMAGE = build_image([LAYER])
OTHER = build_image([tar_layer({"other": b"layer"})])
FOUND = 5  # the exit code of fsck for damaged blobs
PART = f"sha256-{hashlib.sha256(LAYER).hexdigest()}.part"
LOOSE = hashlib.sha256(b"loose").hexdigest()  # a blob without a reference
LEASE = "1" * 32

DIRECTORIES = ("ingest", "leases", "blobs", "blobs/sha256", "blobs/sha512")
FILES = (
    *("wherry.db", "wherry.db-wal", "wherry.db-shm", "wherry.db-journal", "wherry.db.new"),
    *(
        "wherry.db.damaged",
        "wherry.lock",
        "names.json",
        "names.new",
        "names.lock",
        "wherry.reserve",
    ),
    *(f"blobs/sha256/{LOOSE}", f"blobs/sha256/{IMAGE.config.digest[7:]}", f"ingest/{PART}"),
    f"leases/{LEASE}",
)
COMMANDS = {
    "pull": ("pull", "{host}/other:t"),
    "load": ("load", "-i", "{archive}"),
    "import": ("import", "{tar}", "imported:1"),
    "gc": ("gc",),
    "rm": ("rm", "{host}/app:t"),
    "untag": ("untag", "{host}/app:t"),
    "tag": ("tag", "{host}/app:t", "again:1"),
    "fsck": ("fsck",),
    "fsck --repair": ("fsck", "--repair"),
    "fsck --rebuild": ("fsck", "--rebuild"),
    "images": ("images",),
    "df": ("df",),
    "show": ("show", "{host}/app:t"),
    "save": ("save", "{host}/app:t", "-o", "{saved}"),
}


class Outside:
    """Files outside of the store: victims, and the target of a dangling link."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.directory = place / "directory"
        self.directory.mkdir()
        for name in ("file", PART, LOOSE, LEASE, "wherry.db", "names.json", "sha256"):
            (self.directory / name).write_text(SECRET)
        self.file = place / "file"
        self.file.write_text(SECRET)
        self.empty = place / "empty"
        self.empty.touch()
        self.missing = place / "missing"

    def state(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(self.place.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (content, status.st_mode, status.st_uid, status.st_mtime_ns)
        return found


def plant_socket(at: Path) -> None:
    directory = os.open(at.parent, os.O_RDONLY)  # a path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{directory}/{at.name}")
    os.close(directory)


def plant_device(at: Path) -> None:
    os.mknod(at, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # as /dev/zero


KINDS: dict[str, Callable[[Path, Outside], None]] = {
    "link to a directory": lambda at, outside: at.symlink_to(outside.directory),
    "link to a file": lambda at, outside: at.symlink_to(outside.file),
    "link to an empty file": lambda at, outside: at.symlink_to(outside.empty),
    "link to nothing": lambda at, outside: at.symlink_to(outside.missing),
    "link to /dev/zero": lambda at, _: at.symlink_to("/dev/zero"),
    "link up": lambda at, _: at.symlink_to(".."),
    "hard link": lambda at, outside: at.hardlink_to(outside.file),
    "hard link to an empty file": lambda at, outside: at.hardlink_to(outside.empty),
    "FIFO": lambda at, _: os.mkfifo(at),
    "socket": lambda at, _: plant_socket(at),
    "device": lambda at, _: plant_device(at),
    "directory": lambda at, _: at.mkdir(),
}
FOR_FILES = {"link to an empty file", "hard link", "hard link to an empty file", "directory"}
PAIRS = [
    (place, kind)
    for place in (*DIRECTORIES, *FILES)
    for kind in KINDS
    if place in FILES or kind not in FOR_FILES
]


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        fake.add_image("app", IMAGE, "t")
        fake.add_image("other", OTHER, "t")
        yield fake


@pytest.fixture(scope="module")
def template(registry: FakeRegistry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store and input on which each command has an effect."""
    place = tmp_path_factory.mktemp("template")
    store = library.Store(place / "store")
    with library.Client(store=store) as client:
        client.pull(f"{registry.host}/app:t")
        client.pull(f"{registry.host}/other:t")
        client.save(f"{registry.host}/other:t", place / "archive.tar")
        local_store(store).remove_name(library.Reference.parse(f"{registry.host}/other:t"))
    store.close()
    (place / "store" / "blobs" / "sha256" / LOOSE).write_bytes(b"loose")
    (place / "store" / "ingest" / PART).write_bytes(b"broken off")
    (place / "store" / "leases" / LEASE).touch()
    (place / "layer.tar").write_bytes(LAYER)
    return place


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def give_away(store: Path) -> None:
    """Give the files and directories of the store to another user."""
    for path in (store, *store.rglob("*")):
        if (not path.is_symlink() and path.stat().st_nlink == 1) or path.is_dir():
            os.chown(path, STRANGER, STRANGER)


def plant(store: Path, name: str, kind: str, outside: Outside) -> None:
    at = store / name
    if at.is_dir():
        shutil.rmtree(at)
    else:
        at.unlink(missing_ok=True)
    at.parent.mkdir(exist_ok=True)
    KINDS[kind](at, outside)
    if IS_ROOT:
        give_away(store)


def run(
    wherry: Wherry, place: Path, registry: FakeRegistry, command: str
) -> subprocess.CompletedProcess[str]:
    words = {
        "host": registry.host,
        "archive": place / "archive.tar",
        "tar": place / "layer.tar",
        "saved": place / "saved.tar",
    }
    result = wherry(*(word.format(**words) for word in COMMANDS[command]), timeout=20)
    assert "Traceback" not in result.stderr
    assert "please report" not in result.stderr
    assert "secret-of-the-victim" not in result.stdout + result.stderr
    reported = result.returncode == FOUND or "lost: " in result.stderr  # a finding of fsck
    if result.returncode and not (command.startswith("fsck") and reported):
        lines = result.stderr.splitlines()
        assert len([line for line in lines if line.startswith("wherry: ")]) == 1
        assert lines[-1].startswith(("wherry: ", "  "))
    return result


def attack(
    wherry: Wherry, place: Path, registry: FakeRegistry, pair: tuple[str, str], command: str
) -> None:
    outside = Outside(place / "outside")
    plant(place / "store", *pair, outside)
    before = outside.state()
    run(wherry, place, registry, command)
    saved = place / "saved.tar"
    assert not saved.exists() or SECRET.encode() not in saved.read_bytes()
    assert outside.state() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_something_to_do(
    wherry: Wherry, place: Path, registry: FakeRegistry, command: str
) -> None:
    assert run(wherry, place, registry, command).returncode == 0


@pytest.mark.parametrize(
    ("number", "pair"), [*enumerate(PAIRS)], ids=[f"{p}-{k}" for p, k in PAIRS]
)
def test_nothing_outside_changes(
    wherry: Wherry, place: Path, registry: FakeRegistry, number: int, pair: tuple[str, str]
) -> None:
    if pair[1] == "device" and not IS_ROOT:
        pytest.skip("needs root")
    command = list(COMMANDS)[number % len(COMMANDS)]
    attack(wherry, place, registry, pair, command)


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("pair", PAIRS, ids=[f"{p}-{k}" for p, k in PAIRS])
def test_nothing_outside_changes_whatever_is_run(
    wherry: Wherry, place: Path, registry: FakeRegistry, pair: tuple[str, str], command: str
) -> None:
    if pair[1] == "device" and not IS_ROOT:
        pytest.skip("needs root")
    attack(wherry, place, registry, pair, command)


@pytest.mark.parametrize("name", ["ingest", "leases", "blobs", "blobs/sha256", "wherry.db"])
@pytest.mark.parametrize("command", ["pull", "gc"])
def test_a_link_is_named_in_one_line(
    wherry: Wherry, place: Path, registry: FakeRegistry, name: str, command: str
) -> None:
    outside = Outside(place / "outside")
    plant(place / "store", name, "link to a directory", outside)
    result = run(wherry, place, registry, command)
    assert result.returncode == 1
    *_, line, hint = result.stderr.splitlines()
    assert line.startswith("wherry: ")
    assert line.endswith(f"{place}/store/{name}: is a symbolic link, which a store does not have")
    assert "remove it" in hint


@pytest.mark.parametrize("log", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("command", ["images", "pull", "fsck --rebuild"])
def test_a_hard_link_of_the_databases_logs_is_named(
    wherry: Wherry, place: Path, registry: FakeRegistry, log: str, command: str
) -> None:
    """The file's owner does not matter: SQLite would write into it."""
    outside = Outside(place / "outside")
    (place / "store" / f"wherry.db{log}").hardlink_to(outside.empty)
    before = outside.state()
    result = run(wherry, place, registry, command)
    assert result.returncode == 1
    assert f"{place}/store/wherry.db{log}: has more than one hard link" in result.stderr
    assert outside.state() == before
    _, _, hint = result.stderr.partition("cp -p")
    assert hint
    subprocess.run(["sh", "-c", f"cp -p{hint}"], check=True)  # the advice works
    assert run(wherry, place, registry, command).returncode == 0


def test_names_that_are_not_of_the_store_are_left_alone(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    """Sweeps match forms of names, so they keep files of another user."""
    store = place / "store"
    strange = [
        *(store / "ingest" / name for name in ("notes", "sha256-0.part", f"{PART}.bak")),
        *(store / "leases" / name for name in ("notes", "f" * 31, "F" * 32)),
        *(store / "blobs" / "sha256" / name for name in ("notes", "g" * 64, "0" * 63)),
    ]
    for path in strange:
        path.write_text("mine")
    assert run(wherry, place, registry, "gc").returncode == 0
    assert [path for path in strange if not path.exists()] == []
    assert not (store / "ingest" / PART).exists()
    assert not (store / "leases" / LEASE).exists()
    assert not (store / "blobs" / "sha256" / LOOSE).exists()


@pytest.mark.parametrize(
    "row",
    ["sha256:../../../outside/file", "sha256:{outside}/file", "../..:outside", "", "sha256:."],
)
@pytest.mark.parametrize("command", ["gc", "rm", "fsck", "fsck --repair", "save", "df"])
def test_digests_of_the_database_lead_nowhere(
    wherry: Wherry, place: Path, registry: FakeRegistry, row: str, command: str
) -> None:
    """Another user has also written the database."""
    outside = Outside(place / "outside")
    digest = row.format(outside=outside.place)
    connection = sqlite3.connect(place / "store" / "wherry.db")
    with connection:
        many = [(f"{digest}{' ' * n}", 1) for n in range(20)]  # more rows than files
        connection.executemany("INSERT OR IGNORE INTO blobs (digest, size) VALUES (?, ?)", many)
        connection.execute("INSERT INTO leases VALUES (?, ?)", ("../../outside/file", digest))
        connection.execute("INSERT OR IGNORE INTO edges SELECT root, ?, 1 FROM refs", (digest,))
    connection.close()
    before = outside.state()
    run(wherry, place, registry, command)
    assert outside.state() == before


def test_digests_of_the_database_remove_no_other_names(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    """A sweep checks many names at once; a valid name does not let others pass."""
    blobs = place / "store" / "blobs" / "sha256"
    (blobs / ("a" * 64)).mkdir()
    nested = f"{'a' * 64}/{'b' * 64}"
    odd = ["1" * 63, "2" * 65, "A" * 64, "\u0661" * 64, "g" * 64, "3" * 128, nested]
    for name in odd:
        (blobs / name).write_text("mine")
    rows = [f"sha256:{name}" for name in (*odd, *(f"{number:064x}" for number in range(50)))]
    connection = sqlite3.connect(place / "store" / "wherry.db")
    with connection:
        connection.executemany(
            "INSERT INTO blobs (digest, size) VALUES (?, 1)", [(row,) for row in rows]
        )
    connection.close()
    assert run(wherry, place, registry, "gc").returncode == 0
    assert [name for name in odd if not (blobs / name).exists()] == []
    assert not (blobs / LOOSE).exists()


def test_a_journal_that_names_another_file_is_refused(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    """After a rollback SQLite removes the file that a super-journal names."""
    outside = Outside(place / "outside")
    name = os.fsencode(outside.file)
    journal = bytearray(b"\xd9\xd5\x05\xf9 \xa1c\xd7" + bytes(20))
    journal += bytes(512 - len(journal)) + (2**32 - 1).to_bytes(4, "big") + name
    journal += len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    (place / "store" / "wherry.db-journal").write_bytes(journal + b"\xd9\xd5\x05\xf9 \xa1c\xd7")
    result = run(wherry, place, registry, "images")
    assert "names a file outside" in result.stderr
    assert outside.file.read_text() == SECRET


# The store's own directory


def test_a_store_that_every_user_can_write_to_is_refused(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    (place / "store").chmod(0o777)
    for command in COMMANDS:
        result = run(wherry, place, registry, command)
        assert result.returncode == 1
        assert "every user can write" in result.stderr
        assert f"chmod o-w {place}/store" in result.stderr
    (place / "store").chmod(0o755)
    (place / "store" / "ingest").chmod(0o777)
    assert "store/ingest: every user can write" in run(wherry, place, registry, "pull").stderr


def test_new_directories_are_not_for_every_user(tmp_path: Path) -> None:
    """The umask makes no difference."""
    code = (
        "import io, os, sys, wherry; os.umask(0);"
        "wherry.Client(store=sys.argv[1]).import_(io.BytesIO(), 'empty')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a" / "store")], check=True)
    modes = {path: path.stat().st_mode for path in (tmp_path / "a", *(tmp_path / "a").rglob("*"))}
    assert len(modes) > 8
    assert [path for path, mode in modes.items() if mode & stat.S_IWOTH] == []


def test_the_users_own_link_to_a_store_is_followed(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    (place / "store").rename(place / "real")
    (place / "store").symlink_to(place / "real")
    for command in ("images", "pull", "gc", "fsck"):
        assert run(wherry, place, registry, command).returncode == 0


def test_a_broken_link_in_place_of_a_store_is_reported(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    shutil.rmtree(place / "store")
    (place / "store").symlink_to(place / "gone")
    result = run(wherry, place, registry, "pull")
    assert "is a link to" in result.stderr
    assert not (place / "gone").exists()


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_another_users_link_to_roots_store_is_refused(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    (place / "store").rename(place / "real")
    (place / "store").symlink_to(place / "real")
    os.lchown(place / "store", STRANGER, STRANGER)
    result = run(wherry, place, registry, "gc")
    assert result.returncode == 1
    assert "is a link that another user made" in result.stderr
    assert (place / "real" / "ingest" / PART).exists()


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("name", ["ingest", "leases", "blobs", "blobs/sha256"])
def test_a_strangers_directory_is_refused(
    wherry: Wherry, place: Path, registry: FakeRegistry, name: str
) -> None:
    os.chown(place / "store" / name, STRANGER, STRANGER)
    result = run(wherry, place, registry, "gc")
    assert result.returncode == 1
    assert f"store/{name}: belongs to another user" in result.stderr


# While the store is open


def test_a_store_that_is_moved_away_while_it_is_open(place: Path, registry: FakeRegistry) -> None:
    store = library.Store(place / "store")
    with library.Client(store=store) as client:
        assert len(client.store.images()) == 1
        (place / "store").rename(place / "elsewhere")
        assert client.store.images() == []
        client.pull(f"{registry.host}/other:t")
        assert [image.names for image in client.store.images()]
        assert (place / "store" / "wherry.db").exists()
        store.close()


def test_a_store_that_is_moved_away_while_it_is_written_to(place: Path) -> None:
    """A running operation continues in the moved directory, or names the move."""
    outside = Outside(place / "outside")
    store = LocalStore(place / "store")
    before = outside.state()
    errors: list[StoreError] = []

    def in_a_thread_of_its_own() -> None:  # a thread opens the database for itself
        try:
            assert ingest.all_followed([library.Digest.of(LAYER)])
        except StoreError as error:
            errors.append(error)

    with ingest_of(store) as ingest:
        (place / "store").rename(place / "elsewhere")
        (place / "store").symlink_to(outside.directory)
        thread = threading.Thread(target=in_a_thread_of_its_own)
        thread.start()
        thread.join()
    (error,) = errors
    assert re.search(r"moved away|replaced", str(error))
    assert outside.state() == before
    store.close()


def ingest_of(store: LocalStore) -> Ingest:
    return store.ingest()


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_names_that_are_swapped_all_the_time(
    wherry: Wherry, place: Path, registry: FakeRegistry
) -> None:
    """Another user replaces directories and files by links while root works."""
    outside = Outside(place / "outside")
    store = place / "store"
    give_away(store)
    before = outside.state()
    code = SWAPPING.format(uid=STRANGER)
    command = [sys.executable, "-c", code, str(store), str(outside.directory), str(outside.missing)]
    for path in (place, *list(place.parents)[:3]):
        path.chmod(path.stat().st_mode | 0o711)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            for each in ("gc", "pull", "import", "rm", "fsck", "fsck --rebuild", "tag") * 2:
                run(wherry, place, registry, each)
        finally:
            process.kill()
    assert outside.state() == before


SWAPPING = """
import contextlib, os, sys, time
store, target, missing = sys.argv[1:]
os.chdir(store)
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
print("ready", flush=True)
ends = time.monotonic() + 60
while time.monotonic() < ends:
    for name in ("ingest", "leases", "blobs/sha256", "wherry.db", "names.json", "wherry.lock"):
        with contextlib.suppress(OSError):
            os.rename(name, name + ".aside")
            os.symlink(missing if "." in name else target, name)
        time.sleep(0.002)
        with contextlib.suppress(OSError):
            os.unlink(name)
        with contextlib.suppress(OSError):
            os.rename(name + ".aside", name)
"""
