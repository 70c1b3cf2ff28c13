"""Print a table of the attacks, one row for each module.

The first line of a module's docstring names its row. A test counts as one try, unless it records
more: `record_property("tries", 300)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
KIND = "attack"  # the property of a report that names the kind of its test
TRIES = "tries"


@dataclass
class Row:
    """Tries of one kind of attack: all, those without harm, and tests that did not run."""

    tries: int = 0
    held: int = 0
    skipped: int = 0

    def add(self, report: pytest.TestReport) -> None:
        """Count one finished test."""
        tries = sum(int(str(value)) for name, value in report.user_properties if name == TRIES) or 1
        if report.skipped:
            self.skipped += 1
            return
        self.tries += tries
        self.held += tries * report.passed


def kind_of(item: pytest.Item) -> str:
    """Return the first line of the module's docstring, without its full stop."""
    module = item.getparent(pytest.Module)
    text = (module.obj.__doc__ or "").strip() if module else ""
    return text.splitlines()[0].rstrip(".") if text else item.path.stem


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the kind of each test to its reports, which worker processes send back."""
    for item in items:
        if str(item.path).startswith(f"{HERE}/"):
            item.user_properties.append((KIND, kind_of(item)))


def rows_of(reports: Iterable[object]) -> dict[str, Row]:
    """Count the reports of finished tests by kind."""
    rows: dict[str, Row] = {}
    for report in reports:
        if isinstance(report, pytest.TestReport) and is_result(report):
            kinds = [str(value) for name, value in report.user_properties if name == KIND]
            for kind in kinds:
                rows.setdefault(kind, Row()).add(report)
    return rows


def is_result(report: pytest.TestReport) -> bool:
    """Return whether this report decides its test: a call, or a failed set-up."""
    return report.when == "call" or (report.when == "setup" and not report.passed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    stats = terminalreporter.stats
    rows = rows_of(
        report for outcome in ("passed", "failed", "error", "skipped")
        for report in stats.get(outcome, [])
    )  # fmt: skip
    if not rows:
        return
    width = max(len(kind) for kind in ["attack", *rows])
    terminalreporter.section("attacks")
    terminalreporter.line(f"{'attack':{width}}  tries   held")
    for kind, row in sorted(rows.items()):
        note = f"  ({row.skipped} not run)" if row.skipped else ""
        failed = "" if row.held == row.tries else "  FAILED"
        terminalreporter.line(f"{kind:{width}}  {row.tries:5}  {row.held:5}{failed}{note}")
