from __future__ import annotations

import hashlib
import io
import random
from typing import TYPE_CHECKING

import pytest

from running_threads import begun_since, running
from wherry.content.cancel import CancelToken
from wherry.content.protocols import Receipt
from wherry.content.verify import RawLimit, VerifiedLayer, check_rootfs, follow_diff_id
from wherry.errors import Cancelled, IntegrityError
from wherry.model.config import ImageConfig, parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.testing import build_image, compress, sha256, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Buffer

FORMS = ["gzip", "zstd", "none", "bzip2", "xz"]
CONTENT = random.Random(2).randbytes(700_000) + b"text " * 100_000  # noqa: S311 - has to repeat


@pytest.mark.parametrize("form", FORMS)
def test_a_diff_id_is_the_digest_of_what_was_compressed(form: str) -> None:
    """OCI image spec, config.md, "Layer DiffID": over the uncompressed tar."""
    found = follow_diff_id(io.BytesIO(compress(CONTENT, form)), 2**30, CancelToken())
    assert found == (Digest.of(CONTENT), len(CONTENT))


def test_the_diff_id_of_nothing_is_the_digest_of_nothing() -> None:
    assert follow_diff_id(io.BytesIO(b""), 0, CancelToken()) == (Digest.of(b""), 0)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_of_more_than_the_limit_is_refused(form: str) -> None:
    packed = compress(CONTENT, form)
    assert follow_diff_id(io.BytesIO(packed), len(CONTENT), CancelToken())[1] == len(CONTENT)
    with pytest.raises(IntegrityError, match="more than") as caught:
        follow_diff_id(io.BytesIO(packed), len(CONTENT) - 1, CancelToken())
    assert caught.value.hint


@pytest.mark.parametrize("form", ["zstd", "gzip", "xz", "bzip2"])
def test_a_layer_without_end_is_given_up_at_the_limit(form: str) -> None:
    """Neither memory nor time grow with the decompressed size of a layer."""

    class Endless(io.RawIOBase):
        """An endless series of the same member."""

        member = compress(bytes(2**16), form)
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Buffer) -> int:
            at = self.given % len(self.member)
            view = memoryview(buffer)
            count = min(len(view), len(self.member) - at)
            view[:count] = self.member[at : at + count]
            self.given += count
            assert self.given < 2**22, "it reads on and on"
            return count

    with pytest.raises(IntegrityError, match="more than"):
        follow_diff_id(Endless(), 2**20, CancelToken())


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz"])
def test_a_damaged_layer_is_refused(form: str) -> None:
    packed = compress(CONTENT, form)
    with pytest.raises(IntegrityError, match=form):
        follow_diff_id(io.BytesIO(packed[:-100]), 2**30, CancelToken())


@pytest.mark.parametrize("failing", [False, True])
def test_no_thread_is_left_behind(*, failing: bool) -> None:
    before = running()
    packed = compress(CONTENT, "gzip")
    if failing:
        with pytest.raises(IntegrityError):
            follow_diff_id(io.BytesIO(packed[:-100]), 2**30, CancelToken())
    else:
        follow_diff_id(io.BytesIO(packed), 2**30, CancelToken())
    assert not begun_since(before)


def test_a_cancelled_one_stops_between_two_steps() -> None:
    """Decompression checks the token at each step."""
    token = CancelToken()

    class Endless(io.RawIOBase):
        reads = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Buffer) -> int:
            self.reads += 1
            if self.reads == 5:
                token.cancel()
            view = memoryview(buffer)
            view[:] = bytes(len(view))
            return len(view)

    source = Endless()
    with pytest.raises(Cancelled):
        follow_diff_id(source, 2**40, token)
    assert source.reads == 5


def test_the_limit_is_the_larger_of_a_size_and_a_ratio() -> None:
    """The limit is 1 GiB or 1,100 times the compressed size, whichever is larger."""
    assert RawLimit().of(0) == RawLimit().of(900_000) == 2**30
    assert RawLimit().of(10**7) == 11 * 10**9
    assert RawLimit(least=5, ratio=2).of(4) == 8


def opened(path: Path, data: bytes) -> io.FileIO:
    path.write_bytes(data)
    return path.open("rb", buffering=0)


@pytest.mark.parametrize("form", FORMS)
def test_a_verified_layer_is_read_to_its_end(form: str, tmp_path: Path) -> None:
    source = opened(tmp_path / "layer", compress(CONTENT, form))
    with VerifiedLayer(source, Digest.of(CONTENT)) as layer:
        assert layer.readable()
        assert layer.read() == CONTENT
        assert layer.read(1) == b""
    assert source.closed


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_layer_of_other_content_fails_at_its_end_and_not_before(
    algorithm: str, tmp_path: Path
) -> None:
    source = opened(tmp_path / "layer", compress(CONTENT, "zstd"))
    wrong = Digest.of(CONTENT + b"x", algorithm)
    with VerifiedLayer(source, wrong) as layer:
        left = len(CONTENT)
        while left:
            left -= len(layer.read(left))
        with pytest.raises(IntegrityError, match="DiffID") as caught:
            layer.read(1)
    assert caught.value.expected == str(wrong)
    assert caught.value.actual == str(Digest.of(CONTENT, algorithm))


def test_a_truncated_zstd_layer_does_not_pass(tmp_path: Path) -> None:
    packed = compress(CONTENT, "zstd")
    source = opened(tmp_path / "layer", packed[: len(packed) * 9 // 10])
    with VerifiedLayer(source, Digest.of(CONTENT)) as layer, pytest.raises(IntegrityError):
        layer.drain()


def test_draining_verifies_what_a_reader_left(tmp_path: Path) -> None:
    tar = tar_layer({"a": b"a" * 100_000})
    source = opened(tmp_path / "layer", compress(tar + b"trailing", "gzip"))
    with VerifiedLayer(source, Digest.of(tar)) as layer:
        assert layer.read(1000) == tar[:1000]
        with pytest.raises(IntegrityError):
            layer.drain()
    source = opened(tmp_path / "layer", compress(tar, "gzip"))
    with VerifiedLayer(source, Digest.of(tar)) as layer:
        layer.drain()


def config_of(*diff_ids: str) -> ImageConfig:
    return parse_config(build_image([], diff_ids=diff_ids).config.data)


def receipt(diff_id: str | None) -> Receipt:
    descriptor = Descriptor("x", Digest.of(b"blob"), 4)
    return Receipt(descriptor, None if diff_id is None else Digest.parse(diff_id))


ONE, TWO = sha256(b"1"), sha256(b"2")


def test_layers_that_the_config_lists_are_good() -> None:
    check_rootfs(config_of(ONE, TWO, ONE), [receipt(ONE), receipt(TWO), receipt(ONE)])
    check_rootfs(config_of(), [])


def test_a_layer_without_a_diff_id_is_skipped() -> None:
    check_rootfs(config_of(ONE, TWO), [receipt(None), receipt(TWO)])


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ([ONE], [TWO]),
        ([ONE, TWO], [TWO, ONE]),
        ([ONE, TWO], [ONE]),
        ([ONE], [ONE, ONE]),
        ([], [ONE]),
        ([ONE], []),
        ([ONE, TWO], [None, ONE]),
        ([ONE], [None, None]),
    ],
)
def test_other_layers_than_the_config_lists_are_refused(
    listed: list[str], found: list[str | None]
) -> None:
    """The DiffIDs of the layers must equal those in the config, in order and number.

    The message is that of engines (moby, distribution/pull_v2.go).
    """
    with pytest.raises(
        IntegrityError, match="layers from manifest don't match image configuration"
    ):
        check_rootfs(config_of(*listed), [receipt(diff_id) for diff_id in found])


def test_the_hash_is_of_all_steps_in_order() -> None:
    """The hashing thread uses its buffers in turn, also with a slow source."""
    pieces = [bytes([number]) * (number * 997 + 1) for number in range(250)]

    class Steps(io.RawIOBase):
        def __init__(self) -> None:
            self._left = list(pieces)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Buffer) -> int:
            if not self._left:
                return 0
            piece = self._left.pop(0)
            view = memoryview(buffer)
            count = min(len(view), len(piece))
            view[:count] = piece[:count]
            if count < len(piece):
                self._left.insert(0, piece[count:])
            return count

    expected = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert follow_diff_id(Steps(), 2**30, CancelToken())[0].hex == expected
