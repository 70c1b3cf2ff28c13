"""Writes to version 1 registries: requests, answers, and layers that change."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.content.streams import blob_of, open_bytes
from wherry.errors import IntegrityError, NetworkError, NotFound, RegistryError, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.model.tarsum import tar_sum
from wherry.registry.host_pauses import HostPauses
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.registry.v1_session import V1Session
from wherry.registry.v1_uploads import V1Upload, V1Uploads
from wherry.testing import EarlyReply, FakeV1Registry, Fault, FixedReply, tar_layer, v1_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.protocols import Blob, Opened

TAR = tar_layer({"f": b"x" * 300_000})
ID = v1_id(1)
JSON = json.dumps({"id": ID}).encode()


@pytest.fixture
def v1() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as registry:
        registry.lists["library/app"] = {ID: ""}
        yield registry


@pytest.fixture
def uploads(v1: FakeV1Registry) -> Iterator[V1Uploads]:
    session = Session(connections=6)
    endpoint = session.hosts.endpoints(Reference.parse(f"{v1.host}/app:1"))[-1]
    options = UploadOptions(RetryPolicy(attempts=2, first=0.01), HostPauses())
    yield V1Uploads(V1Session(session, endpoint), f"{v1.host}/app", options, CancelToken())
    session.close()


def upload(layer: Blob) -> V1Upload:
    return V1Upload(ID, JSON, layer, tar_sum(io.BytesIO(TAR), JSON))


def layer_of(raw: bytes) -> Blob:
    return blob_of(Descriptor("", Digest.of(TAR), len(TAR)), raw)


def send(uploads: V1Uploads, layer: Blob) -> list[int]:
    told: list[int] = []
    assert uploads.send(uploads.endpoints[0], upload(layer), told.append)
    return told


def test_an_image_is_complete_after_its_checksums(uploads: V1Uploads, v1: FakeV1Registry) -> None:
    told = send(uploads, layer_of(TAR))
    assert told == sorted(told)
    assert told[-1] == len(TAR)
    assert v1.images[ID].is_complete
    assert v1.images[ID].layer == TAR
    assert uploads.look_up(uploads.endpoints[0], [ID, v1_id(2)]).keys() == {ID}
    assert not uploads.send(uploads.endpoints[0], upload(layer_of(TAR)), told.append)


def test_an_incomplete_image_is_not_found(uploads: V1Uploads, v1: FakeV1Registry) -> None:
    v1.inject(Fault(FixedReply(403), method="PUT", path="/checksum$"))
    with pytest.raises(WherryError):
        send(uploads, layer_of(TAR))
    assert not uploads.look_up(uploads.endpoints[0], [ID])


def test_a_layer_that_has_changed_is_an_error(uploads: V1Uploads, v1: FakeV1Registry) -> None:
    changed = TAR[:-1] + b"\1"
    with pytest.raises(IntegrityError, match="does not match its digest"):
        send(uploads, layer_of(changed))
    assert not v1.images[ID].is_complete


def test_a_layer_is_read_from_its_start_for_each_attempt(
    uploads: V1Uploads, v1: FakeV1Registry
) -> None:
    opened: list[int] = []

    def open_at(offset: int, _is_whole: Callable[[], bool]) -> Opened:
        opened.append(offset)
        return open_bytes(TAR, offset)

    v1.inject(Fault(EarlyReply(503, after=1000), method="PUT", path="/layer$", times=1))
    told = send(uploads, layer_of(TAR).replace(open=open_at))
    assert opened == [0, 0]
    assert told == sorted(told)
    assert v1.images[ID].is_complete


def test_a_layer_that_is_confirmed_too_early_is_sent_again(
    uploads: V1Uploads, v1: FakeV1Registry
) -> None:
    big = tar_layer({"f": bytes(30_000_000)})
    layer = blob_of(Descriptor("", Digest.of(big), len(big)), big)
    v1.inject(Fault(EarlyReply(200, after=1000), method="PUT", path="/layer$"))
    with pytest.raises(NetworkError, match="before all of it was sent"):
        uploads.send(uploads.endpoints[0], upload(layer), lambda _: None)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda uploads: uploads.begin([{"id": ID}]), "/app/$"),
        (lambda uploads: uploads.set_tag(uploads.endpoints[0], "1", ID), "/tags/1$"),
        (lambda uploads: uploads.finish([{"id": ID}]), "/images$"),
        (lambda uploads: send(uploads, layer_of(TAR)), "/json$"),
        (lambda uploads: send(uploads, layer_of(TAR)), "/layer$"),
        (lambda uploads: send(uploads, layer_of(TAR)), "/checksum$"),
    ],
)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (FixedReply(404), NotFound),
        (FixedReply(501), RegistryError),
        (FixedReply(200, {"Content-Type": "text/html"}, b"<html>login</html>"), NetworkError),
    ],
)
def test_an_answer_that_is_no_success_is_an_error(
    uploads: V1Uploads,
    v1: FakeV1Registry,
    call: Callable[[V1Uploads], Any],
    path: str,
    answer: FixedReply,
    error: type[WherryError],
) -> None:
    v1.inject(Fault(answer, method="PUT", path=path))
    with pytest.raises(error) as caught:
        call(uploads)
    assert caught.value.where[0].startswith(f"{v1.host}/app")
    assert not v1.images.get(ID) or not v1.images[ID].is_complete
