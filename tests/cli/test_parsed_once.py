"""A name on the command line is parsed exactly once on its way to the socket."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("environment")

# Runs the command, and writes down each text that the parsers of references and of addresses
# are called with, in any thread.
PROGRAM = """
import inspect, sys, threading
from wherry.model import address, reference

parsers = {
    reference._ReferenceParser.parse.__code__: lambda found: found["self"].text,
    inspect.unwrap(address.Address.parse.__func__).__code__: lambda found: found["text"],
}
log = open(sys.argv[1], "a", buffering=1)

def profile(frame, event, _argument):
    if event == "call" and frame.f_code in parsers:
        parser = frame.f_code.co_qualname if sys.version_info >= (3, 11) else ""
        log.write(f"{parser.partition('.')[0]} {parsers[frame.f_code](frame.f_locals)}\\n")

sys.setprofile(profile)
threading.setprofile(profile)
from wherry.cli.main import main
main(sys.argv[2:])
"""
CALLS = {
    "pull": ("pull", "-q", "NAME"),
    "pull, all tags": ("pull", "-q", "--all-tags", "REPOSITORY"),
    "inspect": ("inspect", "NAME"),
    "inspect, with docker://": ("inspect", "docker://NAME"),
    "digest": ("digest", "NAME"),
    "tags": ("tags", "REPOSITORY"),
    "validate": ("validate", "NAME"),
    "why": ("why", "NAME"),
    "history, in the registry": ("history", "NAME"),
    "history, in the store": ("history", "STORED"),
    "save, from the registry": ("save", "-o", "FILE", "docker://NAME"),
    "save, from the store": ("save", "-o", "FILE", "STORED"),
    "show": ("show", "STORED"),
    "tag": ("tag", "STORED", "other:1"),
    "rm": ("rm", "STORED"),
    "untag": ("untag", "store:STORED"),
}


def run(log: Path, *arguments: str) -> list[str]:
    """Run the command and return the lines of its log."""
    command = [sys.executable, "-c", PROGRAM, str(log), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines()


@pytest.mark.parametrize("arguments", CALLS.values(), ids=CALLS.keys())
def test_a_name_is_parsed_once(
    fake: FakeRegistry, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    fake.add_image("team/app", build_image([tar_layer({"a": b"x"})]), "t")
    store = ("--store", str(tmp_path / "store"))
    words = {
        "REPOSITORY": f"{fake.host}/team/app",
        "NAME": f"{fake.host}/team/app:t",
        "STORED": "kept/app:t",
        "FILE": str(tmp_path / "a.tar"),
    }
    if any("STORED" in argument for argument in arguments):
        run(tmp_path / "before", *store, "pull", "-q", words["NAME"])
        run(tmp_path / "before", *store, "tag", words["NAME"], words["STORED"])
    given = list(arguments)
    for word, text in words.items():
        given = [argument.replace(word, text) for argument in given]
    lines = run(tmp_path / "log", *store, *given)
    typed = [line.split() for line in lines if "/app" in line]
    assert sorted(parser for parser, _ in typed) == ["Address", "_ReferenceParser"], lines
