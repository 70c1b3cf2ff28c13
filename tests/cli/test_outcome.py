"""Exit codes, and what happens if stdout is closed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE, OTHER
from wherry.testing import (
    Corrupt,
    FakeRegistry,
    Fault,
    FixedReply,
    build_index,
    refused_port,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["pull", "{host}/team/app:t"], 0),
        (["pull", "oci:x"], 2),
        (["pull", "Bad"], 2),
        (["pull", "{host}/team/app:none"], 3),
        (["pull", "--platform=linux/s390x", "{host}/index:t"], 3),
        (["pull", "{host}/denied:t"], 4),
        (["pull", "{host}/corrupt:t"], 5),
        (["pull", "--retries=1", "127.0.0.1:{port}/app"], 6),
        (["pull", "--retries=1", "{host}/limited:t"], 6),
        (["show", "nothing/like/it"], 3),
    ],
)
def test_exit_codes(
    wherry: Wherry, name: str, fake: FakeRegistry, arguments: list[str], code: int
) -> None:
    assert name
    platform = {"os": "linux", "architecture": "amd64"}
    fake.add_image("index", build_index([(IMAGE, platform)]), "t")
    fake.add_image("corrupt", OTHER, "t")
    fake.inject(Fault(Corrupt(at=9), path=OTHER.layers[0].digest))
    fake.inject(Fault(FixedReply(403), path="/v2/denied/"))
    fake.inject(Fault(FixedReply(429), path="/v2/limited/"))
    port = refused_port()
    done = wherry(*[part.format(host=fake.host, port=port) for part in arguments])
    assert done.returncode == code, done.stderr
    assert (done.stdout == "") == (code != 0)


def test_a_closed_pipe_is_not_an_error(wherry: Wherry, pulled: str) -> None:
    process = wherry.start("show", "--json", pulled)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(10) == 0
    assert errors == ""


def with_closed_stdout(wherry: Wherry, *arguments: str) -> tuple[int, str]:
    """Run `wherry … >&-`; return its exit code and stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "wherry", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=wherry.environment,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["save", "-q", "NAME"],
        ["pull", "-q", "NAME"],
        ["images"],
        ["images", "-q"],
        ["show", "NAME"],
        ["config", "NAME"],
        ["blob", "NAME", IMAGE.layers[0].digest],
        ["--version"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_result_with_closed_stdout_is_an_error(
    wherry: Wherry, pulled: str, arguments: list[str]
) -> None:
    given = [argument.replace("NAME", pulled) for argument in arguments]
    says = "wherry: cannot write the result: standard output is closed\n"
    assert with_closed_stdout(wherry, *given) == (1, says)


def test_a_command_without_a_result_needs_no_stdout(
    wherry: Wherry, pulled: str, tmp_path: Path
) -> None:
    assert with_closed_stdout(wherry, "tag", pulled, "mine:1") == (0, "")
    saved = tmp_path / "a.tar"
    assert with_closed_stdout(wherry, "save", "-q", "-o", str(saved), pulled) == (0, "")
    assert wherry("--store", str(tmp_path / "new"), "load", "-q", "-i", str(saved)).returncode == 0
