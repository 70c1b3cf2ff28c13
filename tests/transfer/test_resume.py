import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Opened
from wherry.content.retry import RetryPolicy
from wherry.errors import Cancelled, IntegrityError, NetworkError, NotFound, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.transfer.resume import PROGRESS, resuming_blob

CONTENT = bytes(range(256)) * 40
FAST = RetryPolicy(attempts=3, first=0.0)


class Attempt:
    """One connection: starts at ``start`` (None: as requested), sends ``count`` bytes."""

    def __init__(
        self,
        count: int = len(CONTENT),
        *,
        start: int | None = None,
        error: WherryError | None = None,
        refuse: WherryError | None = None,
    ) -> None:
        self.count = count
        self.start = start
        self.error = error
        self.refuse = refuse


class Registry:
    """A source whose connections behave as given, one after the other."""

    def __init__(
        self,
        *attempts: Attempt,
        step: int = 1000,
        content: bytes = CONTENT,
        digest: Digest | None = None,
    ) -> None:
        self._attempts = list(attempts)
        self.content = content
        self.digest = digest or Digest.of(content)
        self._step = step
        self.offsets: list[int] = []
        self.open_streams = 0

    def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
        assert descriptor.digest == self.digest
        cancel.check()
        self.offsets.append(offset)
        attempt = self._attempts.pop(0) if self._attempts else Attempt(len(self.content))
        if attempt.refuse is not None:
            raise attempt.refuse
        start = offset if attempt.start is None else attempt.start
        self.open_streams += 1
        return Opened(_Stream(self, attempt, start, self._step), start, len(self.content))


class _Stream:
    def __init__(self, registry: Registry, attempt: Attempt, start: int, step: int) -> None:
        self._registry = registry
        self._attempt = attempt
        self._left = registry.content[start : start + attempt.count]
        self._step = step

    def read1(self, size: int) -> bytes:
        assert size > 0
        if not self._left and self._attempt.error is not None:
            raise self._attempt.error
        data, self._left = self._left[: min(size, self._step)], self._left[min(size, self._step) :]
        return data

    def close(self) -> None:
        self._registry.open_streams -= 1


def cut() -> NetworkError:
    return NetworkError("cut", host="h")


class Reading:
    """A blob that is read from such a source."""

    def __init__(
        self,
        registry: Registry,
        *,
        policy: RetryPolicy = FAST,
        cancel: CancelToken | None = None,
        size: int | None = -1,
    ) -> None:
        self.retries: list[tuple[float, WherryError]] = []
        self.got = bytearray()
        self._content = registry.content
        whole = len(registry.content) if size == -1 else size
        descriptor = Descriptor("x", registry.digest, whole)
        self._blob = resuming_blob(
            registry,
            descriptor,
            policy,
            cancel or CancelToken(),
            lambda pause, error: self.retries.append((pause, error)),
        )

    def read(self, offset: int = 0, size: int = 700) -> bytes:
        whole = self._blob.descriptor.digest
        opened = self._blob.open(
            offset, lambda: whole.matches(self._content[:offset] + bytes(self.got))
        )
        assert opened.start == offset
        try:
            while data := opened.stream.read1(size):
                assert len(data) <= size
                self.got += data
        finally:
            opened.stream.close()
        return bytes(self.got)


@pytest.mark.parametrize("offset", [0, 1, 5000, len(CONTENT) - 1])
def test_a_blob_is_read_from_its_offset(offset: int) -> None:
    registry = Registry()
    assert Reading(registry).read(offset) == CONTENT[offset:]
    assert registry.offsets == [offset]
    assert registry.open_streams == 0


def test_nothing_is_opened_before_it_is_read() -> None:
    registry = Registry()
    blob = resuming_blob(
        registry,
        Descriptor("x", Digest.of(CONTENT), len(CONTENT)),
        FAST,
        CancelToken(),
        lambda *_: None,
    )
    blob.open(0, lambda: False).stream.close()
    assert registry.offsets == []


def test_a_cut_connection_is_resumed_where_it_stood() -> None:
    """After a broken connection, a range request continues at the same offset."""
    registry = Registry(Attempt(1500, error=cut()), Attempt(2500, error=cut()))
    reading = Reading(registry)
    assert reading.read(100) == CONTENT[100:]
    assert registry.offsets == [100, 1600, 4100]
    assert len(reading.retries) == 2
    assert registry.open_streams == 0


def test_progress_resets_the_count_of_failures() -> None:
    """Attempts with enough progress restart the count of failures."""
    content = bytes(range(256)) * 4096
    registry = Registry(
        *(Attempt(PROGRESS, error=cut()) for _ in range(12)), step=9999, content=content
    )
    reading = Reading(registry)
    assert reading.read() == content
    assert len(reading.retries) == 12


def test_a_trickle_of_progress_uses_up_the_attempts() -> None:
    """Otherwise a connection that breaks after each byte would be retried for days."""
    registry = Registry(*(Attempt(500, error=cut()) for _ in range(12)), step=500)
    with pytest.raises(NetworkError):
        Reading(registry).read()


def test_failures_in_a_row_use_up_the_attempts() -> None:
    errors = [cut() for _ in range(4)]
    registry = Registry(
        Attempt(500, error=errors[0]), Attempt(0, error=errors[1]), Attempt(refuse=errors[2])
    )
    reading = Reading(registry)
    with pytest.raises(NetworkError) as caught:
        reading.read()
    assert caught.value is errors[2]
    assert registry.offsets == [0, 500, 500]
    assert [error for _, error in reading.retries] == errors[:2]
    assert bytes(reading.got) == CONTENT[:500]
    assert registry.open_streams == 0


def test_what_will_not_change_is_not_tried_again() -> None:
    registry = Registry(Attempt(500, error=cut()), Attempt(refuse=NotFound("gone")))
    reading = Reading(registry)
    with pytest.raises(NotFound):
        reading.read()
    assert registry.offsets == [0, 500]


@pytest.mark.parametrize("start", [0, 1, 900, 1499])
def test_a_server_that_begins_before_the_offset_has_the_difference_discarded(start: int) -> None:
    """A source may start below the requested offset; the first bytes are skipped."""
    registry = Registry(Attempt(1500, error=cut()), Attempt(start=start), step=400)
    assert Reading(registry).read() == CONTENT
    assert registry.offsets == [0, 1500]


def test_a_cut_while_discarding_loses_nothing() -> None:
    registry = Registry(
        Attempt(1500, error=cut()),
        Attempt(700, start=0, error=cut()),
        Attempt(start=0),
        step=400,
    )
    assert Reading(registry).read() == CONTENT
    assert registry.offsets == [0, 1500, 1500]
    assert registry.open_streams == 0


def test_discarding_is_not_progress() -> None:
    attempts = [Attempt(700, start=0, error=cut()) for _ in range(9)]
    registry = Registry(Attempt(1500, error=cut()), *attempts)
    with pytest.raises(NetworkError):
        Reading(registry).read()
    assert len(registry.offsets) == 3


@pytest.mark.parametrize("count", [0, 700])
def test_an_end_while_discarding_is_a_short_blob(count: int) -> None:
    attempts = [Attempt(count, start=0) for _ in range(9)]
    registry = Registry(Attempt(1500, error=cut()), *attempts)
    with pytest.raises(NetworkError, match=rf"ended after {count:,} bytes"):
        Reading(registry).read()
    assert len(registry.offsets) == 3
    assert registry.open_streams == 0


def test_an_end_before_the_end_is_a_failure() -> None:
    """A wrong or missing Content-Length ends as a clean end of file."""
    registry = Registry(Attempt(1500), Attempt(2000))
    reading = Reading(registry)
    assert reading.read() == CONTENT
    assert registry.offsets == [0, 1500, 3500]
    assert all(isinstance(error, NetworkError) for _, error in reading.retries)


def test_a_registry_that_always_ends_early_is_an_error_in_the_end() -> None:
    registry = Registry(Attempt(1500), *(Attempt(0) for _ in range(9)))
    with pytest.raises(NetworkError, match="ended after 1,500 bytes"):
        Reading(registry).read()
    assert registry.offsets == [0, 1500, 1500]


def test_a_source_that_says_it_has_less_is_not_the_blob() -> None:
    """The received bytes are then useless, unlike after a broken connection."""
    registry = Registry(
        *(Attempt(1500) for _ in range(9)), content=CONTENT[:1500], digest=Digest.of(CONTENT)
    )
    said = f"^it has 1,500 bytes, expected {len(CONTENT):,}; tried 3 times$"
    with pytest.raises(IntegrityError, match=said) as caught:
        Reading(registry, size=len(CONTENT)).read()
    assert caught.value.actual == "1500 bytes"


@pytest.mark.parametrize("size", [1, len(CONTENT) - 1, len(CONTENT) + 1, 2**50])
def test_a_wrong_size_neither_ends_reading_nor_asks_for_more(size: int) -> None:
    """The blob ends where its digest matches."""
    registry = Registry(Attempt(1500, error=cut()), Attempt(error=cut()))
    reading = Reading(registry, size=size)
    assert reading.read() == CONTENT
    assert registry.offsets == [0, 1500]


@pytest.mark.parametrize("offset", [len(CONTENT), len(CONTENT) + 7])
def test_a_source_that_ends_before_the_part_file_is_not_retried(offset: int) -> None:
    """Bytes of a part file after the end belong to another blob, or are wrong."""
    registry = Registry(*(Attempt(start=0) for _ in range(9)), digest=Digest.of(b"another"))
    with pytest.raises(IntegrityError):
        Reading(registry).read(offset)
    assert registry.offsets == [offset]
    assert registry.open_streams == 0


def test_without_a_size_an_end_is_the_end() -> None:
    registry = Registry(Attempt(1500))
    assert Reading(registry, size=None).read() == CONTENT[:1500]
    assert registry.offsets == [0]


def test_a_blob_can_be_opened_again() -> None:
    """Each attempt opens the source at the current offset."""
    registry = Registry(Attempt(refuse=cut()), Attempt(refuse=cut()))
    reading = Reading(registry)
    assert reading.read() == CONTENT
    reading.got.clear()
    assert reading.read(9000) == CONTENT[9000:]
    assert registry.offsets == [0, 0, 0, 9000]


def test_a_cancellation_is_not_retried() -> None:
    token = CancelToken()
    token.cancel()
    registry = Registry()
    with pytest.raises(Cancelled):
        Reading(registry, cancel=token).read()
    assert registry.offsets == []


def test_a_failure_because_of_the_cancel_is_the_cancel() -> None:
    token = CancelToken()

    class Woken(Registry):
        def open(self, descriptor: Descriptor, offset: int, cancel: CancelToken) -> Opened:
            self.offsets.append(offset)
            assert descriptor
            assert cancel is token
            token.cancel()
            raise cut()

    registry = Woken()
    reading = Reading(registry, cancel=token)
    with pytest.raises(Cancelled):
        reading.read()
    assert len(registry.offsets) == 1
    assert reading.retries == []


def test_a_pause_ends_with_the_cancel() -> None:
    token = CancelToken()
    policy = RetryPolicy(first=60.0, longest=60.0)
    registry = Registry(Attempt(refuse=cut()))
    blob = resuming_blob(
        registry,
        Descriptor("x", Digest.of(CONTENT), len(CONTENT)),
        policy,
        token,
        lambda *_: token.cancel(),
    )
    with pytest.raises(Cancelled):
        blob.open(0, lambda: False).stream.read1(10)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda count, start, failing: Attempt(
                count, start=0 if start else None, error=cut() if failing else None
            ),
            st.integers(0, 3000),
            st.booleans(),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.integers(0, len(CONTENT)),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_the_bytes_read_are_a_prefix_of_the_blob(
    attempts: list[Attempt], offset: int, step: int, size: int
) -> None:
    """A response with another start is not appended: each byte read is the next of the blob."""
    registry = Registry(*attempts, step=step)
    reading = Reading(registry)
    try:
        reading.read(offset, size)
    except WherryError:
        assert CONTENT[offset:].startswith(reading.got)
    else:
        assert bytes(reading.got) == CONTENT[offset:]
    assert registry.open_streams == 0
