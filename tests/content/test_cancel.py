import contextlib
import signal
import threading
import time
from collections.abc import Callable

import pytest

from wherry.content.cancel import CancelToken, JoinedToken
from wherry.errors import Cancelled


def test_a_token_is_set_once_and_stays_set() -> None:
    token = CancelToken()
    assert not token.cancelled
    token.check()
    token.cancel()
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.check()


def test_sleep_lasts_and_ends_with_the_cancel() -> None:
    token = CancelToken()
    started = time.monotonic()
    token.sleep(0.02)
    token.sleep(0)
    token.sleep(-1)
    assert time.monotonic() - started >= 0.02
    threading.Timer(0.05, token.cancel).start()
    with pytest.raises(Cancelled):
        token.sleep(60)
    with pytest.raises(Cancelled):
        token.sleep(60)


def test_a_child_follows_its_parent() -> None:
    parent = CancelToken()
    with parent.child() as child, child.child() as grandchild:
        parent.cancel()
        assert child.cancelled
        assert grandchild.cancelled


def test_a_parent_does_not_follow_its_child() -> None:
    parent = CancelToken()
    with parent.child() as child, parent.child() as sibling:
        child.cancel()
        assert not parent.cancelled
        assert not sibling.cancelled


def test_a_child_of_a_cancelled_parent_is_born_cancelled() -> None:
    parent = CancelToken()
    parent.cancel()
    with parent.child() as child:
        assert child.cancelled


def test_a_child_is_forgotten_when_its_block_ends() -> None:
    parent = CancelToken()
    with parent.child() as child:
        pass
    parent.cancel()
    assert not child.cancelled


def test_wakers_are_called_once() -> None:
    token, calls = CancelToken(), []
    token.on_cancel(lambda: calls.append("one"))
    token.on_cancel(lambda: calls.append("two"))
    token.cancel()
    token.cancel()
    assert sorted(calls) == ["one", "two"]


def test_a_late_waker_is_called_at_once() -> None:
    token, calls = CancelToken(), []
    token.cancel()
    forget = token.on_cancel(lambda: calls.append(1))
    assert calls == [1]
    forget()
    with token.wake_on_cancel(lambda: calls.append(2)):
        assert calls == [1, 2]


def test_a_waker_that_was_taken_back_is_not_called() -> None:
    token, calls = CancelToken(), []
    forget = token.on_cancel(lambda: calls.append(1))
    token.on_cancel(lambda: calls.append(2))
    forget()
    forget()
    with token.wake_on_cancel(lambda: calls.append(3)):
        pass
    token.cancel()
    assert calls == [2]


def test_a_waker_is_taken_back_when_its_block_fails() -> None:
    token = CancelToken()
    calls: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), token.wake_on_cancel(lambda: calls.append(1)):
        fail()
    token.cancel()
    assert not calls


def test_a_waker_may_use_the_token() -> None:
    token = CancelToken()
    calls: list[str] = []

    def wake() -> None:
        assert token.cancelled
        token.cancel()
        token.on_cancel(lambda: calls.append("late"))()

    forget = token.on_cancel(wake)
    token.on_cancel(forget)
    token.cancel()
    assert calls == ["late"]


def test_no_waker_is_lost_between_threads() -> None:
    """Each waker is called once, whether registered before or after the cancellation."""
    for _ in range(50):
        token = CancelToken()
        calls: list[int] = []
        barrier = threading.Barrier(5)

        def register(
            name: int,
            token: CancelToken = token,
            calls: list[int] = calls,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait()
            token.on_cancel(lambda: calls.append(name))

        threads = [threading.Thread(target=register, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        barrier.wait()
        token.cancel()
        for thread in threads:
            thread.join()
        assert sorted(calls) == [0, 1, 2, 3]


def test_one_cancel_wakes_all_that_sleep() -> None:
    token = CancelToken()
    outcomes: list[str] = []
    asleep = threading.Barrier(9)

    def sleeper(wait: Callable[[float], None]) -> None:
        asleep.wait()
        try:
            wait(60)
        except Cancelled:
            outcomes.append("woken")

    threads = [threading.Thread(target=sleeper, args=(token.sleep,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    asleep.wait()
    token.cancel()
    for thread in threads:
        thread.join(20)
    assert outcomes == ["woken"] * 8


def test_a_signal_handler_may_cancel_whatever_it_interrupts() -> None:
    """If registering wakers took a lock, this test would hang sometimes."""
    tokens: list[CancelToken] = []

    def interrupt(*_: object) -> None:
        tokens[-1].cancel()

    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        for number in range(300):
            tokens.append(CancelToken())
            token = tokens[-1]
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002 + number * 1e-6)
            with contextlib.suppress(Cancelled):
                while True:
                    token.on_cancel(lambda: None)()
                    with token.child() as child:
                        child.sleep(0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert all(token.cancelled for token in tokens)


def test_a_joined_token_follows_each_of_its_parents_and_none_follows_it() -> None:
    for place in range(2):
        parents = CancelToken(), CancelToken()
        joined = JoinedToken(*parents)
        woken: list[int] = []
        joined.on_cancel(lambda seen=woken: seen.append(1))  # type: ignore[misc]
        parents[place].cancel()
        parents[1 - place].cancel()
        joined.cancel()
        assert woken == [1]
        with pytest.raises(Cancelled):
            joined.check()
    parent = CancelToken()
    JoinedToken(parent).cancel()
    assert not parent.cancelled


def test_a_joined_token_leaves_nothing_behind_in_its_parents() -> None:
    parent = CancelToken()
    joined = JoinedToken(parent, CancelToken())
    joined.sleep(0.001)
    with joined.child() as child:
        assert not child.cancelled
    assert not parent._wakers  # noqa: SLF001 - no call shows it


def test_a_sleep_with_a_joined_token_ends_with_any_parent() -> None:
    parents = CancelToken(), CancelToken()
    for parent in parents:
        threading.Timer(0.05, parent.cancel).start()
    with pytest.raises(Cancelled):
        JoinedToken(*parents).sleep(600)
