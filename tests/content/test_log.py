import logging
import subprocess
import sys

import pytest

from dray.content.log import note_failure


def test_a_failure_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture):
    def fail() -> None:
        raise ValueError("of the caller's own")

    with caplog.at_level(logging.ERROR, logger="dray"):
        for number in range(2):
            try:
                fail()
            except ValueError as error:
                note_failure(error, "the listener failed on %s", number)
    said = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("dray", "ERROR", f"the listener failed on {number}") for number in range(2)]
    assert "in fail" in caplog.text
    assert "ValueError: of the caller's own" in caplog.text


ALONE = """
import sys
from dray.content.log import note_failure
assert "logging" not in sys.modules
note_failure(ValueError("nobody asked"), "it failed")
assert "logging" in sys.modules
{more}
"""
ASKED = "import logging; logging.basicConfig(); note_failure(ValueError('x'), 'told %s', 'now')"


def test_nothing_is_printed_unless_it_is_asked_for():
    for more, said in (("", ""), (ASKED, "ERROR:dray:told now\nValueError: x\n")):
        done = subprocess.run(
            [sys.executable, "-c", ALONE.format(more=more)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stderr == said
        assert not done.stdout
