"""Commands and options of other tools lead to the right advice, or to none."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

import click
import pytest

from wherry.cli import hints
from wherry.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Wherry

VERIFY = "  --insecure turns off certificate verification, and allows plain HTTP"
PLATFORM = "  --platform OS/ARCH selects another image"
ANONYMOUS = "  --authfile with a file that contains {} sends no credentials"
SIGNATURES = "  image signatures are not made: leave out the option"
COPIES = "  only --referrers copies signatures, none are made: leave it out"
PACKING = "  --compression gzip[:LEVEL], zstd[:LEVEL] or none packs the layers anew"
CREDS = "  pass credentials with --creds USER:PASSWORD, or store them with `wherry login`"


def error_lines(wherry: Wherry, *arguments: str) -> list[str]:
    """Return the lines of a usage error, without the last one, which names the help."""
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 1 or re.fullmatch(r"  see `wherry.* --help`", lines[-1])
    return lines[:-1] if len(lines) > 1 else lines


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["pull", "--tls-verify=false", "x"], VERIFY),
        (["pull", "--tls-verify", "false", "x"], VERIFY),
        (["save", "--src-tls-verify=false", "x"], VERIFY),
        (["tags", "--dest-tls-verify=false", "x"], VERIFY),
        (["login", "--tls-verify=false", "x"], VERIFY),
        (["pull", "--plain-http", "x"], VERIFY),
        (["pull", "-k", "x"], VERIFY),
        (["--tls-verify=false", "pull", "x"], f"{VERIFY}, after the command"),
        (["inspect", "--override-arch", "arm64", "x"], PLATFORM),
        (["pull", "--override-os=linux", "x"], PLATFORM),
        (["--override-arch", "arm64", "inspect", "x"], f"{PLATFORM}, after the command"),
        (["pull", "--src-creds", "a:b", "x"], CREDS),
        (["inspect", "-u", "a", "x"], CREDS),
        (["login", "-p", "secret", "x"], "  --password-stdin reads it from a pipe"),
        (["inspect", "-a", "x"], "  --all-platforms selects all images of an index"),
        (["logout", "-a"], "  write it in full: --all"),
        (["images", "--all"], "  all images are listed without this option"),
        (["images", "--no-trunc"], "  --json prints everything in full"),
        (["pull", "--retry-times", "3", "x"], "  --retries N sets the number of attempts"),
        (["pull", "--root", "x", "y"],
         "  --store DIR sets the store directory, before the command"),
        (["pull", "--store", "x", "y"], "  --store goes before the command: wherry --store …"),
        (["--platform", "linux", "pull", "x"],
         "  --platform goes after the command: wherry COMMAND --platform"),
        (["pull", "--platfrom", "linux", "x"], "  did you mean --platform?"),
        (["pull", "--no-verify-layer", "x"], "  did you mean --no-verify-layers?"),
        (["pull", "--no-tls", "x"], VERIFY),
        (["pull", "--no-creds", "x"], ANONYMOUS),
        (["inspect", "--src-no-creds", "x"], ANONYMOUS),
        (["pull", "--remove-signatures", "x"], SIGNATURES),
        (["save", "--sign-by", "x"], SIGNATURES),
        (["copy", "--remove-signatures", "x", "y"], COPIES),
        (["copy", "--all", "x", "y"], "  --all-platforms selects all images of an index"),
        (["copy", "--dest-compress-format", "zstd", "x", "y"], PACKING),
        (["push", "--compression-level", "9", "x"], PACKING),
        (["copy", "--src-tls-verify=false", "x", "y"], VERIFY),
        (["copy", "-r", "x", "y"], "  --referrers copies signatures and SBOMs"),
        (["inspect", "--no-tag", "x"], "  did you mean --no-tags?"),
        (["manifest", "inspect", "x"],
         "  `wherry manifest` takes only the name: wherry manifest x"),
        (["tags", "ls", "x"], "  `wherry tags` takes only the name: wherry tags x"),
    ],
)  # fmt: skip
def test_an_option_of_another_tool(wherry: Wherry, arguments: list[str], hint: str) -> None:
    first, *rest = error_lines(wherry, *arguments)
    assert rest == [hint]
    assert "secret" not in first + hint


@pytest.mark.parametrize(
    "arguments",
    [
        ["df", "--tls-verify=false"],  # contacts no registry
        ["logout", "--tls-verify", "x"],
        ["pull", "--verify", "x"],
        ["pull", "--no-progress", "x"],
        ["pull", "--verify-layers", "x"],
        ["history", "--no-prune", "x"],
        ["import", "--no-config", "x"],
        ["tags", "--all", "x"],
        ["gc", "-x"],
        ["pull", "--frobnicate", "x"],
        ["tags", "a", "b"],
    ],
)
def test_no_advice_for_unknown_options(wherry: Wherry, arguments: list[str]) -> None:
    assert len(error_lines(wherry, *arguments)) == 1


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["list"], "wherry images"),
        (["ls"], "wherry tags NAME"),
        (["repos", "x"], "wherry catalog HOST"),
        (["prune"], "wherry gc"),
        (["rmi", "x"], "wherry rm"),
        (["remove", "x"], "wherry delete"),
        (["extract", "x"], "wherry unpack"),
        (["image", "ls"], "wherry images"),
        (["image", "rm", "x"], "wherry rm"),
        (["image", "inspect", "x"], "wherry show"),
        (["image", "prune"], "wherry gc"),
        (["system", "df"], "wherry df"),
        (["search", "x"], "wherry catalog HOST"),
        (["list-tags", "x"], "wherry tags NAME"),
        (["build", "."], "wherry import"),
        (["run", "x"], "no containers"),
        (["ps", "-a"], "no containers"),
        (["upload", "x"], "wherry push"),
        (["sync", "x", "y"], "wherry copy"),
        (["cp", "x", "y"], "wherry copy"),
        (["auth", "login"], "wherry login"),
        (["pul", "x"], "did you mean 'pull'?"),
        (["Inspect", "x"], "did you mean 'inspect'?"),
        (["frobnicate"], "see `wherry --help`"),
        (["help", "frobnicate"], "see `wherry --help`"),
    ],
)
def test_a_command_of_another_tool(wherry: Wherry, arguments: list[str], command: str) -> None:
    word = arguments[1] if arguments[0] == "help" else arguments[0]
    (line,) = error_lines(wherry, *arguments)
    assert line.startswith(f"wherry: there is no command {word!r}; ")
    assert command in line


def test_version_and_help_as_commands(wherry: Wherry) -> None:
    assert wherry("version").stdout == wherry("--version").stdout
    assert wherry("help").stdout == wherry("--help").stdout
    assert wherry("-v", "help", "pull").stdout == wherry("pull", "--help").stdout
    assert wherry("help", "help").stdout == wherry("--help").stdout


# Hints name only existing commands and options


def commands() -> Iterator[click.Command]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield command


def test_hints_name_existing_commands_and_options() -> None:
    source = importlib.import_module("inspect").getsource(hints)
    known = {command.name for command in commands()}
    assert set(re.findall(r"`wherry ([a-z][a-z-]*)", source)) <= known
    options = {name for each in (cli, *commands()) for param in each.params for name in param.opts}
    assert {hint.needs for hint in hints.OPTIONS} <= {"", *options}
    assert set(hints.BEHIND) <= options
    assert set(hints.SECOND.values()) <= known


def test_commands_in_hints_do_not_exist_in_wherry() -> None:
    known = {command.name for command in commands()} | {"help", "version"}
    words = {word for group in hints.COMMANDS for word in group.split()}
    assert not known & (words | hints.GROUPS)
