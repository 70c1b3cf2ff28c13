"""The local store: blobs, leases, names, versions and permissions."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Busy, Opened
from wherry.errors import IntegrityError, NotFound, StoreError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.store import LocalStore
from wherry.store.images import ImageRecord
from wherry.store.parts import open_part
from wherry.store.root_directory import open_store
from wherry.testing import build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534


class Once:
    """A stream over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def read1(self, size: int) -> bytes:
        data, self.left = self.left[:size], self.left[size:]
        return data

    def close(self) -> None:
        self.left = b""


def blob(data: bytes, digest: Digest | None = None, size: int | None = None) -> Blob:
    found = digest or Digest.of(data)
    descriptor = Descriptor("", found, len(data) if size is None else size)
    return Blob(descriptor, lambda offset, _: Opened(Once(data[offset:]), offset))


def put(store: LocalStore, item: Blob, *, follow: bool = False) -> None:
    with store.ingest() as ingest:
        ingest.put(item, follow=follow, cancel=CancelToken(), on_bytes=lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def path_of(store: LocalStore, digest: Digest) -> Path:
    return store.path / "blobs" / digest.algorithm / digest.hex


def parts(store: LocalStore) -> list[str]:
    return sorted(path.name for path in (store.path / "ingest").iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_put_stores_bytes_under_their_digest_read_only(store: LocalStore, algorithm: str) -> None:
    digest = Digest.of(b"content", algorithm)
    put(store, blob(b"content", digest))
    assert store.read(digest) == b"content"
    assert stat.S_IMODE(path_of(store, digest).stat().st_mode) == 0o444
    assert parts(store) == []


def test_a_second_put_reports_that_the_blob_existed(store: LocalStore) -> None:
    layer = build_image([tar_layer({"a": b"x" * 1000})]).layers[0].data
    diff_ids = []
    for existed in (False, True):
        with store.ingest() as ingest:
            receipt = ingest.put(
                blob(layer), follow=True, cancel=CancelToken(), on_bytes=lambda _: None
            )
        assert receipt.existed is existed
        diff_ids.append((receipt.diff_id, receipt.raw_size))
    assert diff_ids[0] == diff_ids[1] == (Digest.of(tar_layer({"a": b"x" * 1000})), 10240)


def test_a_missing_diff_id_is_computed_on_request(store: LocalStore) -> None:
    layer = build_image([tar_layer({"a": b"x"})]).layers[0].data
    put(store, blob(layer))
    with store.ingest() as ingest:
        receipt = ingest.put(
            blob(layer), follow=True, cancel=CancelToken(), on_bytes=lambda _: None
        )
    assert receipt.existed
    assert receipt.diff_id == Digest.of(tar_layer({"a": b"x"}))


@pytest.mark.parametrize(
    "item",
    [
        blob(b"content", Digest.of(b"other")),
        blob(b"content", size=6).replace(exact=True),
        blob(b"content", size=8).replace(exact=True),
    ],
    ids=["digest", "too long", "too short"],
)
def test_wrong_content_is_refused_and_leaves_nothing(store: LocalStore, item: Blob) -> None:
    with pytest.raises(IntegrityError):
        put(store, item)
    assert not path_of(store, item.descriptor.digest).exists()
    assert parts(store) == []


@pytest.mark.parametrize("size", [1, 6, 8, 2**50, None])
def test_a_wrong_size_is_accepted_if_the_digest_matches(
    store: LocalStore, size: int | None
) -> None:
    item = blob(b"content")
    wrong = Blob(item.descriptor._replace(size=size), item.open)
    with store.ingest() as ingest:
        for existed in (False, True):
            receipt = ingest.put(wrong, cancel=CancelToken(), on_bytes=lambda _: None)
            assert (receipt.descriptor.size, receipt.existed) == (7, existed)
        # An exact blob must have its size even if the sink has the blob.
        if size is not None:
            exact = wrong.replace(exact=True)
            with pytest.raises(IntegrityError, match=r"it has 7 bytes"):
                ingest.put(exact, cancel=CancelToken(), on_bytes=lambda _: None)


def test_a_truncated_file_is_replaced_whatever_the_size_says(store: LocalStore) -> None:
    item = blob(b"content")
    put(store, item)
    path = path_of(store, item.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(b"cont")
    put(store, Blob(item.descriptor._replace(size=4), item.open))
    assert path.read_bytes() == b"content"


def test_a_wrong_prefix_is_discarded_and_the_blob_read_again(store: LocalStore) -> None:
    item = blob(b"content")
    put(store, blob(b"something else"))  # makes the directories
    part = store.path / "ingest" / f"sha256-{item.descriptor.digest.hex}.part"
    part.write_bytes(b"cXn")
    put(store, item)
    assert store.read(item.descriptor.digest) == b"content"


def test_a_put_resumes_after_a_prefix(store: LocalStore) -> None:
    offsets = []

    def open_at(offset: int, _: object) -> Opened:
        offsets.append(offset)
        return Opened(Once(b"content"[offset:]), offset)

    digest = Digest.of(b"content")
    put(store, blob(b"something else"))
    part = store.path / "ingest" / f"sha256-{digest.hex}.part"
    part.write_bytes(b"con")
    put(store, Blob(Descriptor("", digest, 7), open_at))
    assert offsets == [3]
    assert store.read(digest) == b"content"


def test_a_complete_part_is_verified_without_a_download(store: LocalStore) -> None:
    digest = Digest.of(b"content")
    put(store, blob(b"something else"))
    (store.path / "ingest" / f"sha256-{digest.hex}.part").write_bytes(b"content")

    def never(_offset: int, _: object) -> Opened:
        raise AssertionError("nothing is missing")

    put(store, Blob(Descriptor("", digest, 7), never))
    assert store.read(digest) == b"content"


def test_a_failure_of_the_source_keeps_the_part(store: LocalStore) -> None:
    class Breaking(Once):
        def read1(self, size: int) -> bytes:
            if not self.left:
                raise NotFound("the source is gone")
            return super().read1(size)

    digest = Digest.of(b"content")
    source = Blob(Descriptor("", digest, 7), lambda _, __: Opened(Breaking(b"con")))
    with pytest.raises(NotFound):
        put(store, source)
    part = store.path / "ingest" / f"sha256-{digest.hex}.part"
    assert part.read_bytes() == b"con"
    assert not path_of(store, digest).exists()


def test_a_blob_that_another_writer_has_locked_is_busy(store: LocalStore) -> None:
    item = blob(b"content")
    put(store, blob(b"something else"))
    ingest = open_store(f"{store.path}/ingest")
    held = open_part(ingest, f"sha256-{item.descriptor.digest.hex}.part")
    assert held is not None
    held.append(b"con")
    with pytest.raises(Busy) as caught:
        put(store, item)
    assert caught.value.size == 3
    held.close()
    put(store, item)


def test_threads_may_put_the_same_blobs(store: LocalStore) -> None:
    items = [blob(bytes([n]) * 100_000) for n in range(8)]
    failures: list[BaseException] = []

    def work() -> None:
        for item in items:
            while True:
                try:
                    put(store, item)
                    break
                except Busy:
                    continue
                except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                    failures.append(error)
                    return

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for item in items:
        assert item.descriptor.digest.matches(store.read(item.descriptor.digest))


# Leases


def leased(store: LocalStore) -> set[str]:
    with sqlite3.connect(store.path / "wherry.db") as connection:
        return {row[0] for row in connection.execute("SELECT digest FROM leases")}


def test_blobs_are_leased_until_the_operation_ends(store: LocalStore) -> None:
    first, second = blob(b"first"), blob(b"second")
    put(store, first)
    with store.ingest() as ingest:
        assert ingest.has(first.descriptor)
        assert not ingest.has(second.descriptor)
        ingest.put(second, cancel=CancelToken(), on_bytes=lambda _: None)
        assert leased(store) == {str(first.descriptor.digest), str(second.descriptor.digest)}
        assert len(list((store.path / "leases").iterdir())) == 1
    assert leased(store) == set()
    assert list((store.path / "leases").iterdir()) == []


# Names


def named(store: LocalStore, name: str, content: str = "") -> ImageRecord:
    built = build_image([tar_layer({"a": (content or name).encode()})])
    record = ImageRecord(Digest.parse(built.digest), Digest.parse(built.id), "linux/amd64", "", 1)
    descriptor = Descriptor(built.manifest.media_type, record.manifest, built.manifest.size)
    with store.ingest() as ingest:
        ingest.put_bytes(descriptor, built.manifest.data, CancelToken())
        ingest.commit([record], record.manifest, record.manifest, [Reference.parse(name)])
    return record


def test_names_point_at_images_and_move(store: LocalStore) -> None:
    old = named(store, "alpine:3")
    reference = Reference.parse("alpine:3")
    found = store.find(reference)
    assert found is not None
    assert found.manifest == old.manifest
    new = named(store, "alpine:3", "of another kind")
    assert [record for _, _, record in store.named_images()] == [new]
    assert store.image(old.manifest) == old  # unnamed, not gone


def test_images_are_found_by_a_prefix_of_their_id(store: LocalStore) -> None:
    record = named(store, "alpine:3")
    assert store.images_by_id(record.id.hex[:6]) == [record]
    assert store.images_by_id("0" * 64) == []


def test_reading_a_missing_store_does_not_create_it(store: LocalStore) -> None:
    assert list(store.named_images()) == []
    assert store.find(Reference.parse("alpine:3")) is None
    with pytest.raises(NotFound):
        store.read(Digest.of(b""))
    assert not store.path.exists()


# Versions and permissions


def test_a_store_of_a_newer_version_is_refused(store: LocalStore) -> None:
    put(store, blob(b"content"))
    store.close()
    with sqlite3.connect(store.path / "wherry.db") as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        list(LocalStore(store.path).named_images())


def test_a_file_that_is_not_a_database_is_refused(store: LocalStore) -> None:
    store.path.mkdir()
    (store.path / "wherry.db").write_bytes(b"not a database, but long enough to be looked at" * 99)
    with pytest.raises(StoreError, match="not a database"):
        list(store.named_images())


def test_a_directory_in_the_place_of_the_database_is_refused(store: LocalStore) -> None:
    (store.path / "wherry.db").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"wherry\.db: is a directory") as caught:
        list(store.named_images())
    assert "remove it" in caught.value.hint


AS_NOBODY = """
import os, sys, urllib.parse, urllib.request
from pathlib import Path
from wherry.store import LocalStore
from wherry.errors import StoreError
os.setgroups([]); os.setgid({uid}); os.setuid({uid})  # has no access to the interpreter from now on
store = LocalStore(Path(sys.argv[1]))
try:
    print(*[name for name, _, _ in store.named_images()])
    store.ingest()
except StoreError as error:
    print(error)
    print(error.hint)
"""


def as_nobody(*, readable: bool) -> list[str]:
    """Read a store of another user, and return the lines of output."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # pytest's own directories are closed to others
        store = LocalStore(Path(directory) / "store")
        named(store, "alpine:3")
        store.close()
        (store.path / "wherry.db").chmod(0o644 if readable else 0o600)
        source = Path(sys.modules["wherry"].__file__ or "").parent.parent
        result = subprocess.run(
            [sys.executable, "-c", AS_NOBODY.format(uid=NOBODY), str(store.path)],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=directory,
        )
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_store_that_cannot_be_written_can_be_read() -> None:
    names, refusal, _ = as_nobody(readable=True)
    assert names == "docker.io/library/alpine:3"
    assert "cannot be written" in refusal


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_database_without_read_permission_is_reported() -> None:
    refusal, hint = as_nobody(readable=False)
    assert "wherry.db: the store's database cannot be opened: Permission denied" in refusal
    assert "--store" in hint
