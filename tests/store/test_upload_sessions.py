"""Addresses of upload sessions that the store keeps for later processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from wherry.image_store import local_store
from wherry.model.digest import Digest
from wherry.store import LocalStore
from wherry.store.upload_sessions import EXPIRY_SECONDS, MAX_ADDRESS

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library

REPOSITORY = "registry.example.com/team/app"
BLOB, OTHER = Digest.of(b"blob"), Digest.of(b"other")
URL = "https://registry.example.com/v2/team/app/blobs/uploads/1?_state=hidden"
NEXT = "https://registry.example.com/v2/team/app/blobs/uploads/1?_state=more-hidden"
SAVE = """
import sys
from pathlib import Path
from wherry.model.digest import Digest
from wherry.store import LocalStore

with LocalStore(Path(sys.argv[1])).upload_sessions() as sessions:
    sessions.save(sys.argv[2], Digest.parse(sys.argv[3]), sys.argv[4])
    print("saved", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def loaded(local: LocalStore, repository: str = REPOSITORY, digest: Digest = BLOB) -> str | None:
    with local.upload_sessions() as sessions:
        return sessions.load(repository, digest)


def save(local: LocalStore, url: str = URL) -> None:
    with local.upload_sessions() as sessions:
        sessions.save(REPOSITORY, BLOB, url)


def files(local: LocalStore) -> list[Path]:
    return sorted((local.path / "uploads").iterdir())


def test_the_latest_address_is_found_later(local: LocalStore) -> None:
    with local.upload_sessions() as sessions:
        sessions.save(REPOSITORY, BLOB, NEXT)
        sessions.save(REPOSITORY, BLOB, URL)  # a shorter one
        assert sessions.load(REPOSITORY, BLOB) == URL
    assert loaded(local) == URL
    assert loaded(local, f"{REPOSITORY}/other") is None
    assert loaded(local, digest=OTHER) is None


def test_a_forgotten_address_is_removed(local: LocalStore) -> None:
    save(local)
    with local.upload_sessions() as sessions:
        sessions.forget(REPOSITORY, BLOB)  # another process may go on with it
        assert sessions.load(REPOSITORY, BLOB) == URL
        sessions.forget(REPOSITORY, BLOB)
        assert sessions.load(REPOSITORY, BLOB) is None
    assert files(local) == []


def test_looking_for_an_address_creates_nothing(local: LocalStore) -> None:
    assert loaded(local) is None
    with local.upload_sessions() as sessions:
        sessions.forget(REPOSITORY, BLOB)
    assert not local.path.exists()


def test_only_the_owner_can_read_an_address(local: LocalStore) -> None:
    before = os.umask(0)
    try:
        save(local)
    finally:
        os.umask(before)
    (file,) = files(local)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_no_representation_shows_an_address(local: LocalStore) -> None:
    with local.upload_sessions() as sessions:
        sessions.save(REPOSITORY, BLOB, URL)
        shown = [sessions.load(REPOSITORY, BLOB), sessions, vars(sessions)]
        assert "hidden" not in repr(shown)


# Several processes


def test_an_address_in_use_is_left_to_its_user(local: LocalStore) -> None:
    with local.upload_sessions() as sessions, local.upload_sessions() as others:
        sessions.save(REPOSITORY, BLOB, URL)
        assert others.load(REPOSITORY, BLOB) is None
        others.save(REPOSITORY, BLOB, NEXT)
        others.forget(REPOSITORY, BLOB)
        assert sessions.load(REPOSITORY, BLOB) == URL
        sessions.close()
        assert others.load(REPOSITORY, BLOB) == URL
        assert sessions.load(REPOSITORY, BLOB) is None


def test_the_address_of_a_killed_process_is_taken_over(local: LocalStore) -> None:
    command = [sys.executable, "-c", SAVE, str(local.path), REPOSITORY, str(BLOB), URL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"saved\n"
        assert loaded(local) is None
        process.kill()
        process.wait()
    assert loaded(local) == URL


def test_a_forked_child_leaves_addresses_to_its_parent(local: LocalStore) -> None:
    with local.upload_sessions() as sessions:
        sessions.save(REPOSITORY, BLOB, URL)
        child = os.fork()
        if not child:
            found = sessions.load(REPOSITORY, BLOB)
            sessions.forget(REPOSITORY, BLOB)
            os._exit(found is not None)
        assert os.waitpid(child, 0)[1] == 0
        assert sessions.load(REPOSITORY, BLOB) == URL


# Age


def make_old(path: Path, age: float) -> None:
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize("age", [EXPIRY_SECONDS + 60, -EXPIRY_SECONDS - 60])
def test_an_old_address_is_not_used(local: LocalStore, age: float) -> None:
    save(local)
    make_old(files(local)[0], age)
    assert loaded(local) is None
    save(local, NEXT)
    assert loaded(local) == NEXT


def test_a_later_upload_removes_old_addresses(local: LocalStore) -> None:
    save(local)
    (file,) = files(local)
    make_old(file, EXPIRY_SECONDS + 60)
    with local.upload_sessions() as sessions:
        sessions.save(REPOSITORY, OTHER, URL)
    assert not file.exists()


def test_gc_removes_old_addresses(store: library.Store) -> None:
    local = local_store(store)
    with local.ingest():  # makes the database
        pass
    save(local)
    (file,) = files(local)
    stray = file.with_name("notes")
    stray.write_text("not of the store")
    make_old(stray, EXPIRY_SECONDS + 60)
    store.gc()
    assert loaded(local) == URL
    with local.upload_sessions() as sessions:
        sessions.save(REPOSITORY, OTHER, URL)
        make_old(file, EXPIRY_SECONDS + 60)
        used = next(path for path in files(local) if path not in {file, stray})
        make_old(used, EXPIRY_SECONDS + 60)
        store.gc(dry_run=True)
        assert file.exists()
        store.gc()
        assert files(local) == sorted([stray, used])


# Addresses that cannot be kept


@pytest.mark.parametrize(
    "content", [b"", b"\n", URL.encode(), b"\xff\xfe\n", b"x" * 2 * MAX_ADDRESS]
)
def test_a_damaged_file_counts_as_no_address(local: LocalStore, content: bytes) -> None:
    save(local)
    files(local)[0].write_bytes(content)
    assert loaded(local) is None
    save(local)
    assert loaded(local) == URL


@pytest.mark.parametrize("url", ["https://a/" + "x" * MAX_ADDRESS, "https://a/\u00fc"])
def test_an_address_that_cannot_be_written_is_not_kept(local: LocalStore, url: str) -> None:
    save(local, url)
    assert loaded(local) is None


def test_a_store_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    """Also as root: there is a file where the store should be."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        local = LocalStore(path)
        save(local)
        assert loaded(local) is None
        local.record_provenance(REPOSITORY, [BLOB])


def test_a_link_in_the_place_of_the_directory_is_not_followed(
    local: LocalStore, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    local.path.mkdir()
    (local.path / "uploads").symlink_to(other)
    save(local)
    assert loaded(local) is None
    assert [*other.iterdir()] == []
