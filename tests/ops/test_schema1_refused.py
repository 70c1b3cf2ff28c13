"""Refuse docker's schema1 format by option, by variable, and by the settings of a host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry as library
from wherry.errors import Unsupported
from wherry.testing import FakeRegistry, build_image, build_schema1, compress, make_key, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Wherry
    from wherry.testing import BuiltSchema1

LAYERS = [compress(tar_layer({"a": b"1"}), "gzip")]
MESSAGE = "the image has docker's deprecated schema1 format, which is refused"


def push(fake: FakeRegistry, built: BuiltSchema1, tag: str = "old") -> str:
    for layer in built.layers:
        fake.add_blob(layer)
    piece = built.manifest
    fake.add_manifest("app", piece.data, piece.media_type, tag, digest=built.digest)
    return f"{fake.host}/app:{tag}"


def set_host(environment: dict[str, str], host: str, value: str) -> None:
    file = Path(environment["XDG_CONFIG_HOME"]) / "wherry" / "hosts.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        stream.write(f'["{host}"]\nschema1 = "{value}"\n')


@pytest.mark.parametrize("signed", [False, True])
def test_it_is_refused_before_layers_are_fetched(
    wherry: Wherry, fake: FakeRegistry, *, signed: bool
) -> None:
    keys = [("ES256", make_key("ES256"))] if signed else []
    name = push(fake, build_schema1(LAYERS, keys=keys))
    done = wherry("pull", "--schema1", "deny", name)
    assert (done.returncode, done.stdout) == (1, "")
    said, hint = done.stderr.splitlines()[-2:]
    assert said == f"wherry: {name}: {MESSAGE}"
    assert "--schema1 allow" in hint
    assert "deprecated format" not in done.stderr.replace(MESSAGE, "")  # no warning besides
    assert not any("/blobs/" in request.path for request in fake.requests)
    assert wherry("images", "-q").stdout == ""


def test_it_is_accepted_with_a_warning_by_default(wherry: Wherry, fake: FakeRegistry) -> None:
    done = wherry("pull", push(fake, build_schema1(LAYERS)))
    assert done.returncode == 0
    assert "docker schema1 is a deprecated format" in done.stderr


@pytest.mark.parametrize(
    ("option", "variable", "setting", "accepted"),
    [
        (None, None, "deny", False),
        (None, "deny", None, False),
        (None, "allow", "deny", True),
        (None, "deny", "allow", False),
        ("allow", "deny", "deny", True),
        ("deny", "allow", "allow", False),
        (None, "", "deny", False),
        (None, None, "allow", True),
    ],
)
def test_the_option_decides_before_the_variable_and_the_variable_before_the_host(
    wherry: Wherry, fake: FakeRegistry, environment: dict[str, str],
    option: str | None, variable: str | None, setting: str | None, *, accepted: bool,
) -> None:  # fmt: skip
    name = push(fake, build_schema1(LAYERS))
    if setting is not None:
        set_host(environment, fake.host, setting)
    env = {} if variable is None else {"WHERRY_SCHEMA1": variable}
    arguments = [] if option is None else ["--schema1", option]
    done = wherry("pull", "-q", *arguments, name, env=env)
    assert done.returncode == (0 if accepted else 1), done.stderr
    if not accepted:
        by_host = option is None and not variable
        assert f"{MESSAGE} (hosts.toml)" in done.stderr if by_host else MESSAGE in done.stderr


def test_the_setting_of_another_host_does_not_count(
    wherry: Wherry, fake: FakeRegistry, environment: dict[str, str]
) -> None:
    set_host(environment, "other.example", "deny")
    assert wherry("pull", "-q", push(fake, build_schema1(LAYERS))).returncode == 0


@pytest.mark.parametrize("host", ["named", "location"])
def test_with_a_location_both_hosts_count(
    wherry: Wherry, fake: FakeRegistry, environment: dict[str, str], host: str
) -> None:
    push(fake, build_schema1(LAYERS))
    conf = Path(environment["XDG_CONFIG_HOME"]) / "containers" / "registries.conf"
    conf.parent.mkdir()
    conf.write_text(f'[[registry]]\nprefix = "h.example"\nlocation = "{fake.host}"\n')
    set_host(environment, fake.host if host == "location" else "h.example", "deny")
    done = wherry("pull", "-q", "h.example/app:old")
    assert done.returncode == 1
    assert MESSAGE in done.stderr


def test_wrong_values_are_wrong_usage(wherry: Wherry, fake: FakeRegistry) -> None:
    name = push(fake, build_schema1(LAYERS))
    for done in (
        wherry("pull", "--schema1", "never", name),
        wherry("pull", name, env={"WHERRY_SCHEMA1": "never"}),
    ):
        assert done.returncode == 2
        assert "allow" in done.stderr
    assert fake.requests == []
    with pytest.raises(ValueError, match=r"schema1 must be .allow. or .deny., not .never."):
        library.Client(schema1="never")  # type: ignore[arg-type]


def test_what_is_in_the_store_already_is_refused_too(
    client: library.Client, store: library.Store, fake: FakeRegistry
) -> None:
    """The second pull raises the same error as a first pull."""
    name = push(fake, build_schema1(LAYERS))
    client.pull(name)
    denying = library.Client(store=store, schema1="deny")
    with denying, pytest.raises(Unsupported) as caught:
        denying.pull(name)
    assert str(caught.value) == f"{name}: {MESSAGE}"
    with pytest.raises(Unsupported):
        library.pull(name, store=store, schema1="deny")


def test_newer_formats_are_not_concerned(wherry: Wherry, fake: FakeRegistry) -> None:
    fake.add_image("app", build_image([tar_layer({"a": b"1"})]), "new")
    assert wherry("pull", "-q", "--schema1", "deny", f"{fake.host}/app:new").returncode == 0


def test_all_tags_skip_refused_images(wherry: Wherry, fake: FakeRegistry) -> None:
    push(fake, build_schema1(LAYERS))
    done = wherry("pull", "-a", "-q", "--schema1", "deny", f"{fake.host}/app")
    assert (done.returncode, done.stdout) == (1, "")
    assert MESSAGE in done.stderr.splitlines()[-2]
    fake.add_image("app", build_image([tar_layer({"a": b"1"})]), "new")
    done = wherry("pull", "-a", "-q", "--schema1", "deny", f"{fake.host}/app")
    assert done.returncode == 0
    assert f"old: {MESSAGE}; skipped" in done.stderr


def test_reading_shows_what_there_is(wherry: Wherry, fake: FakeRegistry) -> None:
    """Only calls that put an image into the store refuse it."""
    name = push(fake, build_schema1(LAYERS))
    env = {"WHERRY_SCHEMA1": "deny"}
    for command in ("manifest", "digest", "inspect", "config", "history"):
        where = f"docker://{name}" if command == "history" else name
        assert wherry(command, where, env=env).returncode == 0


@pytest.fixture
def flat(tmp_path: Path, fake: FakeRegistry) -> Callable[[], Path]:
    """Make a flat directory with a schema1 image, as skopeo writes it."""

    def make() -> Path:
        built = build_schema1(LAYERS)
        directory = tmp_path / "flat"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        (directory / "version").write_text("Directory Transport Version: 1.1\n")
        (directory / "manifest.json").write_bytes(built.manifest.data)
        for blob in json.loads(built.payload)["fsLayers"]:
            digest = blob["blobSum"]
            layer = next(each for each in built.layers if fake.add_blob(each) == digest)
            (directory / digest.partition(":")[2]).write_bytes(layer)
        return directory

    return make


def test_load_obeys_the_option_and_the_variable(
    wherry: Wherry, environment: dict[str, str], flat: Callable[[], Path]
) -> None:
    """The settings of hosts do not apply to a directory."""
    directory = flat()
    set_host(environment, "docker.io", "deny")
    for done in (
        wherry("load", "-q", "--schema1", "deny", "-i", str(directory)),
        wherry("load", "-q", "-i", str(directory), env={"WHERRY_SCHEMA1": "deny"}),
    ):
        assert done.returncode == 1
        assert done.stderr.splitlines()[0] == f"wherry: {directory}: {MESSAGE}"
    assert wherry("load", "-q", "-i", str(directory)).returncode == 0


def test_import_obeys_it_for_a_parent_from_a_registry(
    wherry: Wherry, fake: FakeRegistry, tmp_path: Path
) -> None:
    name = push(fake, build_schema1(LAYERS))
    tar = tmp_path / "layer.tar"
    tar.write_bytes(tar_layer({"b": b"2"}))
    arguments = ("import", "--parent", f"docker://{name}", str(tar), "mine:1")
    env = {"WHERRY_SCHEMA1": "deny"}
    done = wherry(*arguments, env=env)
    assert done.returncode == 1
    assert MESSAGE in done.stderr
    assert wherry("pull", "-q", name).returncode == 0
    stored = ("import", "--parent", f"store:{name}", str(tar), "mine:1")
    assert wherry(*stored, env=env).returncode == 0  # accepted when it was pulled
