"""Pushes that are killed go on in the next process, and pushes of the same image at once."""

from __future__ import annotations

import contextlib
import io
import random
import signal
import subprocess
import tarfile
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from waiting import wait_for
from wherry.testing import FakeRegistry, TcpProxy, build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    import wherry as library
    from conftest import Wherry
    from wherry.testing import Distribution, RegistryName

MIB = 2**20
MOST_AGAIN = 8 * MIB  # bytes that a kill may cost
PATTERN = random.Random(11).randbytes(MIB)  # noqa: S311 - content that repeats


class Repeated(io.RawIOBase):
    """A file of so many MiB, which repeats itself."""

    def __init__(self, mebibytes: int) -> None:
        self._left = mebibytes * MIB

    def read(self, size: int = -1) -> bytes:
        """Return at most 1 MiB."""
        data = PATTERN[: min(size, self._left)]
        self._left -= len(data)
        return data


def write_layer(path: Path, mebibytes: int) -> int:
    """Write a tar with one large file; return its size."""
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("large")
        member.size = mebibytes * MIB
        tar.addfile(member, cast("BinaryIO", Repeated(mebibytes)))
    return path.stat().st_size


def import_image(client: library.Client, directory: Path, mebibytes: int, name: str) -> int:
    """Store an image with one plain layer; return the size of the layer."""
    tar = directory / "layer.tar"
    size = write_layer(tar, mebibytes)
    client.import_(tar, name)
    tar.unlink()
    return size


def received(registry: FakeRegistry) -> int:
    """Return the bytes of blobs that the registry has received from clients."""
    return sum(each.bytes_received for each in list(registry.requests) if "/blobs/" in each.path)


def stored(registry: FakeRegistry) -> int:
    """Return the bytes of the longest unfinished upload."""
    uploads = list(registry.uploads._open.values())  # noqa: SLF001 - its progress
    return max((upload.size for upload in uploads), default=0)


def kill(
    process: subprocess.Popen[str],
    registry: FakeRegistry,
    after: int,
    how: signal.Signals = signal.SIGKILL,
) -> bool:
    """Kill a push when the registry has so many bytes; return False if it has ended before.

    The registry has the config by then: else its session could be left, if the process dies
    before it knows the session's address.
    """

    def is_due() -> bool:
        return stored(registry) >= after and bool(registry.blobs)

    with process:
        wait_for(lambda: is_due() or process.poll() is not None, 60)
        is_running = process.poll() is None
        process.send_signal(how)
        process.communicate(timeout=60)
    return is_running


@pytest.mark.parametrize("verb", ["push", "copy"])
@pytest.mark.parametrize(
    ("mebibytes", "kills", "seed"),
    [
        (64, 4, 1),
        *(pytest.param(1024, 12, seed, marks=pytest.mark.long) for seed in range(3)),
    ],
)
def test_a_killed_push_goes_on(
    wherry: Wherry,
    client: library.Client,
    fake: FakeRegistry,
    tmp_path: Path,
    verb: str,
    mebibytes: int,
    kills: int,
    seed: int,
) -> None:
    chance = random.Random(seed)  # noqa: S311 - moments that can be repeated
    size = import_image(client, tmp_path, mebibytes, "large:1")
    client.close()
    target = f"{fake.host}/team/large:1"
    source = "store:large:1"
    with FakeRegistry() as origin:
        if verb == "copy":
            source = f"{origin.host}/large:1"
            wherry("push", "--compression", "keep", "store:large:1", source, timeout=60)
        command = (verb, "--compression", "keep", source, target)
        count = 0
        for _ in range(kills):
            after = stored(fake) + chance.randrange(1, max(2, (size - stored(fake)) // 2))
            how = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
            count += kill(wherry.start(*command), fake, after, how)
        for _ in range(2):  # at other moments, such as before the upload
            with wherry.start(*command) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.1, 0.5))
                count += process.poll() is None
                process.kill()
        assert count >= kills
        last = wherry(*command, timeout=60)
        reads = [each for each in origin.requests if (each.method, each.status) == ("GET", 206)]
        assert verb == "push" or len(reads) >= kills  # the source is read from there on as well
    assert (last.returncode, "begins again" in last.stderr) == (0, False)
    assert received(fake) <= size + count * MOST_AGAIN
    assert fake.tags["team/large"].keys() == {"1"}
    (file,) = (blob for blob in fake.blobs.values() if not isinstance(blob, bytes))
    assert file.stat().st_size == size


@pytest.mark.parametrize(("like", "is_continued"), [("ghcr", True), ("gar", False), ("ecr", False)])
def test_a_killed_push_at_registries_by_name(
    wherry: Wherry, client: library.Client, tmp_path: Path, like: RegistryName, is_continued: bool
) -> None:
    """What cannot go on begins again, and the output says so."""
    size = import_image(client, tmp_path, 32, "large:1")
    client.close()
    with FakeRegistry(like=like) as registry:
        command = ("push", "--compression", "keep", "large:1", f"{registry.host}/large:1")
        assert kill(wherry.start(*command), registry, 8 * MIB)
        last = wherry(*command)
        assert last.returncode == 0
        assert registry.tags["large"].keys() == {"1"}
        assert ("begins again" in last.stderr) is not is_continued
        assert (received(registry) <= size + MOST_AGAIN) or not is_continued
        assert registry.uploads.open_sessions == 0


def test_a_killed_push_begins_again_at_a_registry_that_drops_it(
    wherry: Wherry, client: library.Client, fake: FakeRegistry, distribution: Distribution
) -> None:
    """Distribution 2.8 drops a session whose PATCH breaks; finished blobs stay."""
    layers = [tar_layer({"large": PATTERN * 96}), tar_layer({"small": PATTERN * 2})]
    image = build_image(layers, compression="none")
    fake.add_image("app", image, "1")
    client.pull(f"{fake.host}/app:1")
    client.close()
    links = distribution.root.joinpath("data/docker/registry/v2/repositories/killed/app/_layers")
    large, small = (links / each.digest.replace(":", "/") for each in image.layers)
    with TcpProxy(distribution.port) as proxy:
        command = ("push", f"{fake.host}/app:1", f"{proxy.host}/killed/app:1")
        with wherry.start(*command) as process:
            wait_for(lambda: small.exists() or process.poll() is not None)
            wait_for(lambda: proxy.received >= 12 * MIB or process.poll() is not None)
            process.kill()
        wait_for(lambda: all(each.closed for each in proxy.connections))
        assert (small.exists(), large.exists()) == (True, False)
        before = proxy.received
        last = wherry(*command)
        assert last.returncode == 0
        assert "begins again: the registry has dropped it" in last.stderr
        assert 96 * MIB < proxy.received - before < 97 * MIB


def test_the_same_image_is_pushed_twice_at_once(
    wherry: Wherry, client: library.Client, fake: FakeRegistry, tmp_path: Path
) -> None:
    size = import_image(client, tmp_path, 32, "large:1")
    client.close()
    command = ("push", "--compression", "keep", "large:1", f"{fake.host}/large:1")
    processes = [wherry.start(*command) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "begins again" not in said
    assert size <= received(fake) <= len(processes) * (size + MIB)
    assert fake.uploads.open_sessions == 0
    assert fake.tags["large"].keys() == {"1"}
