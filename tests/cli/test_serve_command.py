"""The command `serve`: its messages, its logs, its end."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passwords import entry
from wherry.cli.serve import announce
from wherry.testing.certs import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

    import wherry as library
    from conftest import Wherry

READY = "serving {} on http://127.0.0.1:{}; Ctrl-C ends it\n"


@contextlib.contextmanager
def serving(wherry: Wherry, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server on a free port; yield its process and its first line."""
    process = wherry.start(*arguments, "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


def port_of(line: str) -> str:
    return line.partition(";")[0].rpartition(":")[2]


def fetch(port: str, target: str) -> int:
    with contextlib.closing(urllib.request.urlopen(f"http://127.0.0.1:{port}{target}")) as answer:
        return int(answer.status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server(wherry: Wherry, number: signal.Signals) -> None:
    with serving(wherry, "serve") as (process, line):
        assert line == READY.format("0 repositories", port_of(line))
        assert fetch(port_of(line), "/v2/") == 200
        process.send_signal(number)
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0  # after a second it would be that of an interrupt


def test_the_line_counts_repositories(
    client: library.Client, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.pull(name)
    announce(client.store, "http://127.0.0.1:5000", None, None)
    client.store.tag(f"store:{name}", "other:1")
    client.store.tag(f"store:{name}", "other:2")
    announce(client.store, "http://[::1]:5000", None, None)
    assert capsys.readouterr().err == (
        "serving 1 repository on http://127.0.0.1:5000; Ctrl-C ends it\n"
        "serving 2 repositories on http://[::1]:5000; Ctrl-C ends it\n"
    )


def test_a_store_that_cannot_be_written_is_served_with_a_warning(wherry: Wherry) -> None:
    with serving(wherry, "--store", "/proc/none", "serve") as (process, line):
        assert line.startswith("Warning: /proc/none: ")
        assert line.endswith(": it is served, but nothing can be added to it\n")
        assert process.stderr is not None
        assert process.stderr.readline().startswith("serving 0 repositories on ")
    with serving(wherry, "--store", "/proc/none", "serve", "--read-only") as (_, line):
        assert line.startswith("serving 0 repositories on ")


@pytest.mark.parametrize(
    ("url", "users", "tls", "warning"),
    [
        ("http://192.0.2.1:5000", False, False, "everybody who can connect has access"),
        ("https://0.0.0.0:5000", False, True, "everybody who can connect has access"),
        ("http://[::]:5000", True, False, "passwords are sent unencrypted"),
        ("https://0.0.0.0:5000", True, True, ""),
        ("http://127.0.0.1:5000", True, False, ""),
    ],
)
def test_what_is_not_protected_is_said(
    client: library.Client,
    capsys: pytest.CaptureFixture[str],
    url: str,
    users: bool,
    tls: bool,
    warning: str,
) -> None:
    file = Path("file")
    announce(client.store, url, file if users else None, (file, file) if tls else None)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (2 if warning else 1)
    assert warning in lines[0]


def test_requests_are_logged(wherry: Wherry, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("earlier\n")
    with serving(wherry, "-v", "serve", "--access-log", str(log)) as (process, line):
        assert fetch(port_of(line), "/v2/?token=hidden") == 200
        assert fetch(port_of(line), "/healthz") == 200
        process.terminate()
        _, errors = process.communicate(timeout=10)
    logged = log.read_text().splitlines()
    assert logged == ["earlier", *errors.splitlines()]
    assert [line.split()[3:6] for line in logged[1:]] == [
        ['"GET', '/v2/"', "200"],
        ['"GET', '/healthz"', "200"],
    ]


def test_an_access_log_on_a_full_disk_is_warned_of_once(wherry: Wherry) -> None:
    with serving(wherry, "serve", "--access-log", "/dev/full") as (process, line):
        assert [fetch(port_of(line), "/v2/") for _ in range(3)] == [200, 200, 200]
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (
        0,
        "Warning: /dev/full: the access log cannot be written (No space left on device)\n",
    )


def test_options_reach_the_server(wherry: Wherry, tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(entry("alice", "secret"))
    options = ("--read-only", "--no-ui", "--htpasswd", str(tmp_path / "users"))
    with serving(wherry, "serve", *options) as (_, line):
        address = f"http://alice:secret@127.0.0.1:{port_of(line)}"
        codes = []
        for target, method in (("/v2/", "GET"), ("/", "GET"), ("/v2/a/blobs/uploads/", "POST")):
            command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method)
            done = subprocess.run([*command, address + target], capture_output=True, check=True)
            codes.append(done.stdout)
        assert codes == [b"200", b"404", b"405"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetch(port_of(line), "/v2/")


def test_a_file_or_an_address_that_cannot_be_used(wherry: Wherry, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("alice:plain\n")
    _, certificate, _ = make_certificate(tmp_path / "one")
    _, _, key = make_certificate(tmp_path / "two")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        plain = "line 1: the password of 'alice' is not hashed by bcrypt"
        for code, hint, message, options in (
            (1, "--listen", f"{taken}: cannot listen (Address already", ("--listen", taken)),
            (2, "--help", "'5000' is not an address to listen on", ("--listen", "5000")),
            (
                1,
                "htpasswd -B",
                plain,
                ("--htpasswd", str(users)),
            ),
            (1, "", "the key does not belong to", ("--tls", str(certificate), str(key))),
        ):
            done = wherry("serve", *options)
            assert (done.returncode, done.stdout) == (code, "")
            first, *hints = done.stderr.splitlines()
            assert first.startswith("wherry: ")
            assert message in first
            assert hint in "".join(hints)


def test_a_missing_extra_is_one_line(environment: dict[str, str]) -> None:
    program = """
import sys
sys.modules["granian"] = None  # as if it were not installed
sys.argv = ["wherry", "serve"]
from wherry.cli.entry import main
main()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "wherry: serve needs the package granian\n"
        "  install it with the others: pip install 'wherry[serve]'\n"
    )
