"""Text with control, bidirectional and invisible characters for a terminal.

Each command runs with all its streams on a pseudo-terminal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from terminals import on_a_terminal
from wherry.cli.printable import printable, printable_lines
from wherry.testing import FakeRegistry, Fault, FixedReply, SetHeader, build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry

# C0, DEL, C1 (one-byte CSI and OSC), direction, zero width, line separators.
EVIL = (
    "\x1b[2J\x1b]0;title\x07\x08\r\x00\x7f\x9b31m\x9d0;x\x9c"
    "\u202e\u2066\u061c\u200e\u200b\u200d\u2060\ufeff\u00ad\ufe0f\u3164\u034f\u2028\u2029\x85"
    "\U000e0041\U000e0101"
)
LINES = f"{EVIL}\nsha256:forged"
IMAGE = build_image(
    [tar_layer({"a": b"1"})],
    labels={f"key{LINES}": LINES},
    env=[f"E={LINES}"],
    cmd=[LINES],
    entrypoint=[LINES],
    history=[{"created": LINES, "created_by": LINES, "comment": LINES, "author": LINES}],
    config_extra={"author": LINES, "os.version": LINES, "x": LINES},
    manifest_extra={"annotations": {"a": LINES}},
)


def harmful(text: str) -> set[str]:
    """Return the characters of terminal output that are neither printable nor line breaks."""
    rest = text.replace("\r\n", "\n").replace("\n", "").replace("\t", "")
    return {c for c in rest if printable(c) != c}


@pytest.fixture
def address(fake: FakeRegistry) -> str:
    fake.add_image("app", IMAGE, "t")
    return f"{fake.host}/app:t"


STORED = [
    ("show", "NAME"),
    ("show", "--json", "NAME"),
    ("show", "--format", "{{.Config.Labels}}{{.Author}}{{json .Config.Env}}", "NAME"),
    ("history", "NAME"),
    ("history", "--no-trunc", "NAME"),
    ("history", "--json", "NAME"),
    ("images",),
    ("images", "--format", "table {{.ID}}\t{{.Repository}}"),
    ("inspect", "store:NAME"),
    ("inspect", "--config", "store:NAME"),
    ("inspect", "--raw", "store:NAME"),
    ("inspect", "--raw", "--config", "store:NAME"),
    ("inspect", "--format", "{{.Labels}}", "store:NAME"),
    ("manifest", "store:NAME"),
    ("config", "store:NAME"),
    ("validate", "store:NAME"),
    ("referrers", "store:NAME"),
    ("fsck",),
    ("df",),
    ("rm", "NAME"),
]


@pytest.mark.parametrize("arguments", STORED, ids=" ".join)
def test_what_an_image_says(
    arguments: tuple[str, ...], address: str, wherry: Wherry, environment: dict[str, str]
) -> None:
    assert wherry("pull", "-q", address).returncode == 0
    given = [argument.replace("NAME", address) for argument in arguments]
    written, _ = on_a_terminal(environment, *given)
    assert written
    assert harmful(written) == set()
    forged = [line for line in written.splitlines() if line.startswith("sha256:forged")]
    assert not forged or "--format" in arguments  # a template prints line breaks unchanged


ASKED = [
    ("pull", "NAME"),
    ("pull", "-v", "NAME"),
    ("inspect", "NAME"),
    ("tags", "REPOSITORY"),
    ("tags", "--json", "REPOSITORY"),
    ("digest", "NAME"),
    ("why", "NAME"),
    ("--debug", "pull", "NAME"),
    ("referrers", "NAME"),
    ("history", "--no-trunc", "NAME"),
    ("validate", "NAME"),
]


@pytest.mark.parametrize("answer", ["json", "text", "tags", "header"])
@pytest.mark.parametrize("arguments", ASKED, ids=" ".join)
def test_what_a_registry_says(
    arguments: tuple[str, ...],
    answer: str,
    fake: FakeRegistry,
    address: str,
    environment: dict[str, str],
) -> None:
    if answer == "json":
        said = {"errors": [{"code": LINES, "message": LINES, "detail": LINES}]}
        fake.inject(Fault(FixedReply(403, body=json.dumps(said).encode())))
    elif answer == "text":
        fake.inject(Fault(FixedReply(500, body=("no words " * 60 + LINES).encode())))
    elif answer == "tags":
        body = json.dumps({"name": "app", "tags": ["a", LINES]}).encode()
        fake.inject(Fault(FixedReply(200, body=body), path="/tags/"))
    else:
        fake.inject(Fault(SetHeader("RateLimit-Remaining", "\x1b[2J\x9b1m 5"), path="/v2/"))
    repository = address.rpartition(":")[0]
    given = [each.replace("NAME", address).replace("REPOSITORY", repository) for each in arguments]
    written, _ = on_a_terminal({**environment, "WHERRY_RETRIES": "0"}, *given)
    assert written
    assert harmful(written) == set()
    assert not [line for line in written.splitlines() if line.startswith("sha256:forged")]


NAMED = [
    ("pull", "EVIL"),
    ("--debug", "pull", "EVIL"),
    ("EVIL",),
    ("--EVIL",),
    ("pull", "--EVIL"),
    ("pull", "--platform", "EVIL", "alpine"),
    ("pull", "--progress", "EVIL", "alpine"),
    ("images", "--filter", "EVIL"),
    ("images", "--format", "{{EVIL}}"),
    ("tags", "EVIL"),
    ("show", "EVIL"),
    ("rm", "EVIL"),
    ("load", "-i", "EVIL"),
    ("import", "EVIL"),
    ("--store", "EVIL/x\n", "images"),
    ("inspect", "oci:EVIL"),
    ("--debug", "inspect", "dir:EVIL"),
    ("inspect", "docker-archive:EVIL"),
    ("login", "EVIL"),
    ("login", "-u", "EVIL", "--password-stdin", "x.example:1"),
    ("logout", "EVIL"),
    ("save", "-o", "EVIL", "EVIL"),
]


@pytest.mark.parametrize("arguments", NAMED, ids=" ".join)
def test_what_the_command_line_says(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    evil = LINES.replace("\x00", "") + "\udcff"
    given = [argument.replace("EVIL", evil) for argument in arguments]
    written, _ = on_a_terminal(environment, *given, typed=b"\x04\x04")
    assert written
    assert ("Traceback" in written) == ("--debug" in arguments)
    assert harmful(written) == set()
    assert not [line for line in written.splitlines() if line.startswith("sha256:forged")]


CONFIGURATIONS = {
    "WHERRY_PLATFORM": LINES,
    "WHERRY_TIMEOUT": LINES,
    "HTTP_PROXY": f"http://{EVIL}:x",
    "WHERRY_STORE": "/proc/" + LINES,
    "REGISTRY_AUTH_FILE": "/" + LINES,
    "CONTAINERS_REGISTRIES_CONF": "/" + LINES,
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_the_environment_says(name: str, address: str, environment: dict[str, str]) -> None:
    environment[name] = CONFIGURATIONS[name].replace("\x00", "")
    written, _ = on_a_terminal(environment, "--debug", "pull", address)
    assert harmful(written) == set()
    assert not [line for line in written.splitlines() if line.startswith("sha256:forged")]


def test_files_of_the_configuration(
    address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    conf = tmp_path / f"r{EVIL}.conf".replace("\x00", "")
    conf.write_text(f'unqualified-search-registries = ["{chr(0x9B)}31m"\n')
    environment["CONTAINERS_REGISTRIES_CONF"] = str(conf)
    auth = tmp_path / f"a{EVIL}.json".replace("\x00", "")
    auth.write_text(json.dumps({"auths": {LINES: {"auth": LINES}}, "credHelpers": {"x": LINES}}))
    environment["REGISTRY_AUTH_FILE"] = str(auth)
    for arguments in (["why", "app"], ["--debug", "pull", address], ["logout", "--all"]):
        written, _ = on_a_terminal(environment, *arguments)
        assert written
        assert harmful(written) == set()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_each_stream_is_filtered_by_itself(stream: str, environment: dict[str, str]) -> None:
    """The other stream is a pipe and gets the bytes unchanged."""
    program = (
        "import sys; from wherry.cli.printable import install; install(); "
        f"print({EVIL!r}); print({EVIL!r}, file=sys.stderr); sys.stdout.buffer.write(b'\\x1b');"
    )
    parent, terminal = os.openpty()
    streams: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams[stream] = terminal
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=30,
        **streams,  # type: ignore[call-overload]
    )
    os.close(terminal)
    assert harmful(os.read(parent, 65536).decode()) == set()
    os.close(parent)
    assert EVIL.encode() in (done.stderr if stream == "stdout" else done.stdout)


@pytest.mark.parametrize("arguments", [("manifest",), ("config",), ("inspect", "--raw")])
def test_pipes_get_the_bytes(
    arguments: tuple[str, ...], address: str, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wherry", *arguments, address],
        env=environment,
        capture_output=True,
        check=True,
        timeout=30,
    )
    wanted = IMAGE.config.data if arguments == ("config",) else IMAGE.manifest.data
    assert done.stdout == wanted


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_of_files_that_are_not_text(encoding: str, environment: dict[str, str]) -> None:
    """No command fails because the encoding lacks a character."""
    program = (
        "import sys; from wherry.cli.printable import install; install(); "
        "sys.stdout.write('a\\udcff\\ud800…\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
        timeout=30,
    )
    rest = "…" if encoding == "utf-8" else "?"
    assert done.stdout == b"a\xff?" + rest.encode(encoding) + b"\n"


def test_every_character_that_is_not_shown() -> None:
    shown = "".join(map(printable, map(chr, range(0x110000))))
    assert shown.isprintable()
    assert printable_lines("a\tb\r\nc\rd") == "a\tb\nc\ufffdd"
    for invisible in EVIL:
        if not invisible.isascii():
            assert printable(invisible) == "\ufffd"
