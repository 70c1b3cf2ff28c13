import threading
import time

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.rate import STEP, RateLimit
from wherry.errors import Cancelled


def test_bytes_are_due_at_the_rate() -> None:
    limit, token = RateLimit(100_000), CancelToken()
    started = time.monotonic()
    for _ in range(10):
        limit.take(5_000, token)
    # What the bucket holds may come at once.
    assert time.monotonic() - started >= 50_000 / 100_000 - STEP


def test_threads_share_the_rate() -> None:
    limit, token = RateLimit(100_000), CancelToken()
    threads = [threading.Thread(target=limit.take, args=(10_000, token)) for _ in range(5)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 50_000 / 100_000 - STEP


def test_what_was_not_used_is_not_saved_up() -> None:
    limit, token = RateLimit(100_000), CancelToken()
    limit.take(1, token)
    time.sleep(0.5)
    started = time.monotonic()
    limit.take(50_000, token)
    assert time.monotonic() - started >= 50_000 / 100_000 - STEP


@pytest.mark.parametrize(("rate", "step"), [(1, 1024), (100_000, 10_000), (50e6, 5_000_000)])
def test_a_step_is_a_share_of_a_second(rate: float, step: int) -> None:
    assert RateLimit(rate).step == step


def test_a_cancel_ends_the_wait() -> None:
    token = CancelToken()
    threading.Timer(0.05, token.cancel).start()
    with pytest.raises(Cancelled):
        RateLimit(1).take(1_000_000, token)
