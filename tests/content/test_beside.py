"""Something done beside something else: its result, its failure, its end."""

from __future__ import annotations

import threading

import pytest

from wherry.content.background import in_background
from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, NotFound


def test_the_result_is_there_for_whoever_waits_however_often() -> None:
    with in_background(CancelToken(), lambda _: 7) as wait:
        assert (wait(), wait()) == (7, 7)


def test_a_failure_is_raised_where_somebody_waits() -> None:
    def fail(_: CancelToken) -> None:
        raise NotFound("gone")

    with in_background(CancelToken(), fail) as wait, pytest.raises(NotFound, match="gone"):
        wait()


def test_what_nobody_waits_for_is_cancelled_and_its_failure_not_raised() -> None:
    ended = threading.Event()

    def run(cancel: CancelToken) -> None:
        try:
            cancel.sleep(60)
        finally:
            ended.set()

    with in_background(CancelToken(), run):
        pass
    assert ended.wait(10)


def test_cancelling_the_whole_ends_both() -> None:
    token = CancelToken()
    with in_background(token, lambda cancel: cancel.sleep(60)) as wait:
        token.cancel()
        with pytest.raises(Cancelled):
            wait()
