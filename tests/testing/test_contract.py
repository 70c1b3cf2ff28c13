"""The contracts of places for content, held against every place that wherry has."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry.archive.files import Directory
from wherry.archive.oci import OciLayout
from wherry.content.cancel import CancelToken
from wherry.content.events import ignore
from wherry.content.retry import RetryPolicy
from wherry.errors import IntegrityError
from wherry.model.reference import Reference
from wherry.ops.open_source import StorePlace, repository
from wherry.registry.auth.credentials import CredentialStore
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.session import Session
from wherry.store import LocalStore
from wherry.testing import BlobSinkContract, BlobSourceContract, FakeRegistry
from wherry.transfer.progress import Emitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wherry.content.protocols import BlobSink, BlobSource


class InDirectory:
    """Places that need a directory of their own."""

    path: Path

    @pytest.fixture(autouse=True)
    def _in_directory(self, tmp_path: Path, environment: dict[str, str]) -> None:
        assert environment
        self.path = tmp_path / "place"


class TestLocalStore(InDirectory, BlobSinkContract, BlobSourceContract):
    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[BlobSink, BlobSource]]:
        store = LocalStore(self.path / str(len(list(self.path.glob("*")))))
        with contextlib.closing(store), store.ingest() as ingest:
            yield ingest, StorePlace(store)

    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[BlobSource]:
        with self.sink() as (_, source):
            store = self.path / "0"
            for data in blobs:
                path = store / "blobs" / "sha256" / hashlib.sha256(data).hexdigest()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            yield source


class TestOciLayout(InDirectory, BlobSourceContract):
    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[BlobSource]:
        directory = self.path / "blobs" / "sha256"
        directory.mkdir(parents=True)
        for data in blobs:
            (directory / hashlib.sha256(data).hexdigest()).write_bytes(data)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        }
        (self.path / "index.json").write_text(json.dumps(index))
        with contextlib.closing(Directory(str(self.path))) as files:
            yield OciLayout(files)


class TestRepository(BlobSourceContract):
    """A repository of the fake registry, read through the protocol."""

    @contextlib.contextmanager
    def source(self, blobs: Sequence[bytes]) -> Iterator[BlobSource]:
        with FakeRegistry() as registry:
            for data in blobs:
                registry.add_blob(data)
            session = Session(
                connections=8,
                credentials=CredentialStore((), None),
                timeouts=Timeouts(connect=5.0, read=5.0),
                policy=RetryPolicy(attempts=1),
            )
            reference = Reference.parse(f"{registry.host}/team/app:t")
            emitter = Emitter(ignore, "app")
            with contextlib.closing(session):
                yield repository(session, reference, emitter, CancelToken())


# The contracts themselves: what breaks a promise is found out.


class Careless:
    """A place that takes everything as it comes."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, blob: Any, **_rest: Any) -> Any:
        opened = blob.open(0, lambda: False)
        data = b""
        while part := opened.stream.read1(1000):
            data += part
            self.blobs[str(blob.descriptor.digest)] = data
        raise IntegrityError("this is not it", expected="", actual="")

    def open(self, descriptor: Any, _offset: int, _cancel: Any) -> Any:
        raise KeyError(str(descriptor.digest))


class CarelessContract(BlobSinkContract):
    @contextlib.contextmanager
    def sink(self) -> Iterator[tuple[BlobSink, BlobSource]]:
        place = Careless()
        yield place, place


@pytest.mark.parametrize("name", [name for name in dir(BlobSinkContract) if name[:5] == "test_"])
def test_a_place_that_keeps_no_promise_passes_no_test(name: str) -> None:
    with pytest.raises((AssertionError, IntegrityError, KeyError)):
        getattr(CarelessContract(), name)()
