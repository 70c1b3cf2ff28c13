"""Shell completion, by the protocol of click and in bash."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.image_store import local_store
from wherry.testing import tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry

NAMES = ("alpine:3.20", "alpine:edge", "ghcr.io/acme/app:2", "localhost:5000/acme/app:1.4.2")


@pytest.fixture
def names(client: library.Client, store: library.Store) -> tuple[str, ...]:
    for name in NAMES:
        client.import_(io.BytesIO(tar_layer({name.replace("/", "-"): b"x"})), name)
    store.close()
    return NAMES


def offered(wherry: Wherry, *words: str, shell: str = "bash", **env: str) -> list[str]:
    """Return the completions of the last word."""
    shown = {"COMP_WORDS": " ".join(["wherry", *words]), "COMP_CWORD": str(len(words))}
    done = wherry(env=shown | {"_WHERRY_COMPLETE": f"{shell}_complete"} | env)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.removeprefix("plain,") for line in done.stdout.split()]


def test_names_with_the_prefix(wherry: Wherry, names: tuple[str, ...]) -> None:
    assert offered(wherry, "rm", "") == list(names)
    assert offered(wherry, "rm", "alpine:3") == ["alpine:3.20"]
    assert offered(wherry, "rm", "localhost:5000/a") == ["localhost:5000/acme/app:1.4.2"]
    assert offered(wherry, "rm", "docker.io/l") == [
        "docker.io/library/alpine:3.20",
        "docker.io/library/alpine:edge",
    ]
    assert offered(wherry, "rm", "store:g") == ["store:ghcr.io/acme/app:2"]
    assert offered(wherry, "rm", "nothing") == []


@pytest.mark.parametrize(
    "words",
    [
        *([command] for command in ("images", "show", "tag", "untag", "rm", "save", "history")),
        ["push"],
        ["push", "alpine:3.20"],
        ["rm", "other"],
        ["tag", "alpine:3.20"],
        ["import", "--parent"],
        ["save", "-q", "-o", "file"],
    ],
    ids=" ".join,
)
def test_names_of_the_store(wherry: Wherry, names: tuple[str, ...], words: list[str]) -> None:
    assert names
    assert offered(wherry, *words, "al") == ["alpine:3.20", "alpine:edge"]


@pytest.mark.parametrize(
    "command", ["inspect", "digest", "manifest", "config", "blob", "referrers", "validate", "copy"]
)
def test_store_names_for_arguments_that_mean_a_registry(
    wherry: Wherry, names: tuple[str, ...], command: str
) -> None:
    assert names
    assert offered(wherry, command, "al") == []
    assert offered(wherry, command, "st") == ["store:"]
    assert offered(wherry, command, "store:al") == ["store:alpine:3.20", "store:alpine:edge"]


def test_names_with_a_digest_after_an_at_sign(wherry: Wherry, store: library.Store) -> None:
    with library.Client(store=store) as client:
        image = client.import_(io.BytesIO(tar_layer({"a": b"x"})), "app:1")
    by_digest = f"other@{image.digest}"
    local_store(store).pin(library.Reference.parse(by_digest), image.digest, image.record.manifest)
    store.close()
    assert offered(wherry, "rm", "other") == []
    assert offered(wherry, "rm", "other@") == [by_digest]
    assert offered(wherry, "rm", "") == ["app:1"]


def test_another_store(
    wherry: Wherry, names: tuple[str, ...], store: library.Store, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    assert offered(wherry, "--store", str(nowhere), "rm", "") == []
    assert not nowhere.exists()
    elsewhere = {"WHERRY_STORE": str(nowhere)}
    assert offered(wherry, "--store", str(store.path), "rm", "", **elsewhere) == list(names)


@pytest.mark.parametrize("state", ["a file", "damaged", "of a newer version"])
def test_errors_are_not_printed(
    wherry: Wherry, names: tuple[str, ...], store: library.Store, state: str
) -> None:
    assert names
    database = store.path / "wherry.db"
    if state == "damaged":
        database.write_bytes(b"no database at all")
    elif state == "of a newer version":
        raw = bytearray(database.read_bytes())
        raw[60:64] = (999).to_bytes(4, "big")  # user_version in SQLite's file format
        database.write_bytes(raw)
    path = database if state == "a file" else store.path
    assert offered(wherry, "rm", "al", WHERRY_STORE=str(path)) == []


def test_an_unknown_command(wherry: Wherry) -> None:
    assert offered(wherry, "nosuch", "al") == []


@pytest.mark.parametrize(("shell", "word"), [("zsh", "2"), ("fish", "alpine:e")])
def test_other_shells(wherry: Wherry, names: tuple[str, ...], shell: str, word: str) -> None:
    assert names
    assert "alpine:edge" in offered(wherry, "rm", "alpine:e", shell=shell, COMP_CWORD=word)


# In bash, as `eval "$(_WHERRY_COMPLETE=bash_source wherry)"` sets it up

BASH = """
eval "$(_WHERRY_COMPLETE=bash_source wherry)"
function_name=$(complete -p wherry | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_LINE=$1
shift
COMP_POINT=${#COMP_LINE} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() { :; }
"$function_name" wherry
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def bash(wherry: Wherry, tmp_path: Path) -> Callable[..., list[str]]:
    """Return the completions in bash for a line, and for the words that bash splits it into."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "wherry").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wherry "$@"\n')
    (programs / "wherry").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def run(line: str, *words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", BASH, "bash", line, *words],
            env=wherry.environment | {"PATH": path},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return run


def test_bash_splits_words_at_colons(
    bash: Callable[..., list[str]], names: tuple[str, ...]
) -> None:
    assert bash("wherry rm ", "wherry", "rm", "") == list(names)
    assert bash("wherry rm al", "wherry", "rm", "al") == ["alpine:3.20", "alpine:edge"]
    # bash expects only the part of each completion after the last colon.
    assert bash("wherry rm alpine:", "wherry", "rm", "alpine", ":") == ["3.20", "edge"]
    assert bash("wherry rm alpine:3", "wherry", "rm", "alpine", ":", "3") == ["3.20"]
    host = ("wherry", "rm", "localhost", ":", "5000/a")
    assert bash("wherry rm localhost:5000/a", *host) == ["5000/acme/app:1.4.2"]
    words = ("wherry", "inspect", "--no-tags", "store", ":", "al")
    assert bash("wherry inspect --no-tags store:al", *words) == ["alpine:3.20", "alpine:edge"]
    assert bash("wherry show x:1 al", "wherry", "show", "x", ":", "1", "al") == [
        "alpine:3.20",
        "alpine:edge",
    ]
    assert bash("wherry unt", "wherry", "unt") == ["untag"]
