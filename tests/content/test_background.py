"""Calls in the background: results, failures and cancellation."""

from __future__ import annotations

import threading

import pytest

from wherry.content.background import in_background
from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, NotFound


def test_every_wait_returns_the_result() -> None:
    with in_background(CancelToken(), lambda _: 7) as wait:
        assert (wait(), wait()) == (7, 7)


def test_waiting_raises_the_failure() -> None:
    def fail(_: CancelToken) -> None:
        raise NotFound("gone")

    with in_background(CancelToken(), fail) as wait, pytest.raises(NotFound, match="gone"):
        wait()


def test_a_call_without_a_wait_is_cancelled_and_its_failure_dropped() -> None:
    ended = threading.Event()

    def run(cancel: CancelToken) -> None:
        try:
            cancel.sleep(60)
        finally:
            ended.set()

    with in_background(CancelToken(), run):
        pass
    assert ended.wait(10)


def test_a_cancelled_parent_ends_the_call() -> None:
    token = CancelToken()
    with in_background(token, lambda cancel: cancel.sleep(60)) as wait:
        token.cancel()
        with pytest.raises(Cancelled):
            wait()
