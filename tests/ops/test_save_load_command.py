"""The commands `save` and `load`: pipes, files, platforms, wrong usage, interrupts."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from saved_images import IMAGE, INDEX, OTHER, TARS
from wherry.image_store import local_store
from wherry.ops.listing import Filters, list_rows
from wherry.testing import FakeRegistry, build_image, docker_files, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client, Store


@pytest.fixture
def name(fake: FakeRegistry, client: Client) -> str:
    """An image in the store."""
    fake.add_image("app", IMAGE, "v1")
    client.pull(f"{fake.host}/app:v1")
    return f"{fake.host}/app:v1"


def test_the_command_through_a_pipe(
    wherry: Wherry, name: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = shlex.join([sys.executable, "-m", "wherry"])
    line = f"{command} save {name} | {command} --store {tmp_path}/new load"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    assert done.stdout == f"{IMAGE.id}\n"
    assert f"Loaded image {name}" in done.stderr
    shown = wherry("--store", f"{tmp_path}/new", "show", name)
    assert IMAGE.id in shown.stdout


def test_the_command_and_files(wherry: Wherry, name: str, tmp_path: Path) -> None:
    saved = wherry("save", "-q", "-o", str(tmp_path / "a.tar"), name)
    assert (saved.returncode, saved.stdout, saved.stderr) == (0, "", "")
    loaded = wherry("--store", str(tmp_path / "new"), "load", "-q", "-i", str(tmp_path / "a.tar"))
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, f"{IMAGE.id}\n", "")
    missing = wherry("load", "-i", str(tmp_path / "nothing"))
    assert missing.returncode == 3
    assert "nothing: no such file" in missing.stderr
    (tmp_path / "no.tar").write_bytes(b"no tar at all")
    broken = wherry("load", "-i", str(tmp_path / "no.tar"))
    assert broken.returncode == 1
    assert "no.tar: is not an image archive" in broken.stderr


def test_the_command_prints_each_id_once(
    wherry: Wherry, client: Client, fake: FakeRegistry, name: str
) -> None:
    fake.add_image("second", OTHER, "t")
    client.pull(f"{fake.host}/second:t")
    client.store.tag(name, "mine:1")
    names = (f"{fake.host}/second:t", name, "mine:1")
    path = client.store.path.with_name("a.tar")
    client.save(names, path)
    loaded = wherry("load", "-i", str(path))
    assert loaded.stdout == f"{OTHER.id}\n{IMAGE.id}\n"


@pytest.mark.parametrize("command", ["save", "history", "config", "inspect"])
def test_the_image_that_has_none_for_a_platform_is_named(
    wherry: Wherry, client: Client, fake: FakeRegistry, command: str
) -> None:
    fake.add_image("index", INDEX, "t")
    name = f"{fake.host}/index:t"
    client.pull(name)
    for address in (name, f"store:{name}"):
        done = wherry(command, "--platform", "linux/s390x", address)
        assert (done.returncode, done.stdout) == (3, "")
        called = name if command == "save" else address
        says = f"wherry: {called}: there is no image for linux/s390x"
        assert done.stderr == f"{says}\n  it has: linux/amd64 linux/arm64\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "dir", "-o", "x", "a", "b"], "a flat directory holds only one image"),
        (["--format", "oci", "a"], "--format oci writes a directory, not a stream: use -o DIR"),
        (["--format", "dir", "a"], "--format dir writes a directory, not a stream: use -o DIR"),
    ],
)
def test_an_option_that_a_format_lacks_is_a_usage_error(
    wherry: Wherry, arguments: list[str], says: str
) -> None:
    done = wherry("save", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"wherry: {says}")


def test_standard_input_is_called_that(wherry: Wherry) -> None:
    done = wherry("load", "-q", given=tar_layer(docker_files(IMAGE, TARS))[:20_000].decode())
    assert done.returncode == 5
    assert done.stderr.startswith("wherry: stdin: the archive is cut off: ")


def interrupted(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    return process.returncode, told


def test_a_save_that_is_interrupted(
    fake: FakeRegistry, client: Client, environment: dict[str, str]
) -> None:
    fake.add_image("big", build_image([tar_layer({"f": bytes(3_000_000)})]), "v1")
    client.pull(f"{fake.host}/big:v1")
    with subprocess.Popen(
        [sys.executable, "-m", "wherry", "save", "-q", f"{fake.host}/big:v1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(512)  # the save has begun and fills the pipe
        assert interrupted(process) == (130, b"wherry: interrupted\n")


def test_a_load_that_is_interrupted(
    tmp_path: Path, store: Store, environment: dict[str, str]
) -> None:
    data = tar_layer(docker_files(IMAGE, TARS, ["app:1"]))
    with subprocess.Popen(
        [sys.executable, "-m", "wherry", "load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(data[:-12_000])  # the end of the last layer is missing
        process.stdin.flush()
        assert b"Load complete" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        process.stdin.close()
    assert not [row for row in list_rows(local_store(store), Filters()) if row.name]
    assert list((tmp_path / "store" / "leases").iterdir()) == []
