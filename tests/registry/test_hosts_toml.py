"""hosts.toml: settings of hosts, from the user's and the system's file."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.config import Config
from wherry.errors import WherryError
from wherry.model.reference import Reference
from wherry.registry.hosts import Hosts
from wherry.registry.hosts_toml import HostSettings
from wherry.testing import FakeRegistry, build_image, tar_layer

IMAGE = build_image([tar_layer({"a": b"1"})])
Run = Callable[..., Any]


def hosts(tmp_path: Path, user: str | None, system: str | None = None) -> Hosts:
    files = (tmp_path / "user.toml", tmp_path / "system.toml")
    for file, text in zip(files, (user, system), strict=True):
        if text is not None:
            file.write_text(text)
    return Hosts(host_files=files)


def settings(found: Hosts, name: str) -> HostSettings:
    return found.endpoints(Reference.parse(f"{name}/app"))[-1].settings


def test_an_endpoint_has_the_settings_of_its_host(tmp_path: Path) -> None:
    found = hosts(
        tmp_path,
        """
        ["one.example"]
        private-realm = true
        schema1 = "deny"
        ["two.example:5000"]
        legacy = true
        """,
    )
    assert settings(found, "one.example") == HostSettings(private_realm=True, schema1="deny")
    assert settings(found, "two.example:5000") == HostSettings(legacy=True)
    assert settings(found, "one.example:5000") == HostSettings()  # another port
    assert settings(found, "two.example") == HostSettings()
    assert found.registry("one.example").settings.private_realm


@pytest.mark.parametrize("table", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_may_have_any_of_its_names(tmp_path: Path, table: str) -> None:
    found = hosts(tmp_path, f'["{table}"]\nschema1 = "deny"\n')
    assert settings(found, "docker.io").schema1 == "deny"


@pytest.mark.parametrize("table", ["Reg.Example:5000", "reg.example:5000", "[::1]:5000"])
def test_host_names_are_case_insensitive(tmp_path: Path, table: str) -> None:
    found = hosts(tmp_path, f'["{table}"]\nprivate-realm = true\n')
    assert settings(found, table.replace("Reg", "rEG")).private_realm


def test_the_users_file_takes_precedence_for_each_key(tmp_path: Path) -> None:
    user = '["h.example"]\nschema1 = "allow"\nprivate-realm = false\n'
    system = '["h.example"]\nschema1 = "deny"\nprivate-realm = true\nlegacy = true\n'
    found = hosts(tmp_path, user, system)
    assert settings(found, "h.example") == HostSettings(schema1="allow", legacy=True)


def test_a_byte_order_mark_and_carriage_returns_are_accepted(tmp_path: Path) -> None:
    found = hosts(tmp_path, '\ufeff["h.example"]\r\nlegacy = true\r\n')
    assert settings(found, "h.example").legacy


@pytest.mark.parametrize("text", ["", "# nothing\n", '["h.example"]\n', "\n\n"])
def test_a_file_may_be_empty(tmp_path: Path, text: str) -> None:
    assert settings(hosts(tmp_path, text), "h.example") == HostSettings()


def refusal(tmp_path: Path, text: str) -> WherryError:
    """Return the error for a user's file with ``text``, which any name causes."""
    found = hosts(tmp_path, None)
    file = tmp_path / "user.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WherryError) as error:
        found.endpoints(Reference.parse("other.example/app"))
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("private_realm = true", "private_realm: unknown key", "write private-realm"),
        ("privat = true", "privat: unknown key", "known keys: private-realm, schema1, legacy"),
        ("insecure = true", "insecure: unknown key", "registries.conf"),
        ('private-realm = "yes"', "private-realm: is a string, expected true or false", ""),
        ("private-realm = 1", "private-realm: is an integer, expected true or false", ""),
        ("legacy = []", "legacy: is an array, expected true or false", ""),
        ("legacy = 2020-01-01", "legacy: is a date or time, expected true or false", ""),
        ('schema1 = "denied"', 'schema1: is \'denied\', expected "allow" or "deny"', ""),
        ("schema1 = false", 'schema1: is a boolean, expected "allow" or "deny"', ""),
    ],
)
def test_the_error_for_a_key_names_file_table_and_key(
    tmp_path: Path, line: str, said: str, hint: str
) -> None:
    error = refusal(tmp_path, f'["h.example"]\n{line}\n')
    assert str(error).endswith(f'["h.example"] {said}')
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("private-realm = true", "private-realm: stands outside of a table", '["HOST"]'),
        ("[h.example]\nlegacy = true", "[h.example] is not a host", '["h.example"]'),
        ('["https://h.example"]\n', '["https://h.example"] is not a host', "without scheme"),
        ('["h.example/team"]\n', '["h.example/team"] is not a host', "without scheme and path"),
        ('["h.example/"]\n', '["h.example/"] is not a host', ""),
        ('["registry"]\nlegacy = true', '["registry"] is not a host', ""),
        ('[""]\nlegacy = true', '[""] is not a host', ""),
        ('["docker.io"]\n["index.docker.io"]\n', "a second table for docker.io", ""),
        ('["h.example"]\n["h.example"]\n', "not valid TOML", ""),
        ("[", "not valid TOML", ""),
        ("\udcff", "not valid TOML (not UTF-8)", ""),
    ],
)
def test_the_error_for_a_table_names_the_file(
    tmp_path: Path, text: str, said: str, hint: str
) -> None:
    error = refusal(tmp_path, text)
    assert said in str(error)
    assert hint in error.hint


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "user.toml").mkdir()
    with pytest.raises(WherryError, match=r"user\.toml: Is a directory"):
        hosts(tmp_path, None).endpoints(Reference.parse("h.example/app"))


def test_a_file_without_permission_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "user.toml"
    file.write_text('["h.example"]\nschema1 = "deny"\n')
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("root reads every file")
    with pytest.raises(WherryError, match=r"user\.toml: Permission denied"):
        hosts(tmp_path, None).endpoints(Reference.parse("h.example/app"))


# The paths of the files, and the command


def test_the_paths_of_the_files() -> None:
    etc = Path("/etc/wherry/hosts.toml")
    home = Path("/home/u")
    assert Config.from_environment({}, home).hosts == (home / ".config/wherry/hosts.toml", etc)
    env = {"XDG_CONFIG_HOME": "/elsewhere"}
    assert Config.from_environment(env, home).hosts == (Path("/elsewhere/wherry/hosts.toml"), etc)


def write(environment: dict[str, str], text: str) -> Path:
    file = Path(environment["XDG_CONFIG_HOME"]) / "wherry" / "hosts.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def test_an_invalid_file_ends_a_pull_before_any_request(
    wherry: Run, environment: dict[str, str], fake: FakeRegistry
) -> None:
    fake.add_image("app", IMAGE, "t")
    file = write(environment, '["h.example"]\nschema1 = "never"\n')
    done = wherry("pull", f"{fake.host}/app:t")
    assert (done.returncode, done.stdout) == (1, "")
    first = done.stderr.splitlines()[0]
    assert (
        first == f'wherry: {file}: ["h.example"] schema1: is \'never\', expected "allow" or "deny"'
    )
    assert fake.requests == []


def test_legacy_allows_v1_for_its_host_alone(tmp_path: Path) -> None:
    text = '["h.example"]\nlegacy = true\n["off.example"]\nlegacy = false\n'
    files = (tmp_path / "user.toml", tmp_path / "system.toml")
    files[0].write_text('["h.example"]\nschema1 = "deny"\n')
    files[1].write_text(text)
    for every in (False, True):
        found = Hosts(host_files=files, legacy=every)
        for name, source in (("h.example", str(files[1])), ("off.example", ""), ("o.example", "")):
            (place,) = found.endpoints(Reference.parse(f"{name}/app"))
            assert place.legacy is (every or name == "h.example")
            assert found.explain_legacy(name) == ("--legacy or WHERRY_LEGACY" if every else source)


def test_the_parser_is_loaded_only_for_an_existing_file(
    environment: dict[str, str], fake: FakeRegistry
) -> None:
    fake.add_image("app", IMAGE, "t")
    code = (
        "import sys, wherry; wherry.Client().digest(sys.argv[1]); "
        "print(sorted({'tomllib'} & sys.modules.keys()))"
    )

    def loaded() -> str:
        return subprocess.run(
            [sys.executable, "-c", code, f"{fake.host}/app:t"],
            env=environment, capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()  # fmt: skip

    assert loaded() == "[]"
    write(environment, '["h.example"]\nlegacy = true\n')
    assert loaded() == "['tomllib']"
