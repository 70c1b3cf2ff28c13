"""What type checkers and programs learn of the public names."""

from __future__ import annotations

import subprocess
import sys
import typing
from pathlib import Path

import pytest

import wherry
from public_api import public
from wherry import types

PROJECT = Path(__file__).parents[2]


def test_all_annotations_can_be_read_when_a_program_runs() -> None:
    """`public_api.public` reads the annotations of all that it finds."""
    found = {item.__name__ for item in public()}
    assert set(wherry.__all__) <= found
    assert {"ImageConfig", "ValidationReport", "RemovalReport", "Exchange", "HostSettings"} <= found


def test_annotations_name_what_the_program_gets() -> None:
    hints = typing.get_type_hints(wherry.Client.pull)
    assert hints["return"] is wherry.Image
    assert hints["cancel"] == wherry.CancelToken | None
    assert typing.get_type_hints(wherry.Event)["digest"] == wherry.Digest | None
    assert typing.get_type_hints(wherry.Client.tags)["order"] == types.Order


def test_each_type_of_a_public_call_has_a_public_name() -> None:
    named = [getattr(wherry, name) for name in wherry.__all__]
    named += [getattr(types, name) for name in dir(types)]
    assert [item for item in public() if item not in named] == []
    with pytest.raises(AttributeError, match=r"module 'wherry.types' has no attribute 'Repord'"):
        _ = getattr(types, "Repord")  # noqa: B009 - type checkers refuse the plain form


TYPOS = """
import wherry
from wherry import types
wherry.pul("alpine")
wherry.Client().pul("alpine")
wherry.Client().tags("alpine", order="versions")
wherry.Digest.pars("x")
types.Repord
wherry.types.Repord
"""


def checked(text: str, directory: Path) -> list[str]:
    """Run mypy over a program and return its lines."""
    program = directory / "program.py"
    program.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return [line.rpartition("program.py:")[2] for line in done.stdout.splitlines()]


def test_a_type_checker_sees_misspelt_names(tmp_path: Path) -> None:
    found = checked(TYPOS, tmp_path)
    assert [line.partition(":")[0] for line in found if "error:" in line] == list("456789")
    assert 'Module has no attribute "pul"' in found[0]


CALLS = """
client, store, reference = wherry.Client(), wherry.Store("s"), wherry.Reference.parse("alpine")
reveal_type(wherry.pull(reference))
reveal_type(client.pull("alpine").layers[0])
reveal_type(client.inspect(wherry.Address.parse("alpine")))
reveal_type(client.history("alpine")[0].digest)
reveal_type(store.images()[0].created)
reveal_type(store.images()[0].platforms[0].normalized().variant)
reveal_type(store.gc())
"""
REVEALED = [
    "wherry.image.Image",
    "wherry.image.Layer",
    "wherry.model.inspection.Inspection",
    "wherry.model.digest.Digest | None",
    "datetime.datetime | None",
    "str",
    "wherry.store.gc.GarbageReport",
]


def test_a_type_checker_sees_every_public_name(tmp_path: Path) -> None:
    names = [f"wherry.{name}" for name in wherry.__all__ if name != "pull"]
    names += [f"wherry.types.{name}" for name in vars(types)["_HOMES"]]
    uses = [f"def use{n}(it: {name}) -> {name}: return it" for n, name in enumerate(names)]
    found = checked("\n".join(["import wherry", *uses, CALLS]), tmp_path)
    assert [line for line in found if "error:" in line] == []
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in found]
    assert [kind.replace("builtins.", "") for kind in revealed if kind] == REVEALED
