"""Exceptions raised by functions of the caller."""

import logging

import pytest

from wherry.content.log import Callback


def test_the_first_failure_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def fail(number: int) -> None:
        heard.append(number)
        raise ValueError(f"of the caller's own: {number}")

    callback = Callback("on_event", fail)
    with caplog.at_level(logging.ERROR, logger="wherry"):
        for number in range(3):
            callback(number)
    assert heard == [0, 1, 2]
    assert [(each.name, each.levelname) for each in caplog.records] == [("wherry", "ERROR")]
    assert "on_event raised an exception; later ones are not reported" in caplog.text
    assert "in fail" in caplog.text
    assert "ValueError: of the caller's own: 0" in caplog.text


def test_an_interrupt_is_not_a_failure() -> None:
    def interrupted(_number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Callback("on_event", interrupted)(1)
