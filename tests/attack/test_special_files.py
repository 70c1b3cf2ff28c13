"""FIFOs, sockets, devices and huge files in place of settings and archives."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wherry.testing import (
    FakeRegistry,
    build_image,
    layout_files,
    make_certificate,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


LAYER = tar_layer({"a": b"file"})
IMAGE = build_image([LAYER])
SECONDS = 60.0  # a command that takes longer counts as hanging
USAGE = 2


def make_socket(at: Path) -> None:
    directory = os.open(at.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{directory}/{at.name}")
    os.close(directory)


def make_huge(at: Path) -> None:
    with at.open("xb") as file:
        file.truncate(2**40)


def make_link_to_fifo(at: Path) -> None:
    os.mkfifo(f"{at}.pipe")
    at.symlink_to(f"{at}.pipe")


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (os.mkfifo, "is a FIFO"),
    "link to a FIFO": (make_link_to_fifo, "FIFO"),
    "socket": (make_socket, "is a socket"),
    "/dev/zero": (lambda at: at.symlink_to("/dev/zero"), "is a device"),
    "/dev/urandom": (lambda at: at.symlink_to("/dev/urandom"), "is a device"),
    "/dev/full": (lambda at: at.symlink_to("/dev/full"), "is a device"),
    "directory": (lambda at: at.mkdir(), "irectory"),
    "huge file": (make_huge, "over |more than"),
    "link to itself": (lambda at: at.symlink_to(at), "ymbolic link|no such file"),
}


# Other messages: archives refuse links that lead out, and a server stays untrusted.
OTHERWISE = (
    "not a regular file|outside of the archive|a link or not a directory|"
    "is not an image|not trusted"
)
CERTS = "home/config/containers/certs.d/{tls}"
# Readers of files: arguments of a command, variables, and the path of the file.
Place = tuple[tuple[str, ...], dict[str, str], str]
PLACES: dict[str, Place] = {
    "--authfile": (("pull", "--authfile", "{file}", "{name}"), {}, "auth"),
    "REGISTRY_AUTH_FILE": (("pull", "{name}"), {"REGISTRY_AUTH_FILE": "{file}"}, "auth"),
    "docker's config.json": (("pull", "{name}"), {"DOCKER_CONFIG": "{place}"}, "config.json"),
    "auth.json": (("pull", "{name}"), {}, "home/config/containers/auth.json"),
    "why": (("why", "{name}"), {"REGISTRY_AUTH_FILE": "{file}"}, "auth"),
    "login --authfile": (
        ("login", "--authfile", "{file}", "-u", "me", "--password-stdin", "{host}"),
        {},
        "auth",
    ),
    "logout --authfile": (("logout", "--authfile", "{file}", "{host}"), {}, "auth"),
    "registries.conf": (("pull", "{name}"), {}, "home/config/containers/registries.conf"),
    "CONTAINERS_REGISTRIES_CONF": (
        ("pull", "{name}"),
        {"CONTAINERS_REGISTRIES_CONF": "{file}"},
        "registries",
    ),
    "a drop-in": (("pull", "{name}"), {}, "home/config/containers/registries.conf.d/a.conf"),
    "hosts.toml": (("pull", "{name}"), {}, "home/config/wherry/hosts.toml"),
    "SSL_CERT_FILE": (("tags", "{tls}/app"), {"SSL_CERT_FILE": "{file}"}, "ca.pem"),
    "SSL_CERT_DIR": (("tags", "{tls}/app"), {"SSL_CERT_DIR": "{place}/ca"}, "ca/01234567.0"),
    "authorities of certs.d": (
        ("tags", "{tls}/app"),
        {},
        f"{CERTS}/a.crt",
    ),
    "a key of certs.d": (("tags", "{tls}/app"), {}, f"{CERTS}/a.key"),
    "load": (("load", "-i", "{file}"), {}, "archive"),
    "import": (("import", "{file}", "x:1"), {}, "layer"),
    "import --config": (("import", "--config", "{file}", "{tar}", "x:1"), {}, "config"),
    "inspect of a layout": (("inspect", "oci:{place}/layout"), {}, "layout/index.json"),
    "load of a layout": (("load", "-i", "{place}/layout"), {}, "layout/index.json"),
    "load of a layout's blob": (
        ("load", "-i", "{place}/layout"),
        {},
        f"layout/blobs/sha256/{IMAGE.config.digest[7:]}",
    ),
}
# Drop-ins are regular files only (containers-registries.conf.d(5)).
PASSED_OVER = {("a drop-in", kind) for kind in KINDS if kind != "huge file"}
# These wait for a writer, as other programs do with a FIFO for a stream.
STREAMS = {"load", "import"}
# These are valid: an archive may be huge, and a directory may be an archive.
FINE = PASSED_OVER | {("load", "huge file"), ("import", "huge file"), ("import", "directory")}


def run(
    command: list[str], environment: dict[str, str], given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [
            "sh",
            "-c",
            'ulimit -v 3000000; exec "$@"',
            "sh",
            sys.executable,
            "-m",
            "wherry",
            *command,
        ],
        input=given,
        capture_output=True,
        env=environment,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(users={"me": "secret"}) as fake:
        fake.add_image("app", IMAGE, "t")
        fake.add_image("other", IMAGE, "t")
        yield fake


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeRegistry]:
    pair = make_certificate(tmp_path_factory.mktemp("tls"))
    with FakeRegistry(tls=(pair[1], pair[2])) as fake:
        yield fake


# The short form runs every other pair of kind and place, the long form all of them.
PAIRS = [
    pytest.param(place, kind, marks=[pytest.mark.long] if (row + column) % 2 else [])
    for row, place in enumerate(PLACES)
    for column, kind in enumerate(KINDS)
    if (place, kind) not in FINE and not (place in STREAMS and "FIFO" in kind)
]


@pytest.mark.parametrize(("place", "kind"), PAIRS)
def test_a_special_file_is_told(
    environment: dict[str, str],
    registry: FakeRegistry,
    secure: FakeRegistry,
    tmp_path: Path,
    place: str,
    kind: str,
) -> None:
    words, variables, name = PLACES[place]
    write_files(tmp_path / "layout", layout_files({"t": IMAGE}))
    (tmp_path / "layer.tar").write_bytes(LAYER)
    file = tmp_path / name.format(tls=secure.host)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    make, expected = KINDS[kind]
    make(file)
    if place == "a key of certs.d":
        file.with_suffix(".cert").touch()
    values = {
        "file": file,
        "place": tmp_path,
        "name": f"{registry.host}/app:t",
        "host": registry.host,
        "tar": tmp_path / "layer.tar",
        "tls": secure.host,
    }
    env = environment | {key: value.format(**values) for key, value in variables.items()}
    result = run([word.format(**values) for word in words], env, b"secret\n")
    told = result.stderr.decode()
    assert result.returncode not in {0, 130}
    assert "internal error" not in told
    if result.returncode != USAGE:
        (line,) = [line for line in told.splitlines() if line.startswith("wherry: ")]
        assert re.search(f"{expected}|{OTHERWISE}", line)
    assert stat.S_ISREG(os.lstat(file).st_mode) == (
        kind == "huge file"
    )  # no command replaces the file


# Valid special files: pipes, which shells make for `<(...)`, and /dev/null.


def in_shell(environment: dict[str, str], line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'wherry() {{ "{sys.executable}" -m wherry "$@"; }}; {line}'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def auth(registry: FakeRegistry, tmp_path: Path) -> Path:
    encoded = base64.b64encode(b"me:secret").decode()
    (tmp_path / "auth").write_text(json.dumps({"auths": {registry.host: {"auth": encoded}}}))
    return tmp_path / "auth"


@pytest.mark.parametrize("delay", ["", "sleep 1; "])
def test_credentials_through_a_pipe(
    environment: dict[str, str], registry: FakeRegistry, auth: Path, delay: str
) -> None:
    """The pipe is read once, for two repositories."""
    names = f"{registry.host}/app:t {registry.host}/other:t"
    result = in_shell(environment, f"wherry pull --authfile <({delay}cat {auth}) {names}")
    assert result.returncode == 0, result.stderr


def test_credentials_through_a_named_fifo(
    environment: dict[str, str], registry: FakeRegistry, auth: Path
) -> None:
    os.mkfifo(f"{auth}.fifo")
    line = f"cat {auth} > {auth}.fifo & sleep 0.3; wherry pull --authfile {auth}.fifo {{}}/app:t"
    result = in_shell(environment, line.format(registry.host))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("writer", ["sleep 300", "cat /dev/zero", "yes"])
def test_a_pipe_without_an_end_is_given_up(
    environment: dict[str, str], registry: FakeRegistry, writer: str
) -> None:
    result = in_shell(
        environment, f"wherry pull --authfile <(exec {writer} 2>&-) {registry.host}/app:t"
    )
    assert result.returncode == 1
    assert re.search("is not closed within|over 4 MiB", result.stderr)


@pytest.mark.parametrize("option", ["--authfile /dev/null", ""])
def test_dev_null_is_an_empty_file(
    environment: dict[str, str], registry: FakeRegistry, option: str
) -> None:
    env = environment | {"CONTAINERS_REGISTRIES_CONF": "/dev/null"}
    result = in_shell(env, f"wherry pull {option} {registry.host}/app:t")
    assert "/dev/null:" not in result.stderr
    assert result.returncode == 4  # the registry requires credentials


def test_login_leaves_dev_null_a_device(
    environment: dict[str, str], registry: FakeRegistry
) -> None:
    command = f"login --authfile /dev/null -u me --password-stdin {registry.host}"
    result = in_shell(environment, f"echo secret | wherry {command}")
    assert result.returncode == 1
    assert "/dev/null: is a device" in result.stderr
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116 - the real one


@pytest.mark.parametrize("way", ["-i <(cat {})", "-i /dev/stdin < {}", "-i {}.fifo", "< {}"])
def test_archives_through_pipes(environment: dict[str, str], tmp_path: Path, way: str) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(tar_layer(dict(layout_files({"app:1": IMAGE}))))
    os.mkfifo(f"{archive}.fifo")
    line = f"(cat {archive} > {archive}.fifo) & wherry load {way.format(archive)}; kill %1"
    result = in_shell(environment, line)
    assert "Loaded" in result.stderr


@pytest.mark.parametrize("way", ["<(cat {})", "/dev/stdin < {}", "- < {}"])
def test_layers_through_pipes(environment: dict[str, str], tmp_path: Path, way: str) -> None:
    (tmp_path / "layer.tar").write_bytes(LAYER)
    way = way.format(tmp_path / "layer.tar")
    config = "--config <(echo '{}')"
    assert in_shell(environment, f"wherry import {config} {way}").returncode == 0


@pytest.mark.parametrize(
    "command", ["login -u me --password-stdin {}", "pull --creds me {}/app:t", "login -u me {}"]
)
def test_a_password_without_an_end(
    environment: dict[str, str], registry: FakeRegistry, command: str
) -> None:
    command = command.format(registry.host)
    for source in ("/dev/zero", "<(cat /dev/zero)"):
        result = in_shell(environment, f"ulimit -v 3000000; wherry {command} < {source}")
        assert result.returncode == USAGE
        assert len(result.stderr) < 2000
