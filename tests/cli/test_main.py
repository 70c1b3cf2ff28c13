"""Global options, help, usage errors and the store directory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import wherry as library
from command_images import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wherry
    from wherry.testing import (
        FakeRegistry,
    )

COMMANDS = (
    *("pull", "inspect", "tags", "digest", "manifest", "config", "blob", "referrers", "history"),
    *("validate", "images", "show", "tag", "untag", "rm", "df", "gc", "fsck", "save", "load"),
    *("import", "login", "logout", "why"),
)


def test_version(wherry: Wherry) -> None:
    done = wherry("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wherry {library.__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_fits_a_screen(wherry: Wherry, option: str) -> None:
    done = wherry(option, env={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert set(COMMANDS) <= set(done.stdout.partition("Commands:")[2].split())
    assert "130" in done.stdout


def test_help_on_a_high_screen_describes_each_command(wherry: Wherry) -> None:
    lines = wherry("--help", env={"COLUMNS": "80", "LINES": "60"}).stdout.splitlines()
    listed = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert all(listed[command] for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(wherry: Wherry, command: str) -> None:
    done = wherry(command, "--help", env={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    _, found, examples = done.stdout.partition("Examples:\n")
    assert found
    shown = [line.strip() for line in examples.splitlines() if line.strip()]
    assert shown
    assert all(f"wherry {command}" in line for line in shown)


def test_pull_help_names_every_option(wherry: Wherry) -> None:
    text = wherry("pull", "--help").stdout
    options = "all-tags platform quiet progress creds authfile insecure jobs timeout retries"
    for option in [*options.split(), "no-verify-layers"]:
        assert f"--{option}" in text


def test_no_arguments_print_the_usage(wherry: Wherry) -> None:
    done = wherry()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: wherry ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pul", "x"], "did you mean 'pull'?"),
        (["nonsense"], "no command 'nonsense'"),
        (["pull"], "Missing argument"),
        (["pull", "--none", "x"], "--none"),
        (["pull", "--jobs=0", "x"], "--jobs"),
        (["pull", "--retries=0", "x"], "--retries"),
        (["pull", "--timeout=0", "x"], "--timeout"),
        (["pull", "--timeout=-1", "x"], "--timeout"),
        (["pull", "--progress=loud", "x"], "--progress"),
        (["pull", "--authfile=/no/such/file", "x"], "/no/such/file"),
        (["pull", "--platform=a/b/c/d", "127.0.0.1:1/x"], "invalid platform"),
        (["pull", "--platform=linux/", "127.0.0.1:1/x"], "invalid platform"),
        (["pull", "--platform=", "127.0.0.1:1/x"], "invalid platform: it is empty"),
        (["pull", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["inspect", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["tags", "http://127.0.0.1:1/x"], "names are written without http://"),
        (["history", "http://127.0.0.1:1/x"], "names are written without http://"),
        (["save", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["show", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["images", "pattern", "extra"], "extra"),
        (["show"], "Missing argument"),
        (["show", "a", "--digests"], "--digests"),
        (["show", "Upper"], "lower-case"),
        (["--nothing"], "--nothing"),
        (["load", "out/x.tar"], "name the archive with an option: -i out/x.tar"),
        (["export", "app", "x.tar"], "name the file with an option: -o x.tar"),
        (["unpack", "--cache", "link", "app", "root"], "write --cache=link as one word"),
        (["unpack", "--cache", "app", "root", "x"], "unexpected extra argument (x)"),
        (["images", "--store", "x"], "--store"),
    ],
)
def test_usage_errors_exit_with_2(wherry: Wherry, arguments: list[str], says: str) -> None:
    done = wherry(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    first, *below = done.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert says in first
    assert all(line.startswith("  ") for line in below)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["pull", ""], ["inspect", ""], ["show", ""], ["pull", "--platform=", "x"]),
        *(["inspect", "--platform=", "x"], ["load", "--platform=", "-i", "x"]),
    ],
)
def test_an_empty_value_has_no_caret(wherry: Wherry, arguments: list[str]) -> None:
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("wherry: invalid ")


def test_a_caret_in_a_list_of_platforms(wherry: Wherry) -> None:
    done = wherry("pull", "--platform", "linux/amd64,", "127.0.0.1:1/x")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == ["  linux/amd64,", f"  {' ' * 12}^"]


@pytest.mark.parametrize("option", ["--store", "-v", "--debug"])
def test_a_global_option_after_the_command(wherry: Wherry, option: str) -> None:
    done = wherry("images", option, "x")
    assert f"  {option} goes before the command: wherry {option} …\n" in done.stderr
    assert "goes before" not in wherry("images", "--none").stderr


@pytest.mark.parametrize("address", ["oci:/x", "dir:/x", "docker-archive:/x", "oci-archive:/x"])
def test_pull_refuses_other_addresses(wherry: Wherry, address: str) -> None:
    done = wherry("pull", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"wherry: {address}: ")


def test_a_completion_script(wherry: Wherry) -> None:
    done = wherry(env={"_WHERRY_COMPLETE": "bash_source"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete " in done.stdout


def test_verbose_shows_requests(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    done = wherry("-v", "pull", name)
    assert done.stdout == f"{IMAGE.id}\n"
    shown = [line.split() for line in done.stderr.splitlines() if line.startswith("> ")]
    assert sorted((method, url, status) for _, method, url, status, *_ in shown) == sorted(
        (request.method, fake.url + request.path, str(request.status)) for request in fake.requests
    )
    assert all(line[-1] == "ms" for line in shown)


def test_debug_prints_a_traceback(wherry: Wherry, name: str) -> None:
    missing = name.replace(":t", ":none")
    plain, debug = wherry("pull", missing), wherry("--debug", "pull", missing)
    assert plain.returncode == debug.returncode == 3
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert debug.stderr.endswith(plain.stderr)


def test_the_store_directory(wherry: Wherry, name: str, tmp_path: Path) -> None:
    places = {
        "option": (["--store", str(tmp_path / "option")], {}),
        "variable": ([], {"WHERRY_STORE": str(tmp_path / "variable")}),
        "data/wherry": ([], {"WHERRY_STORE": "", "XDG_DATA_HOME": str(tmp_path / "data")}),
        "alone/.local/share/wherry": (
            [],
            {"WHERRY_STORE": "", "XDG_DATA_HOME": "", "HOME": str(tmp_path / "alone")},
        ),
    }
    for place, (options, env) in places.items():
        assert not (tmp_path / place).exists()
        assert wherry(*options, "pull", name, env=env).returncode == 0
        assert wherry(*options, "images", "-q", env=env).stdout == f"{IMAGE.id}\n"
        with_blobs = library.Store(tmp_path / place)
        assert str(with_blobs.get(name).id) == IMAGE.id
        with_blobs.close()


def test_a_file_in_place_of_the_store(
    wherry: Wherry, name: str, tmp_path: Path, fake: FakeRegistry
) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    done = wherry("--store", str(file / "store"), "pull", "-q", name)
    assert (done.returncode, done.stdout) == (1, "")
    first, *hints = done.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert str(file) in first
    assert all(hint.startswith("  ") for hint in hints)
    assert file.read_text() == "a file"
    assert fake.requests == []  # the store is checked before anything is fetched
    assert wherry("--store", str(file), "pull", name).returncode == 2


@pytest.mark.parametrize("arguments", [("import", "-", "x:1"), ("load",), ("load", "-i", "-")])
def test_closed_stdin_is_not_an_archive(wherry: Wherry, arguments: tuple[str, ...]) -> None:
    command = f"{shlex.join([sys.executable, '-m', 'wherry', *arguments])} <&-"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=wherry.environment, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: standard input is closed")
    assert wherry("images", "-q").stdout == ""


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory without write permission."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o555)
    yield directory
    directory.chmod(0o755)


def test_an_unwritable_store(wherry: Wherry, name: str, closed: Path) -> None:
    for place in (closed, closed / "store"):
        done = wherry("--store", str(place), "pull", "-q", name)
        assert (done.returncode, done.stdout) == (1, "")
        first, *hints = done.stderr.splitlines()
        assert str(closed) in first
        assert any("--store" in hint for hint in hints)


def test_an_invalid_database(wherry: Wherry, name: str, tmp_path: Path) -> None:
    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "wherry.db").write_text("this is no database" * 100)
    for arguments in (["images"], ["show", "x"], ["pull", "-q", name]):
        done = wherry("--store", str(directory), *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("wherry: ")
        assert "wherry.db" in done.stderr.splitlines()[0]
