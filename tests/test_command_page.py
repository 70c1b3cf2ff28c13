"""docs/command.md describes every command, and docs/configuration.md every variable."""

import re
from pathlib import Path

import click

from wherry.cli.exit_codes import BY_ERROR, DONE, FAILED
from wherry.cli.main import cli

ROOT = Path(__file__).parent.parent
COMMAND = (ROOT / "docs" / "command.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def test_every_command_has_a_section_with_an_example() -> None:
    sections = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", COMMAND, re.MULTILINE | re.DOTALL)
    found = {name: text for names, text in sections for name in names.split(", ")}
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert f"$ wherry {name}" in found[name], name


def test_every_exit_code_is_in_the_table() -> None:
    table = set(map(int, re.findall(r"^\| (\d+) \|", COMMAND, re.MULTILINE)))
    assert table == {DONE, FAILED, *(code for _, code in BY_ERROR)}


def test_every_variable_is_in_the_table() -> None:
    source = (ROOT / "src" / "wherry" / "config.py").read_text()
    variables = set(re.findall(r"\bWHERRY_[A-Z0-9]+\b", source))
    assert variables
    assert {name for name in variables if name not in CONFIGURATION} == set()
