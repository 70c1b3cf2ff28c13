"""The tests that run as an ordinary user too (scripts/test-as-user)."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SCRIPT = PROJECT / "scripts" / "test-as-user"
# Modules that need root for a test, and otherwise do not depend on the user.
ROOT_ALONE = {"tests/attack/test_durability.py"}


def listed(variable: str) -> list[str]:
    form = rf'^{variable}="\n(.*?)^"'
    found = re.search(form, SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1).split()


def test_the_listed_tests_exist() -> None:
    names = listed("tests") + listed("left_out")
    assert [name for name in names if not (PROJECT / name).exists()] == []


def test_modules_that_ask_for_the_user_are_listed() -> None:
    asking = {
        str(module.relative_to(PROJECT))
        for module in (PROJECT / "tests").rglob("test_*.py")
        if re.search(r"\bos\.gete?uid\(", module.read_text())
    }
    places = tuple(name if name.endswith(".py") else f"{name}/" for name in listed("tests"))
    missing = {name for name in asking if not name.startswith(places)}
    assert missing | asking & set(listed("left_out")) == ROOT_ALONE
