"""Layers that are read before they are sent to a version 1 registry."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.streams import blob_of
from wherry.errors import IntegrityError, Unsupported
from wherry.model.compression import GZIP, Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.tarsum import tar_sum
from wherry.testing import compress, tar_layer
from wherry.transfer.v1_layers import LayerPreparation

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.protocols import Blob, Opened

TAR = tar_layer({f"d/f{number}": b"x" * 9000 for number in range(40)})
JSON = b'{"id":"..."}'


def prepare(
    layer: Blob,
    compression: Compression | None = None,
    *,
    copies: bool = False,
    diff_id: Digest | None = None,
) -> tuple[str, bytes, Descriptor]:
    """Return the checksum, what is sent, and its descriptor."""
    preparation = LayerPreparation(tempfile.TemporaryFile, copies, CancelToken())
    with preparation.prepared(layer, diff_id, compression, lambda _: None) as found:
        assert found.blob.descriptor.size is not None
        sent = [read(found.blob) for _ in range(2)]
        assert sent[0] == sent[1]
        return found.checksum(JSON), sent[0], found.blob.descriptor


def read(blob: Blob) -> bytes:
    stream = blob.open(0, lambda: False).stream
    return b"".join(iter(lambda: stream.read1(100_000), b""))


def layer_of(raw: bytes, digest: Digest | None = None) -> Blob:
    return blob_of(Descriptor("", digest or Digest.of(raw), len(raw)), raw)


def expected_sum(tar: bytes) -> str:
    return tar_sum(io.BytesIO(tar), JSON)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("form", ["gzip", "zstd", "none"])
def test_a_layer_keeps_its_bytes(form: str, *, copies: bool) -> None:
    raw = compress(TAR, form)
    checksum, sent, descriptor = prepare(layer_of(raw), copies=copies)
    assert sent == raw
    assert checksum == expected_sum(TAR)
    assert descriptor == Descriptor("", Digest.of(raw), len(raw))


@pytest.mark.parametrize("form", ["gzip", "zstd", "none"])
def test_a_layer_is_packed_anew(form: str) -> None:
    checksum, sent, descriptor = prepare(layer_of(compress(TAR, form)), GZIP)
    assert sent.startswith(b"\x1f\x8b")
    assert checksum == expected_sum(TAR)
    assert (descriptor.digest, descriptor.size) == (Digest.of(sent), len(sent))


def test_a_layer_of_a_registry_is_fetched_once() -> None:
    raw = compress(TAR, "gzip")
    opened: list[int] = []
    known = layer_of(raw)

    def open_at(offset: int, is_whole: Callable[[], bool]) -> Opened:
        opened.append(offset)
        return known.open(offset, is_whole)

    assert prepare(known.replace(open=open_at), copies=True)[1] == raw
    assert opened == [0]


def test_a_size_that_is_not_known_is_found_out() -> None:
    raw = compress(TAR, "gzip")
    layer = layer_of(raw)
    found = prepare(layer.replace(descriptor=layer.descriptor._replace(size=None)), copies=True)
    assert found[2].size == len(raw)


@pytest.mark.parametrize("compression", [None, GZIP])
@pytest.mark.parametrize("copies", [False, True])
def test_a_damaged_layer_is_not_sent(compression: Compression | None, *, copies: bool) -> None:
    damaged = layer_of(compress(TAR, "gzip"), Digest.of(b"another"))
    with pytest.raises(IntegrityError, match="does not match its digest"):
        prepare(damaged, compression, copies=copies)


def test_the_diff_id_is_compared() -> None:
    with pytest.raises(IntegrityError, match="DiffID"):
        prepare(layer_of(compress(TAR, "gzip")), diff_id=Digest.of(b"another"))


def test_a_layer_that_is_no_tar_has_no_checksum() -> None:
    with pytest.raises(IntegrityError, match="no tar header"):
        prepare(layer_of(compress(b"text " * 1000, "gzip")))


def test_a_tar_that_is_cut_off_has_no_checksum() -> None:
    with pytest.raises(IntegrityError, match="cut off") as caught:
        prepare(layer_of(compress(TAR[:5000], "gzip")))
    assert caught.value.where[0].startswith("layer sha256:")


def test_a_layer_with_sparse_members_has_no_checksum() -> None:
    header = bytearray(TAR[:512])
    header[156:157] = b"S"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(Unsupported, match="sparse") as caught:
        prepare(layer_of(bytes(header) + bytes(1024)))
    assert caught.value.where[0].startswith("layer sha256:")
