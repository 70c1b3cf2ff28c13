"""Pushes and copies to the fake registry with each kind of fault."""

from __future__ import annotations

import functools
import random
import shutil
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import kinds
import subjects
from checking import blob_path, problems
from rows import Run
from target import REPOSITORY, TAG, TargetRegistry, served_problems, target_problems
from wherry import Client
from wherry.testing import (
    Delay,
    Distribution,
    FakeRegistry,
    Stall,
    TcpProxy,
    find_binary,
    make_certificate,
)
from write_kinds import Do, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kinds import Kind
    from rows import Row
    from wherry.testing import BuiltImage, Fault
    from write_kinds import SourceBlob, WriteKind

    Way = Literal["push", "copy"]

STORED = "faults/app:t"  # the image in the store
_TIMEOUT = 1.0  # seconds without a byte, in runs in which the registry stops answering
_LENIENT = 10.0  # seconds in other runs: a busy machine is not a fault
_PATIENCE = 8  # attempts: a proxy may cut the first byte of several connections
_AT_ONCE = 8


@functools.cache
def stored(image: BuiltImage) -> tempfile.TemporaryDirectory[str]:
    """Return a directory with a store that has the image as `STORED`."""
    directory = tempfile.TemporaryDirectory(prefix="faults-store-")
    with FakeRegistry() as registry, Client(store=f"{directory.name}/store") as client:
        registry.add_image(REPOSITORY, image, TAG)
        name = f"{registry.host}/{REPOSITORY}:{TAG}"
        client.pull(name)
        client.store.tag(name, STORED)
        client.store.untag(name)
    return directory


def copy_store(image: BuiltImage, directory: Path) -> Path:
    """Copy the store with the image into a directory, and return its path."""
    return Path(shutil.copytree(Path(stored(image).name, "store"), directory / "store"))


@functools.cache
def certificate() -> tuple[Path, Path]:
    """Return the files of a certificate and its key."""
    directory = _certificates()
    _, chain, key = make_certificate(Path(directory.name))
    return chain, key


@functools.cache
def _certificates() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="faults-tls-")


@dataclass(frozen=True)
class _StoreBlob:
    """A blob of a store, which is changed in place."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, data: bytes) -> None:
        with self._lock:
            if self.path.exists():
                self.path.chmod(0o644)
            self.path.write_bytes(data)

    def remove(self) -> None:
        self.path.unlink()


@dataclass(frozen=True)
class _RegistryBlob:
    """A blob of the registry that is copied from."""

    registry: FakeRegistry
    digest: str

    def write(self, data: bytes) -> None:
        self.registry.blobs[self.digest] = data

    def remove(self) -> None:
        del self.registry.blobs[self.digest]


def moves(
    way: Way, chosen: Mapping[WriteKind, Row], seeds: Iterable[int], image: BuiltImage
) -> Sequence[Row]:
    """Push or copy with each kind of fault and each seed; return the rows."""
    stored(image), certificate()  # made once, before threads share them

    def one(kind: WriteKind, seed: int) -> None:
        chosen[kind].add(_run(way, kind, seed, image))

    with ThreadPoolExecutor(_AT_ONCE) as workers:
        runs = [workers.submit(one, kind, seed) for seed in seeds for kind in chosen]
    for run in runs:
        run.result()
    return list(chosen.values())


def real_moves(
    way: Way, chosen: Mapping[WriteKind, Row], seeds: Iterable[int], image: BuiltImage
) -> Sequence[Row]:
    """Push or copy to the real registry over each kind of bad network; return the rows."""
    if not chosen or find_binary("docker-registry") is None:
        return []
    stored(image)
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        Distribution(Path(directory, "plain")) as plain,
        Distribution(Path(directory, "tls"), tls=certificate()) as secure,
        ThreadPoolExecutor(_AT_ONCE) as workers,
    ):
        runs = [
            (row, workers.submit(_real_run, way, kind, seed, image, secure if kind.tls else plain))
            for seed in seeds
            for kind, row in chosen.items()
        ]
        for row, run in runs:
            row.add(run.result())
    return list(chosen.values())


def _real_run(
    way: Way, kind: WriteKind, seed: int, image: BuiltImage, registry: Distribution
) -> Run:
    run = Run(seed)
    chance = random.Random(zlib.crc32(f"{way} {kind.name} {seed}".encode()))
    name = f"{REPOSITORY}/{zlib.crc32(kind.name.encode())}-{seed}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        origin = Origin.of(way, stack, directory, image)
        proxy = stack.enter_context(TcpProxy(registry.port))
        assert kind.network is not None
        kind.network(proxy, chance)
        with Client(store=origin.store, retries=_PATIENCE, insecure=kind.tls) as client:
            try:
                origin.move(client, f"docker://{proxy.host}/{name}:{TAG}")
            except Exception as error:
                run.problems.append(f"it failed: {type(error).__name__}: {error}")
        run.problems += served_problems(registry.host, name, image, tls=kind.tls)
        run.faults = sum(each.cut for each in proxy.connections)
        run.expect(run.faults > 0, "no fault occurred")
        run.needed = subjects.blob_bytes(image)
        run.fetched = max(run.needed, proxy.received)
    return run


def _run(way: Way, kind: WriteKind, seed: int, image: BuiltImage) -> Run:
    run = Run(seed)
    chance = random.Random(zlib.crc32(f"{way} {kind.name} {seed}".encode()))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        target = stack.enter_context(_target(kind, chance))
        origin = Origin.of(way, stack, directory, image, kind.reads)
        subject = Subject(image.layers[0], chance, target, origin.blob)
        faults = [target.inject(fault) for fault in kind.faults(subject)]
        if kind.reads is not None and origin.registry is not None:
            faults += _inject_reads(origin.registry, kind.reads, subject)
        if kind.change is not None:
            kind.change(subject)
        if kind.held:
            for piece in image.blobs():
                target.store_blob(REPOSITORY, piece.digest, piece.data)
        host, connections = target.host, []
        if kind.network is not None:
            proxy = stack.enter_context(TcpProxy(target.port))
            kind.network(proxy, chance)
            host, connections = proxy.host, proxy.connections
        silent = any(isinstance(fault.action, Delay | Stall) for fault in faults)
        timeout = _TIMEOUT if silent else _LENIENT
        _move(run, kind, origin, f"docker://{host}/{REPOSITORY}:{TAG}", subject, image, timeout)
        run.faults = sum(fault.count for fault in faults) + (kind.change is not None)
        run.faults += sum(each.cut for each in connections)
        run.expect(run.faults > 0, "no fault occurred")
        run.fetched = target.sent
    run.needed = 0 if kind.held else subjects.blob_bytes(image)
    if kind.exact:
        run.expect(run.fetched == run.needed, f"{run.fetched - run.needed:+,} bytes were sent")
    return run


def _inject_reads(registry: FakeRegistry, kind: Kind, subject: Subject) -> list[Fault]:
    """Add the faults of the source."""
    reads = kinds.Subject(subject.blob, subject.chance, subject.blob.size)
    faults = [(registry.storage or registry).inject(fault) for fault in kind.faults(reads)]
    if kind.tokens:
        registry.inject(reads.fault(Do(registry.revoke_tokens), skip=1))
    return faults


def _target(kind: WriteKind, chance: random.Random) -> TargetRegistry:
    tls = certificate() if kind.tls else None
    return TargetRegistry(like=chance.choice(kind.like), tokens=kind.tokens, tls=tls)


def _move(
    run: Run,
    kind: WriteKind,
    origin: Origin,
    destination: str,
    subject: Subject,
    image: BuiltImage,
    timeout: float,
) -> None:
    """Move the image; again, without faults, if an error was expected."""
    target = subject.target
    with Client(
        store=origin.store,
        timeout=timeout,
        retries=_PATIENCE if kind.network else None,
        insecure=kind.tls,  # certificates are not tested here
    ) as client:
        try:
            origin.move(client, destination)
        except Exception as error:
            expected = kind.ends is not None and isinstance(error, kind.ends)
            run.expect(expected, f"it failed: {type(error).__name__}: {error}")
            run.problems += target_problems(target, None)
            for fault in (*target.faults, *(origin.registry.faults if origin.registry else ())):
                fault.times = 0
            subject.source.write(subject.blob.data)
            try:
                origin.move(client, destination)
            except Exception as again:
                run.problems.append(f"it failed again: {type(again).__name__}: {again}")
        else:
            run.expect(kind.ends is None, "it succeeded unexpectedly")
    run.problems += target_problems(target, image)
    if origin.store.exists():
        run.problems += problems(origin.store, subjects.contents(image), {})
        # After an error, the registry may finish an upload that the client has given up.
        left = [] if kind.ends else list((origin.store / "uploads").glob("*"))
        run.expect(not left, "the address of an upload was left over")


@dataclass(frozen=True)
class Origin:
    """Where an image is moved from: the store, or ``address`` in a registry.

    ``blob`` is the blob of the faults, where it is read; ``registry`` the registry, if any.
    """

    store: Path
    address: str
    blob: SourceBlob
    registry: FakeRegistry | None = None

    @classmethod
    def of(
        cls,
        way: Way,
        stack: ExitStack,
        directory: Path,
        image: BuiltImage,
        reads: Kind | None = None,
    ) -> Origin:
        """Provide the image; ``reads`` says how the registry behaves."""
        digest = image.layers[0].digest
        if way == "push":
            store = copy_store(image, directory)
            return cls(store, "", _StoreBlob(blob_path(store, digest)))
        uses = reads.redirects if reads is not None else None
        registry = FakeRegistry(
            tokens=reads is not None and reads.tokens,
            redirect_blobs_to=True if uses else None,
            redirect_uses=uses,
        )
        stack.enter_context(registry)
        registry.add_image(REPOSITORY, image, TAG)
        address = f"docker://{registry.host}/{REPOSITORY}:{TAG}"
        return cls(directory / "store", address, _RegistryBlob(registry, digest), registry)

    def move(self, client: Client, destination: str) -> None:
        """Push or copy the image."""
        if self.address:
            client.copy(self.address, destination)
        else:
            client.push(STORED, destination)
