"""The default platform from a variable, in the command and the library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.config import default_platform
from wherry.testing import FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry

AMD64 = {"os": "linux", "architecture": "amd64"}
S390X = {"os": "linux", "architecture": "s390x"}
HERE = build_image([tar_layer({"a": b"amd64"})])
THERE = build_image([tar_layer({"a": b"s390x"})], architecture="s390x")
INDEX = build_index([(HERE, AMD64), (THERE, S390X)])
OURS = {"WHERRY_PLATFORM": "linux/s390x"}
DOCKERS = {"DOCKER_DEFAULT_PLATFORM": "linux/s390x"}


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", INDEX, "t")
    fake.add_image("single", HERE, "t")
    return f"{fake.host}/app:t"


def test_the_order_of_the_variables() -> None:
    assert default_platform({}) is None
    assert default_platform(DOCKERS) == "linux/s390x"
    assert default_platform(DOCKERS | {"WHERRY_PLATFORM": "linux/arm64"}) == "linux/arm64"
    assert default_platform(DOCKERS | {"WHERRY_PLATFORM": " "}) == "linux/s390x"


@pytest.mark.parametrize("env", [OURS, DOCKERS])
def test_a_pull_by_variable(wherry: Wherry, name: str, env: dict[str, str]) -> None:
    assert wherry("pull", "-q", name, env=env).stdout == f"{THERE.id}\n"


@pytest.mark.parametrize("env", [OURS, DOCKERS])
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("inspect", "--no-tags", "--format", "{{.Architecture}}"), "s390x\n"),
        (("digest",), f"{THERE.digest}\n"),
        (("manifest",), THERE.manifest.data.decode()),
        (("config",), THERE.config.data.decode()),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_reading_by_variable(
    wherry: Wherry, name: str, env: dict[str, str], command: tuple[str, ...], expected: str
) -> None:
    assert wherry(*command, name, env=env).stdout == expected


def test_archives_by_variable(wherry: Wherry, name: str, tmp_path: Path) -> None:
    file = str(tmp_path / "both.tar")
    assert wherry("pull", "-q", "--all-platforms", name).returncode == 0
    assert wherry("save", "-q", "--format=oci-archive", "-o", file, name).returncode == 0
    loaded = wherry("--store", str(tmp_path / "other"), "load", "-q", "-i", file, env=OURS)
    assert loaded.stdout == f"{THERE.id}\n"
    one = str(tmp_path / "one.tar")
    assert wherry("save", "-q", "-o", one, name, env=OURS).returncode == 0
    assert wherry("inspect", "--config", f"docker-archive:{one}").stdout.count("s390x") == 1
    tree = tmp_path / "tree"
    tree.mkdir()
    made = wherry("import", str(tree), "made:1", env=OURS)
    assert made.returncode == 0, made.stderr
    (shown,) = json.loads(wherry("images", "--json", "made").stdout)
    assert shown["platform"] == "linux/s390x"


def test_a_variable_counts_as_given(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    """Another architecture is an error with the variable or option, else a warning."""
    assert name
    done = wherry("pull", "-q", f"{fake.host}/single:t", env=DOCKERS)
    assert done.returncode == 3
    assert "linux/s390x" in done.stderr.splitlines()[0]


def test_options_go_before_variables(wherry: Wherry, name: str, tmp_path: Path) -> None:
    done = wherry("pull", "-q", "--platform=linux/amd64", name, env=OURS)
    assert done.stdout == f"{HERE.id}\n"
    assert wherry("pull", "-q", "--all-platforms", name, env=OURS).returncode == 0
    assert wherry("inspect", "--all-platforms", name, env=OURS).stdout.count('"Platform"') == 2
    config = tmp_path / "config.json"
    config.write_text('{"os": "linux", "architecture": "arm64"}')
    tree = tmp_path / "tree"
    tree.mkdir()
    done = wherry("import", "--config", str(config), str(tree), "made:1", env=OURS)
    assert done.returncode == 0, done.stderr
    (shown,) = json.loads(wherry("images", "--json", "made").stdout)
    assert shown["platform"] == "linux/arm64"


@pytest.mark.parametrize("variable", ["WHERRY_PLATFORM", "DOCKER_DEFAULT_PLATFORM"])
@pytest.mark.parametrize("text", ["linux/", "a/b/c/d", "linux/amd64,linux/arm64", "lin ux/x"])
@pytest.mark.parametrize("command", ["pull", "inspect", "save", "load", "import", "history"])
def test_a_variable_with_an_invalid_platform(
    wherry: Wherry, variable: str, text: str, command: str
) -> None:
    done = wherry(command, "alpine", env={variable: text})
    if command == "load":
        done = wherry(command, "-i", "/dev/null", env={variable: text})
    if command == "save":
        done = wherry(command, "-o", "/dev/null", "alpine", env={variable: text})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith(
        f"wherry: {variable} is '{text}': invalid platform"
    )


def test_the_library_reads_them_too(
    name: str, store: library.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_PLATFORM", "linux/s390x")
    with library.Client(store=store) as client:
        assert str(client.pull(name).id) == THERE.id
        assert client.inspect(name).architecture == "s390x"
        assert str(client.pull(name, platform="linux/amd64").id) == HERE.id
    assert str(library.pull(name, store=store).id) == THERE.id
    monkeypatch.setenv("WHERRY_PLATFORM", "a/b/c/d")
    with pytest.raises(ValueError, match=r"^WHERRY_PLATFORM is 'a/b/c/d': "):
        library.Client(store=store)
