"""The contract tests, run over every source and sink of wherry."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from wherry.archive.dir import FlatDirectory
from wherry.archive.directory_files import DirectoryFiles
from wherry.archive.docker import DockerArchive
from wherry.archive.oci import OciLayout
from wherry.archive.tar_files import TarFiles
from wherry.content.cancel import CancelToken
from wherry.content.events import ignore
from wherry.content.retry import RetryPolicy
from wherry.content.streams import blob_of
from wherry.errors import IntegrityError
from wherry.model.address import Address
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.ops.open_archive_sink import open_archive_sink
from wherry.ops.open_source import make_repository, open_archive
from wherry.ops.store_sink import StoreSink
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.repository_sink import RepositorySink
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.store import LocalStore
from wherry.store.source import StoreSource
from wherry.testing import (
    BuiltImage,
    Distribution,
    FakeRegistry,
    SinkContract,
    SourceContract,
    build_image,
    docker_files,
    flat_files,
    layout_files,
    tar_layer,
    write_files,
)
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wherry.content.protocols import Sink, Source


AMD64 = Platform("linux", "amd64")


def image_of(blobs: Sequence[bytes]) -> BuiltImage:
    """Return an image whose layers are ``blobs``, byte for byte."""
    return build_image(blobs, compression="none")


@pytest.mark.usefixtures("environment")
class InDirectory:
    """Sources that need a directory of their own."""

    path: Path

    @pytest.fixture(autouse=True)
    def _in_directory(self, tmp_path: Path) -> None:
        self.path = tmp_path / "source"


class TestLocalStore(InDirectory, SinkContract, SourceContract):
    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source]]:
        store = LocalStore(self.path / str(len(list(self.path.glob("*")))))
        with contextlib.closing(store), store.ingest() as ingest:
            yield StoreSink(store, ingest, AMD64), StoreSource(store)

    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        manifest = image_of(blobs).manifest
        root = Descriptor.of(manifest.data, manifest.media_type)
        with self.sink() as (sink, source):
            for data in blobs:
                blob = blob_of(Descriptor.of(data, ""), data)
                sink.put(blob, cancel=CancelToken(), on_bytes=lambda _: None)
            sink.put_document(root, manifest.data, [], CancelToken())
            yield source, root.digest


class TestOciLayout(InDirectory, SourceContract):
    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        image = image_of(blobs)
        write_files(self.path, layout_files({"app:1": image}))
        with contextlib.closing(DirectoryFiles(str(self.path))) as files:
            yield OciLayout(files), Digest.parse(image.digest)


class TestOciArchive(InDirectory, SourceContract):
    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        image = image_of(blobs)
        self.path.write_bytes(tar_layer(layout_files({"app:1": image})))
        with contextlib.closing(TarFiles(str(self.path), CancelToken())) as files:
            yield OciLayout(files), Digest.parse(image.digest)


class TestDockerArchive(InDirectory, SourceContract):
    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        self.path.write_bytes(tar_layer(docker_files(image_of(blobs), blobs, ["app:1"])))
        with contextlib.closing(TarFiles(str(self.path), CancelToken())) as files:
            archive = DockerArchive(files, CancelToken())
            yield archive, archive.images()[0].root.digest


class TestFlatDirectory(InDirectory, SourceContract):
    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        image = image_of(blobs)
        write_files(self.path, flat_files(image))
        with contextlib.closing(DirectoryFiles(str(self.path))) as files:
            yield FlatDirectory(files), Digest.parse(image.digest)


@contextlib.contextmanager
def repository(host: str, name: str) -> Iterator[tuple[RepositorySink, Source]]:
    """Yield a repository as a sink and as a source, over one session."""
    session = Session(
        connections=8,
        credentials=CredentialStore((), None),
        timeouts=Timeouts(connect=5.0, read=5.0),
        policy=RetryPolicy(attempts=1),
    )
    reference = Reference.parse(f"{host}/{name}:t")
    options = UploadOptions(session.policy, session.upload_pauses)
    source = make_repository(session, reference, Emitter(ignore, "app"), CancelToken())
    with contextlib.closing(session):
        yield RepositorySink(session, reference, options, CancelToken()), source


@pytest.mark.usefixtures("environment")
class TestRepositorySink(SinkContract):
    """A repository of the fake registry, written to."""

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source]]:
        with FakeRegistry() as registry, repository(registry.host, "team/app") as both:
            yield both


@pytest.mark.peer
@pytest.mark.usefixtures("environment")
class TestDistributionSink(SinkContract):
    """A repository of Distribution 2.8, which names sha512 blobs by their sha256."""

    _registry: Distribution
    _names = itertools.count()

    @pytest.fixture(autouse=True)
    def _with_registry(self, distribution: Distribution) -> None:
        self._registry = distribution

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source]]:
        name = f"contract/app{os.getpid()}-{next(self._names)}"
        with repository(self._registry.host, name) as both:
            yield both

    @pytest.mark.skip(reason="Distribution 2.8 names sha512 blobs by sha256")
    def test_sha512(self) -> None: ...


@pytest.mark.usefixtures("environment")
class TestServedSink(SinkContract):
    """A repository of `wherry serve`."""

    _host = ""
    _names = itertools.count()

    @pytest.fixture(autouse=True)
    def _with_host(self, served_host: str) -> None:
        self._host = served_host

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source]]:
        with repository(self._host, f"contract/app{next(self._names)}") as both:
            yield both


class ArchiveSink(InDirectory, SinkContract):
    """Sinks whose content can be read after the end."""

    where: str
    _count = 0

    def address(self, name: str = "") -> Address:
        """Return the address of the latest sink."""
        return Address.parse(f"{self.where}:{self.path}{self._count}" + (name and f":{name}"))

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source | None]]:
        self._count += 1
        with open_archive_sink(self.address(), CancelToken()) as sink:
            yield sink, None

    @contextlib.contextmanager
    def stored(self) -> Iterator[Source]:
        with open_archive(self.address(), CancelToken()) as archive:
            archive.images()  # of a docker archive, the blobs are found by its images
            yield archive


class TestNewLayoutSink(ArchiveSink):
    where = "oci"


class TestLayoutSink(ArchiveSink):
    """A layout that exists: its blobs are visible at once."""

    where = "oci"

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source | None]]:
        write_files(self.path.with_name(f"{self.path.name}{self._count + 1}"), layout_files({}))
        with super().sink() as (sink, _), super().stored() as source:
            yield sink, source


class TestOciArchiveSink(ArchiveSink):
    where = "oci-archive"


class TestDockerArchiveSink(ArchiveSink):
    where = "docker-archive"
    names = ("app:1", "ghcr.io/team/app:2")
    several = False


class TestNewFlatSink(ArchiveSink):
    where = "dir"
    names = ("",)
    several = False


class TestFlatSink(TestNewFlatSink):
    """A flat directory that replaces another image."""

    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source | None]]:
        before = flat_files(build_image([tar_layer({"before": b""})]))
        path = self.path.with_name(f"{self.path.name}{self._count + 1}")
        write_files(path, before)
        with super().sink() as both:
            (path / "manifest.json").unlink()  # so that there is no image yet
            yield both


class TestRepository(SourceContract):
    """A repository of the fake registry."""

    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[tuple[Source, Digest]]:
        image = image_of(blobs)
        with FakeRegistry() as registry:
            registry.add_image("team/app", image, "t")
            session = Session(
                connections=8,
                credentials=CredentialStore((), None),
                timeouts=Timeouts(connect=5.0, read=5.0),
                policy=RetryPolicy(attempts=1),
            )
            reference = Reference.parse(f"{registry.host}/team/app:t")
            emitter = Emitter(ignore, "app")
            with contextlib.closing(session):
                source = make_repository(session, reference, emitter, CancelToken())
                yield source, Digest.parse(image.digest)


# The contract tests themselves: a sink that breaks the rules fails all of them.


class Careless:
    """A sink that stores bytes without verifying them."""

    label = "careless"
    follows = True
    remote = ordered = False
    indexes = True
    keeps_referrers = False
    mounts = True  # it is not

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def has(self, _descriptor: Any) -> bool:
        return True

    def put(self, blob: Any, **_rest: Any) -> Any:
        opened = blob.open(0, lambda: False)
        data = b""
        while part := opened.stream.read1(1000):
            data += part
            self.blobs[str(blob.descriptor.digest)] = data
        raise IntegrityError("this is not it", expected="", actual="")

    def put_document(self, *_rest: Any) -> None:
        pass

    def resolve(self, name: str) -> None:
        pass

    def name(self, *_rest: Any) -> None:
        pass

    def document(self, digest: Any) -> Any:
        raise KeyError(str(digest))

    def open(self, descriptor: Any, _offset: int, _cancel: Any) -> Any:
        raise KeyError(str(descriptor.digest))


class CarelessContract(SinkContract):
    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[Sink, Source]]:
        sink: Any = Careless()
        yield sink, sink


@pytest.mark.parametrize("name", [name for name in dir(SinkContract) if name[:5] == "test_"])
def test_a_sink_with_faults_fails_the_contract(name: str) -> None:
    with pytest.raises((AssertionError, IntegrityError, KeyError)):
        getattr(CarelessContract(), name)()
