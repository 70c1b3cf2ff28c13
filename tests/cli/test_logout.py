"""``wherry logout``."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from auth_files import entry, write_file
from wherry.testing import (
    build_image,
    tar_layer,
)

IMAGE = build_image([tar_layer({"a": b"1"})])
PASSWORD = 'p:w "\\\u00e9'
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_logout_removes_every_name_of_docker_hub(wherry: Run, auth_file: Path) -> None:
    names = ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"]
    write_file(auth_file, {"auths": {name: entry("me", "x") for name in [*names, "other.io"]}})
    done = wherry("logout")
    assert done.returncode == 0
    assert done.stderr == f"Logged out of docker.io: removed from {auth_file}\n"
    assert set(json.loads(auth_file.read_text())["auths"]) == {"other.io"}


def test_logout_without_credentials(wherry: Run, auth_file: Path) -> None:
    done = wherry("logout", "h.example")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "wherry: h.example: not logged in\n"
    assert not auth_file.parent.exists()


def test_logout_names_files_that_still_have_credentials(
    wherry: Run, environment: dict[str, str], auth_file: Path
) -> None:
    docker = Path(environment["HOME"]) / ".docker" / "config.json"
    write_file(docker, {"auths": {"h.example": entry("me", "x")}})
    write_file(auth_file, {"auths": {"h.example": entry("me", "x")}})
    done = wherry("logout", "h.example")
    assert done.returncode == 0
    assert f"removed from {auth_file}" in done.stderr
    assert f"still in {docker}" in done.stderr
    assert "h.example" in json.loads(docker.read_text())["auths"]
    assert wherry("logout", f"--authfile={docker}", "h.example").returncode == 0
    assert json.loads(docker.read_text())["auths"] == {}


def test_logout_of_all(wherry: Run, auth_file: Path, helper: Path) -> None:
    helper.mkdir()
    (helper / "helped.example").write_text("{}")
    content = {
        "auths": {"h.example": entry("me", "x"), "https://i.example/v1/": {}},
        "credHelpers": {"helped.example": "box"},
        "more": 1,
    }
    write_file(auth_file, content)
    done = wherry("logout", "--all")
    assert done.returncode == 0
    assert done.stderr == "Logged out of h.example, helped.example, i.example\n"
    assert json.loads(auth_file.read_text()) == content | {"auths": {}}
    assert list(helper.iterdir()) == []
    assert wherry("logout", "--all").returncode == 1


HAS_NOTHING = [
    "credentials not found in native keychain",
    "Error: no credentials for h.example",
    "The specified item could not be found in the keychain.",
]


@pytest.mark.parametrize("words", HAS_NOTHING)
@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_logout_with_a_helper_that_has_no_credentials(
    wherry: Run, auth_file: Path, environment: dict[str, str], helper_program: Callable[..., Path],
    words: str, key: str,
) -> None:  # fmt: skip
    """Docker's helpers fail then. The entry of the file is removed anyway."""
    helper_program("empty", f"#!/bin/sh\ncat >/dev/null\necho '{words}'\nexit 1")
    environment["PATH"] = os.environ["PATH"]
    docker = Path(environment["HOME"]) / ".docker" / "config.json"
    write_file(docker, {key: {"h.example": "empty"} if key == "credHelpers" else "empty"})
    write_file(auth_file, {"auths": {"h.example": entry("me", "x"), "other": {}}})
    done = wherry("logout", "h.example")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"Logged out of h.example: removed from {auth_file}\n"
    assert json.loads(auth_file.read_text())["auths"] == {"other": {}}
    done = wherry("logout", "h.example")
    assert (done.returncode, done.stderr) == (3, "wherry: h.example: not logged in\n")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (None, "docker-credential-bad: there is no such program in PATH"),
        ("#!/bin/sh\necho keyring is locked; exit 1", "it failed (keyring is locked)"),
        ("#!/bin/sh\nexit 3", "it failed (exit code 3)"),
    ],
)
@pytest.mark.parametrize("options", [["h.example"], ["--all"]])
def test_logout_with_a_helper_that_fails(
    wherry: Run, auth_file: Path, environment: dict[str, str], helper_program: Callable[..., Path],
    program: str | None, words: str, options: list[str],
) -> None:  # fmt: skip
    """The entry is removed, and the exit code says that the helper may still have one."""
    if program is not None:
        helper_program("bad", program)
    environment["PATH"] = os.environ["PATH"]
    helpers = {"credHelpers": {"h.example": "bad"}}
    write_file(auth_file, {"auths": {"h.example": entry("me", "x")}, **helpers})
    done = wherry("logout", *options)
    assert (done.returncode, done.stdout) == (1, "")
    first, *hints = done.stderr.splitlines()
    assert words in first
    taken = "h.example" if options == ["--all"] else str(auth_file)
    assert hints == [f"  credentials were still removed from {taken}"]
    assert json.loads(auth_file.read_text()) == {"auths": {}, **helpers}


def test_logout_with_another_invalid_file(
    wherry: Run, auth_file: Path, environment: dict[str, str]
) -> None:
    docker = write_file(Path(environment["HOME"]) / ".docker" / "config.json", "{")
    write_file(auth_file, {"auths": {"h.example": entry("me", "x")}})
    done = wherry("logout", "h.example")
    assert done.returncode == 1
    assert done.stderr.startswith(f"wherry: {docker}: not valid JSON\n")
    assert f"removed from {auth_file}" in done.stderr
    assert json.loads(auth_file.read_text()) == {"auths": {}}
