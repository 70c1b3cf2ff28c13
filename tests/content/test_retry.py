import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.content.cancel import CancelToken
from wherry.content.retry import OBEYED, RetryPolicy, retry_after, run
from wherry.errors import (
    Cancelled,
    Denied,
    IntegrityError,
    NetworkError,
    NotFound,
    RateLimited,
    RegistryError,
    WherryError,
)

QUICK = settings(max_examples=150, deadline=None)
FAST = RetryPolicy(attempts=5, first=0.0)
EXACT = RetryPolicy(attempts=10, jitter=0.0)


def network() -> NetworkError:
    return NetworkError("cut", host="h")


def test_pauses_double_up_to_the_longest() -> None:
    """There are 5 attempts, with pauses of 250 ms that double."""
    pauses = [EXACT.pause(failures, network()) for failures in range(1, 11)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, None]


def test_the_attempts_are_counted_in_all() -> None:
    assert RetryPolicy().attempts == 5
    assert RetryPolicy().pause(4, network()) is not None
    assert RetryPolicy().pause(5, network()) is None
    assert RetryPolicy(attempts=1).pause(1, network()) is None


@QUICK
@given(
    st.integers(1, 5000),
    st.floats(0.001, 10),
    st.floats(0.1, 60),
    st.floats(0, 1),
)
def test_a_pause_is_within_its_bounds(
    failures: int, first: float, longest: float, jitter: float
) -> None:
    """Jitter shortens a pause by a random share, and never lengthens it."""
    policy = RetryPolicy(10_000, first, longest, jitter)
    pause = policy.pause(failures, network())
    whole = min(first * 2.0 ** min(failures - 1, 1000), longest)
    assert pause is not None
    assert whole * (1 - jitter) - 1e-9 <= pause <= whole + 1e-9


def test_pauses_differ_between_clients() -> None:
    pauses = {RetryPolicy().pause(3, network()) for _ in range(20)}
    assert len(pauses) > 1


@pytest.mark.parametrize(
    "error",
    [
        NotFound("x"),
        Denied("x", host="h"),
        IntegrityError("x", expected="a", actual="b"),
        NetworkError("x", host="h", transient=False),
        RegistryError("x", status=400, method="GET", url="u"),
    ],
)
def test_what_will_not_change_is_not_tried_again(error: WherryError) -> None:
    """Client errors such as 400, 403 and 404, and a wrong digest, are not retried."""
    assert RetryPolicy().pause(1, error) is None


def asked(seconds: float) -> list[WherryError]:
    return [
        RateLimited("x", host="h", retry_after=seconds),
        RegistryError("x", status=503, method="GET", url="u", retry_after=seconds, transient=True),
    ]


@pytest.mark.parametrize("seconds", [0.0, 1.0, 7.5, OBEYED])
def test_the_pause_that_a_registry_asks_for_is_obeyed(seconds: float) -> None:
    """``Retry-After`` is obeyed (RFC 9110, 10.2.3)."""
    for error in asked(seconds):
        assert retry_after(error) == seconds
        assert RetryPolicy().pause(1, error) == seconds
        assert RetryPolicy().pause(5, error) is None


def test_too_long_a_pause_is_an_error() -> None:
    for error in asked(OBEYED + 1):
        assert RetryPolicy().pause(1, error) is None


def test_a_silent_registry_gets_the_usual_pause() -> None:
    assert EXACT.pause(1, RateLimited("x", host="h")) == 0.25
    assert retry_after(network()) is None


class Flaky:
    """Fails so many times, then returns a value; counts its calls."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


@pytest.mark.parametrize("failures", range(5))
def test_run_tries_until_it_succeeds(failures: int) -> None:
    call = Flaky(*(network() for _ in range(failures)))
    told: list[tuple[float, WherryError]] = []
    assert run(FAST, CancelToken(), call, lambda *step: told.append(step)) == "done"
    assert call.calls == failures + 1
    assert len(told) == failures


def test_run_gives_up_with_the_last_error() -> None:
    errors = [network() for _ in range(9)]
    call = Flaky(*errors)
    told: list[WherryError] = []
    with pytest.raises(NetworkError) as caught:
        run(FAST, CancelToken(), call, lambda _, error: told.append(error))
    assert caught.value is errors[4]
    assert call.calls == 5
    assert told == errors[:4]


def test_run_does_not_repeat_a_final_failure() -> None:
    call = Flaky(network(), NotFound("x"))
    with pytest.raises(NotFound):
        run(FAST, CancelToken(), call)
    assert call.calls == 2


def test_run_lets_other_exceptions_pass() -> None:
    call = Flaky(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(FAST, CancelToken(), call)
    assert call.calls == 1


def test_run_makes_no_call_when_it_is_told_to_stop() -> None:
    token = CancelToken()
    token.cancel()
    call = Flaky()
    with pytest.raises(Cancelled):
        run(FAST, token, call)
    assert call.calls == 0


def test_a_failure_because_of_the_cancel_is_the_cancel() -> None:
    token = CancelToken()

    def call() -> None:
        token.cancel()
        raise network()

    with pytest.raises(Cancelled):
        run(FAST, token, call)


def test_a_pause_ends_when_it_is_told_to_stop() -> None:
    token = CancelToken()
    call = Flaky(network())
    slow = RetryPolicy(first=60.0, longest=60.0)
    with pytest.raises(Cancelled):
        run(slow, token, call, lambda *_: token.cancel())
    assert call.calls == 1
