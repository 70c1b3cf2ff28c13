"""Uploads that are cut at any byte, and processes that are killed while they upload."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.content.streams import blob_of
from wherry.model.descriptor import Descriptor
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.registry.uploads import CHUNK, upload_blob
from wherry.registry.write_api import WriteApi
from wherry.testing import Distribution, FakeRegistry, TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.testing import RegistryName

pytestmark = pytest.mark.usefixtures("environment")

MIB = 2**20
CHANCE = random.Random(23)  # noqa: S311 - cuts that repeat
LARGE = CHANCE.randbytes(2 * MIB + 17)
SMALL = CHANCE.randbytes(3000)
HEADS = [*range(0, 400, 23), *range(400, 3000, 311)]  # bytes of POST, and of the next request
SCRIPT = Path(__file__).with_name("upload_process.py")


@contextlib.contextmanager
def api_for(host: str, name: str = "app") -> Iterator[tuple[WriteApi, UploadOptions]]:
    policy = RetryPolicy(attempts=4, first=0.001)
    with contextlib.closing(Session(connections=1, policy=policy)) as session:
        api = WriteApi(session, session.hosts.host(host).replace(path=name))
        yield api, UploadOptions(policy, session.upload_pauses)


def push_through(proxy: TcpProxy, data: bytes, cuts: list[int | None], name: str = "app") -> int:
    """Upload through a proxy that cuts the first connections after so many bytes.

    Returns how many were cut: the others had fewer bytes to send.
    """
    proxy.upload_cuts = cuts
    before = len(proxy.connections)
    with api_for(proxy.host, name) as (api, options):
        blob = blob_of(Descriptor.of(data, ""), data)
        assert upload_blob(api, blob, options, CancelToken(), lambda _: None) == len(data)
    return sum(each.cut for each in proxy.connections[before:])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("like", [None, "distribution-2.8", "ecr", "gar"])
def test_cuts_at_many_bytes(data: bytes, like: RegistryName | None) -> None:
    digest = str(Descriptor.of(data, "").digest)
    with FakeRegistry(like=like) as registry, TcpProxy(registry.port) as proxy:
        count = 0
        cuts = [*HEADS, *(CHANCE.randrange(len(data)) for _ in range(20))]
        for cut in cuts:
            count += push_through(proxy, data, [cut])
            found = registry.blobs.pop(digest)
            assert (found if isinstance(found, bytes) else found.read_bytes()) == data
        assert count == len(cuts)


def test_cuts_in_a_row(fake: FakeRegistry) -> None:
    digest = str(Descriptor.of(LARGE, "").digest)
    with TcpProxy(fake.port) as proxy:
        for _ in range(30):
            push_through(proxy, LARGE, [CHANCE.randrange(len(LARGE)) for _ in range(3)])
            found = fake.blobs.pop(digest)
            assert not isinstance(found, bytes)
            assert found.read_bytes() == LARGE


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_real_registry_is_cut_at_many_bytes(distribution: Distribution, data: bytes) -> None:
    digest = Descriptor.of(data, "").digest
    names = (f"faults/{len(data)}-{number}" for number in itertools.count())
    with TcpProxy(distribution.port) as proxy, api_for(distribution.host) as (api, _):
        for cut in [*HEADS[::4], *(CHANCE.randrange(len(data)) for _ in range(8))]:
            name = next(names)
            push_through(proxy, data, [cut], name)
            there = WriteApi(api._session, api.endpoint.replace(path=name))  # noqa: SLF001
            assert there.has_blob(digest, CancelToken())


def test_two_uploads_of_the_same_blob_at_once(fake: FakeRegistry) -> None:
    blob = blob_of(Descriptor.of(LARGE, ""), LARGE)
    sizes: list[int] = []

    def push() -> None:
        with api_for(fake.host) as (api, options):
            sizes.append(upload_blob(api, blob, options, CancelToken(), lambda _: None))

    threads = [threading.Thread(target=push, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sizes == [len(LARGE)] * 4
    assert fake.uploads.open_sessions == 0


def test_a_killed_process_goes_on(fake: FakeRegistry, tmp_path: Path) -> None:
    """Of each kill, at most 8 MiB are sent again; the first byte is sent once."""
    file, kills = tmp_path / "blob", 4
    data = random.Random(3).randbytes(MIB) * 96  # noqa: S311 - content that repeats
    file.write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    command = [sys.executable, str(SCRIPT), fake.host, str(file), digest, str(tmp_path / "kept")]
    for kill in range(1, kills + 1):
        stop = kill * len(data) // (kills + 1)
        with subprocess.Popen(command) as process:
            _wait_until_stored(fake, stop, process)
            process.kill()
    subprocess.run(command, check=True, timeout=60)
    found = fake.blobs[digest]
    assert not isinstance(found, bytes)
    assert found.read_bytes() == data
    assert sum(one.bytes_received for one in fake.requests) <= len(data) + kills * 2 * CHUNK
    assert [one.method for one in fake.requests].count("POST") == 1
    assert fake.uploads.open_sessions == 0


def _wait_until_stored(registry: FakeRegistry, size: int, process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: _stored(registry) >= size or process.poll() is not None, 60)


def _stored(registry: FakeRegistry) -> int:
    return max((upload.size for upload in list(registry.uploads._open.values())), default=0)  # noqa: SLF001
