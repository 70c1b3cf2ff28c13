"""Environment variables and default paths (docs/configuration.md, "Variables and files")."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import wherry
from wherry.config import Config

HOME = Path("/home/me")


def config(**env: str) -> Config:
    return Config.from_environment(env, HOME)


def test_without_variables() -> None:
    found = config()
    settings = HOME / ".config" / "containers"
    assert found.store == HOME / ".local" / "share" / "wherry"
    assert found.auth_files == (
        Path(f"/run/containers/{os.getuid()}/auth.json"),
        settings / "auth.json",
        HOME / ".docker" / "config.json",
        HOME / ".dockercfg",
    )
    assert found.registries == (
        settings / "registries.conf",
        Path("/etc/containers/registries.conf"),
        Path("/usr/share/containers/registries.conf"),
    )
    assert (found.registries_named, found.registries_last) == (None, None)
    assert found.certificates == (
        settings / "certs.d",
        Path("/etc/containers/certs.d"),
        Path("/etc/docker/certs.d"),
    )
    assert (found.proxies, found.authorities, found.auth_file_alone) == (
        ("", "", "", ""),
        None,
        False,
    )


def test_directories_that_variables_name() -> None:
    found = config(
        XDG_DATA_HOME="/data",
        XDG_CONFIG_HOME="/conf",
        XDG_RUNTIME_DIR="/run/me",
        DOCKER_CONFIG="/d",
    )
    assert found.store == Path("/data/wherry")
    assert found.auth_files == (
        Path("/run/me/containers/auth.json"),
        Path("/conf/containers/auth.json"),
        Path("/d/config.json"),
        HOME / ".dockercfg",
    )
    assert found.login_file == found.auth_files[0]
    assert found.registries[0] == Path("/conf/containers/registries.conf")
    assert found.registries_drop_ins[0] == Path("/conf/containers/registries.conf.d")
    assert found.certificates[0] == Path("/conf/containers/certs.d")


RELATIVE = ["", ".", "data", "./data", "../data", "~/data", "$HOME/data", " /data"]


@pytest.mark.parametrize("value", RELATIVE)
@pytest.mark.parametrize("name", ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"])
def test_a_relative_directory_is_ignored(name: str, value: str) -> None:
    """XDG Base Directory Specification: "consider the path invalid and ignore it"."""
    assert config(**{name: value}) == config()


@pytest.mark.parametrize("env", [{}, *({"HOME": value} for value in RELATIVE)])
def test_home_is_that_of_the_user_database_where_the_variable_names_none(
    env: dict[str, str],
) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert Config.from_environment(env) == Config.from_environment({}, home)


def test_home_of_a_user_without_an_entry() -> None:
    """Container runtimes set HOME to / for such a user."""
    script = """
import os, sys
from wherry.config import Config
os.setuid(54321)
print(Config.from_environment().store)
"""
    if os.getuid() != 0:
        pytest.skip("needs root")
    source = str(Path(wherry.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": source},
    )
    assert (done.stdout, done.stderr) == ("/.local/share/wherry\n", "")


def test_files_that_variables_name() -> None:
    found = config(
        WHERRY_STORE="/s", REGISTRY_AUTH_FILE="/a.json", CONTAINERS_REGISTRIES_CONF="/r.conf"
    )
    assert (found.store, found.auth_files, found.login_file) == (
        Path("/s"),
        (Path("/a.json"),),
        Path("/a.json"),
    )
    assert found.auth_file_alone
    assert found.registries_named == ("CONTAINERS_REGISTRIES_CONF", Path("/r.conf"))
    other = found.with_registries_conf(Path("/other"))
    assert other.registries_named == ("--registries-conf", Path("/other"))
    last = config(CONTAINERS_REGISTRIES_CONF_OVERRIDE="/last.conf").registries_last
    assert last == ("CONTAINERS_REGISTRIES_CONF_OVERRIDE", Path("/last.conf"))


def test_drop_in_directories_of_root_and_of_others() -> None:
    """containers/image 5.40 has drop-in directories for root, and others for other users."""
    own = HOME / ".config" / "containers" / "registries.conf.d"
    uid = os.getuid()
    expected = [own]
    for root in (Path("/etc/containers"), Path("/usr/share/containers")):
        if uid == 0:
            expected.append(root / "registries.rootful.conf.d")
        else:
            rootless = root / "registries.rootless.conf.d"
            expected += [rootless / str(uid), rootless]
        expected.append(root / "registries.conf.d")
    assert config().registries_drop_ins == tuple(expected)


@pytest.mark.skipif(os.getuid() == 0, reason="root can make the directory in /run")
def test_login_writes_where_it_can() -> None:
    assert config().login_file == HOME / ".config" / "containers" / "auth.json"


def test_proxies_in_capitals_or_not() -> None:
    assert config(HTTP_PROXY="a", https_proxy="b", NO_PROXY="c", no_proxy="d").proxies == (
        *("a", "b"),
        *("c", ""),
    )
    assert config(all_proxy="d").proxies[3] == config(ALL_PROXY="d", all_proxy="e").proxies[3]
    assert "secret" not in repr(config(HTTPS_PROXY="http://me:secret@p"))


@pytest.mark.parametrize(
    "name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_authorities(name: str) -> None:
    assert config(**{name: "/ca", "CURL_CA_BUNDLE": "/ca"}).authorities == (name, Path("/ca"))
