"""Layers that are known by the id of a version 1 registry until they have arrived."""

from __future__ import annotations

import io
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from wherry.archive.tar_check import TarCheck
from wherry.content.cancel import CancelToken
from wherry.content.pipeline import SMALL, Limits
from wherry.content.protocols import Busy, Receipt
from wherry.content.verify import RawLimit
from wherry.errors import Cancelled, IntegrityError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.store import LocalStore
from wherry.store.blobs import part_name
from wherry.testing import compress, tar_layer
from wherry.testing.layers import COMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

    from wherry.store.ingest import Ingest

HOST = "v1.example.com"
A, B = "a" * 64, "b" * 64
NOISE = random.Random(7).randbytes(2 * SMALL)  # noqa: S311 - has to repeat
SMALL_TAR = tar_layer({"a": b"1"})
LARGE_TAR = tar_layer({"noise": NOISE, "text": b"text" * 100_000})


class Source:
    """A stream of bytes that counts what was read, and may do something before a read."""

    def __init__(self, content: bytes, before: Callable[[], None] = lambda: None) -> None:
        self._content = io.BytesIO(content)
        self._before = before
        self.count = 0

    def readinto(self, buffer: Buffer) -> int:
        self._before()
        found = self._content.readinto(memoryview(buffer)[: 64 * 1024])
        self.count += found
        return found


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    found = LocalStore(
        tmp_path / "store",
        limits=Limits(raw=RawLimit(4 * SMALL, 10), blob=8 * SMALL, image=8 * SMALL),
    )
    yield found
    found.close()


def put(ingest: Ingest, source: Source, v1_id: str = A, **more: object) -> Receipt:
    sizes: list[int] = []
    cancel = more.get("cancel")
    assert cancel is None or isinstance(cancel, CancelToken)
    found = ingest.put_v1_layer(
        HOST,
        v1_id,
        "",
        source,
        cancel or CancelToken(),
        content_check=TarCheck,
        on_bytes=sizes.append,
    )
    assert sizes[-1:] == [source.count] or not source.count
    return found


def left(local: LocalStore) -> list[str]:
    return sorted(path.name for path in (local.path / "ingest").iterdir())


@pytest.mark.parametrize(
    ("tar", "how"),
    [*((SMALL_TAR, how) for how in COMPRESSIONS), (LARGE_TAR, "gzip"), (LARGE_TAR, "none")],
    ids=[*COMPRESSIONS, "large gzip", "large none"],
)
def test_a_layer_is_stored_once(local: LocalStore, tar: bytes, how: str) -> None:
    content = compress(tar, how)
    with local.ingest() as ingest:
        assert ingest.find_v1_layer(HOST, A, CancelToken()) is None
        got = put(ingest, Source(content))
        assert got == Receipt(
            Descriptor("", Digest.of(content), len(content)), Digest.of(tar), len(tar)
        )
        again = Source(content)
        assert put(ingest, again) == got.replace(existed=True)
        assert again.count == 0
        assert ingest.find_v1_layer(HOST, A, CancelToken()) == got.replace(existed=True)
        other = Source(content)
        assert put(ingest, other, B) == got.replace(existed=True)
        assert other.count == len(content)
    assert local.v1_layers(HOST, [A, B]) == dict.fromkeys([A, B], Digest.of(content))
    assert local.v1_layers("other.example.com", [A]) == {}
    assert left(local) == []


def test_a_layer_that_is_gone_is_fetched_again(local: LocalStore) -> None:
    with local.ingest() as ingest:
        got = put(ingest, Source(SMALL_TAR))
        (local.path / "blobs" / "sha256" / got.descriptor.digest.hex).unlink()
        assert ingest.find_v1_layer(HOST, A, CancelToken()) is None
        changed = tar_layer({"a": b"2"})
        assert put(ingest, Source(changed)).descriptor.digest == Digest.of(changed)
    assert local.v1_layers(HOST, [A]) == {A: Digest.of(changed)}


def test_two_threads_fetch_a_layer_once(local: LocalStore) -> None:
    begun, rest = threading.Event(), threading.Event()
    content = compress(LARGE_TAR, "gzip")

    def wait() -> None:
        begun.set()
        assert rest.wait(10)

    with local.ingest() as first, local.ingest() as second:
        got: list[Receipt] = []
        thread = threading.Thread(target=lambda: got.append(put(first, Source(content, wait))))
        thread.start()
        assert begun.wait(10)
        with pytest.raises(Busy):
            put(second, Source(content))
        put(second, Source(content), B)  # another layer
        rest.set()
        thread.join()
        other = Source(content)
        assert put(second, other) == got[0].replace(existed=True)
        assert other.count == 0


def test_what_a_killed_process_left_is_discarded(local: LocalStore) -> None:
    with local.ingest() as ingest:
        put(ingest, Source(SMALL_TAR), B)
        name = part_name(Digest.of(f"{HOST} {A}".encode()))
        (local.path / "ingest" / name).write_bytes(b"the beginning of another layer")
        assert put(ingest, Source(SMALL_TAR)).diff_id == Digest.of(SMALL_TAR)
    assert left(local) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "is not a tar"),
        (compress(b"<html>", "gzip"), "is not a tar"),
        (compress(SMALL_TAR, "gzip")[:-9], "not a valid gzip stream"),
        (SMALL_TAR[:1025], "cut off at byte 1,025"),
        (compress(bytes(64 * SMALL), "xz"), "decompresses to more than"),
        (NOISE * 5, "more than 8,388,608 bytes"),
    ],
    ids=["page", "packed page", "cut gzip", "cut tar", "bomb", "too large"],
)
def test_a_bad_layer_leaves_nothing(local: LocalStore, content: bytes, message: str) -> None:
    if len(content) > 8 * SMALL:
        content = tar_layer({"noise": content})
    with local.ingest() as ingest:
        with pytest.raises(IntegrityError, match=message):
            put(ingest, Source(content))
        assert ingest.find_v1_layer(HOST, A, CancelToken()) is None
    assert left(local) == []
    assert [*(local.path / "blobs" / "sha256").iterdir()] == []


def test_an_endless_stream_that_is_no_tar_is_not_read_for_long(local: LocalStore) -> None:
    source = Source(b"x" * 7 * SMALL, lambda: time.sleep(0.005))
    with local.ingest() as ingest, pytest.raises(IntegrityError, match="is not a tar"):
        put(ingest, source)
    assert source.count < 7 * SMALL


def test_a_cancelled_transfer_leaves_nothing(local: LocalStore) -> None:
    cancel = CancelToken()
    source = Source(LARGE_TAR, lambda: cancel.cancel() if source.count > SMALL else None)
    with local.ingest() as ingest, pytest.raises(Cancelled):
        put(ingest, source, cancel=cancel)
    assert left(local) == []
