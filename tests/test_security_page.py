"""The limits in docs/security.md match the code, and none is missing."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import wherry

PACKAGE = Path(wherry.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "security.md"
ROW = re.compile(r"^\| [^|]+ \| ([\d,]+) ?(\w*) \| `(\S+)\.py` `([\w.]+)` \|$", re.MULTILINE)
UNITS = {"": 1, "KiB": 2**10, "Mi": 2**20, "MiB": 2**20, "GiB": 2**30, "s": 1, "hour": 3600}
LIMIT = re.compile(r"^(MAX_[A-Z_]+)(?:: Final)? = ", re.MULTILINE)
# Limits of user input and of messages; untrusted content does not reach them.
ELSEWHERE = {
    "config": {"MAX_EPOCH"},
    "model/convert": {"MAX_NESTING"},  # of documents; manifests have a lower limit
    "model/platform": {"MAX_DIGITS"},
    "model/reference": {"MAX_PATH", "MAX_PORT"},
    "model/schema1": {"MAX_DEPTH"},  # the limit of other manifests
    "model/strict_json": {"MAX_INTEGER", "MAX_KEY_SHOWN"},
    "model/tolerant": {"MAX_SHOWN"},
    "model/transfer_settings": {"MAX_SPLIT"},
    "model/v1": {"MAX_DEPTH"},  # the limit of configs
}
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def value_of(module: str, name: str) -> Any:
    """Return a constant or the default of a field."""
    found: Any = importlib.import_module("wherry." + module.replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)
        found = found() if isinstance(found, type) else found
    return found


@pytest.mark.parametrize(("number", "unit", "module", "name"), ROWS)
def test_figures_are_those_of_the_code(number: str, unit: str, module: str, name: str) -> None:
    assert int(number.replace(",", "")) * UNITS[unit] == value_of(module, name)


def test_no_limit_is_left_out() -> None:
    written = {(module, name) for _, _, module, name in ROWS}
    limits = {
        (str(path.relative_to(PACKAGE).with_suffix("")), name)
        for path in PACKAGE.rglob("*.py")
        for name in LIMIT.findall(path.read_text(encoding="utf-8"))
    }
    elsewhere = {(module, name) for module, names in ELSEWHERE.items() for name in names}
    assert limits - elsewhere - written == set()
    assert elsewhere <= limits


def test_the_page_has_rows() -> None:
    assert len(ROWS) == PAGE.read_text(encoding="utf-8").count(".py` `")
