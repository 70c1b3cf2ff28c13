"""Run the short form of the fault battery; `make faults` prints its table."""

from __future__ import annotations

import pytest

from battery import SECTIONS

REAL = {"proxy", "kill", "push", "copy"}  # sections with a real registry


@pytest.mark.timeout(300)  # the kills take two minutes on a busy machine
@pytest.mark.parametrize(
    "section",
    [
        pytest.param(
            name, marks=[pytest.mark.peer] if name in {"proxy", "kill", "push", "copy"} else []
        )
        for name in SECTIONS
    ],
)
@pytest.mark.usefixtures("environment")
def test_nothing_is_lost_whatever_happens(section: str) -> None:
    rows = SECTIONS[section](1, long=False)
    assert [problem for row in rows for problem in row.problems] == []
    assert all(row.survived == row.tried > 0 for row in rows)
