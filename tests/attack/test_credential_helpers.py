"""Credential helpers that print secrets, write without end, hang or leave children."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled
from wherry.registry.auth import credential_helpers
from wherry.registry.auth.credentials import Credentials
from wherry.testing import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Wherry

SECRET = 'geheim "&\\ %41/+?é'
# Forms in which a program may write a secret.
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64-of-pair": lambda secret: base64.b64encode(f"me:{secret}".encode()).decode(),
    "quoted": lambda secret: urllib.parse.quote(secret, safe=""),
    "plus-quoted": urllib.parse.quote_plus,
    "json": lambda secret: json.dumps(secret)[1:-1],
    "json-in-json": lambda secret: json.dumps(json.dumps(secret))[1:-1],
    "reversed": lambda secret: secret[::-1],
    "upper": str.upper,
    "hex": lambda secret: secret.encode().hex(),
    "latin-1": lambda secret: secret.encode("latin-1").decode("utf-8", "replace"),
    "half": lambda secret: secret[: len(secret) // 2],
}

# A helper in Python: `{body}` runs with `action` and the input. The second line is a command to
# the shell and a string to Python, since a path with a space cannot follow `#!`.
PROGRAM = """#!/bin/sh
"exec" "{python}" "-IS" "$0" "$@"
import os, signal, subprocess, sys, time
action = sys.argv[1]
{body}
"""


def program(body: str) -> str:
    return PROGRAM.format(python=sys.executable, body=body)


def telling(text: str, stream: str) -> str:
    """Return a helper that writes ``text`` and fails for every action."""
    data = text.encode("utf-8", "surrogateescape")
    return program(f"sys.stdin.read()\nsys.{stream}.buffer.write({data!r})\nsys.exit(1)")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(users={"me": SECRET}) as served:
        yield served


PREFIXES = ("", "error storing credentials: ", "keyring is locked: ")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("how", "prefix"), [(how, PREFIXES[n % len(PREFIXES)]) for n, how in enumerate(ENCODINGS)]
)
def test_no_word_of_a_failing_helper_is_shown(
    helper_program: Callable[..., Path], how: str, prefix: str, stream: str
) -> None:
    told = ENCODINGS[how](SECRET)
    helper_program("telling", telling(prefix + told, stream))
    token = CancelToken()
    with pytest.raises(credential_helpers.HelperFailure) as storing:
        credential_helpers.store("telling", "h.example", Credentials("me", SECRET))
    with pytest.raises(credential_helpers.HelperFailure) as getting:
        credential_helpers.get("telling", "h.example", token)
    with pytest.raises(credential_helpers.HelperFailure) as erasing:
        credential_helpers.erase("telling", "h.example")
    for caught in (storing, getting, erasing):
        reason = "keyring is locked" if "locked" in prefix else "exit code 1"
        assert str(caught.value).startswith(f"docker-credential-telling: it failed ({reason})")
        for shown in (str(caught.value), repr(caught.value), caught.value.hint):
            assert told not in shown
            assert "geheim" not in shown.lower()


def test_login_shows_no_word_of_a_failing_helper(
    wherry: Wherry, registry: FakeRegistry, helper_program: Callable[..., Path], tmp_path: Path
) -> None:
    helper_program("telling", telling(f"cannot store {SECRET}", "stdout"))
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"credHelpers": {registry.host: "telling"}}))
    done = wherry(
        "login", "-u", "me", "--password-stdin", f"--authfile={file}", registry.host,
        given=SECRET, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "docker-credential-telling: it failed (exit code 1)" in done.stderr
    assert "geheim" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "name",
    ["../x", "x/../y", "/bin/x", "x\\y", "x\0y", "x;y", "x y", "$(x)", "x\ny", ".x", "-x", "é", ""],
)
def test_a_helper_is_named_by_a_plain_name(helper_program: Callable[..., Path], name: str) -> None:
    helper_program("x")
    with pytest.raises(
        credential_helpers.HelperFailure, match="not a valid name of a credential helper"
    ):
        credential_helpers.get(name, "h.example", CancelToken())


# Helpers that hang


def lives(file: Path) -> bool:
    """Return whether the process whose id a helper has written is running."""
    try:
        state = Path(f"/proc/{file.read_text()}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def wait_for_end(*files: Path) -> None:
    """Wait until the processes whose ids are in `files` have ended."""
    wait_for(lambda: not any(lives(file) for file in files))


HANGING = {
    "sleeps": "time.sleep(120)",
    "ignores signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(120)",
    "closes its output": "for fd in (0, 1, 2): os.close(fd)\ntime.sleep(120)",
    "reads for ever": "while True: sys.stdin.read()",
    "trickles": "while True:\n    os.write(2, b'.')\n    time.sleep(0.01)",
    "stops": "os.kill(os.getpid(), signal.SIGSTOP)",
}


def hanging(tmp_path: Path, body: str) -> tuple[str, Path, Path]:
    """Return a helper that writes its process id and a child's, and then runs ``body``."""
    own, child = tmp_path / "own", tmp_path / "child"
    return (
        program(
            "child = subprocess.Popen(['sleep', '120'])\n"
            f"open({str(child)!r}, 'w').write(str(child.pid))\n"
            f"open({str(own)!r} + '.new', 'w').write(str(os.getpid()))\n"
            f"os.rename({str(own)!r} + '.new', {str(own)!r})\n{body}"
        ),
        own,
        child,
    )


@pytest.mark.parametrize("how", HANGING)
def test_a_helper_is_killed_with_its_children_when_it_takes_too_long(
    helper_program: Callable[..., Path], tmp_path: Path, how: str
) -> None:
    text, own, child = hanging(tmp_path, HANGING[how])
    helper_program("slow", text)
    with pytest.raises(credential_helpers.HelperFailure, match="took too long"):
        credential_helpers.get("slow", "h.example", CancelToken(), 1.5)
    wait_for_end(own, child)


@pytest.mark.parametrize("how", HANGING)
def test_a_helper_is_killed_with_its_children_when_the_caller_cancels(
    helper_program: Callable[..., Path], tmp_path: Path, how: str
) -> None:
    text, own, child = hanging(tmp_path, HANGING[how])
    helper_program("slow", text)
    token = CancelToken()

    def cancel() -> None:
        wait_for(own.exists)
        token.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(Cancelled):
        credential_helpers.get("slow", "h.example", token)
    wait_for_end(own, child)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["pull", "login", "logout"])
def test_a_helper_is_killed_with_its_children_when_wherry_is_interrupted(
    wherry: Wherry, registry: FakeRegistry, helper_program: Callable[..., Path], tmp_path: Path,
    command: str, sent: signal.Signals,
) -> None:  # fmt: skip
    text, own, child = hanging(tmp_path, HANGING["ignores signals"])
    helper_program("slow", text)
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"credHelpers": {registry.host: "slow"}}))
    arguments = {
        "pull": ["pull", f"--authfile={file}", f"{registry.host}/app:t"],
        "login": ["login", "-u", "me", "--password-stdin", f"--authfile={file}", registry.host],
        "logout": ["logout", f"--authfile={file}", registry.host],
    }[command]
    environment = wherry.environment | {"PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, "-m", "wherry", *arguments], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdin is not None
            process.stdin.write(SECRET)
            process.stdin.flush()
            process.stdin.close()
            process.stdin = None
            wait_for(own.exists)
            process.send_signal(sent)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130, said
    wait_for_end(own, child)


def test_a_helper_that_never_reads_a_large_secret(helper_program: Callable[..., Path]) -> None:
    helper_program("deaf", program("time.sleep(0.5)"))
    credential_helpers.store("deaf", "h.example", Credentials("me", "x" * 2_000_000))


def test_a_helper_gets_a_large_secret_whole(helper_program: Callable[..., Path]) -> None:
    body = "time.sleep(0.3)\nsys.exit(len(sys.stdin.read()) < 2_000_000)"
    helper_program("slow", program(body))
    credential_helpers.store("slow", "h.example", Credentials("me", "x" * 2_000_000))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("while True: os.write(1, b'topsecret' * 1000)", "its output is too long"),
        ("while True: os.write(2, b'topsecret' * 1000)", "it writes too much"),
        ('os.write(1, b\'{"Username":"me","Secret":\' * 9999)', "its output is too long"),
    ],
)
def test_a_helper_that_writes_without_end(
    helper_program: Callable[..., Path], body: str, words: str
) -> None:
    helper_program("loud", program(body))
    with pytest.raises(credential_helpers.HelperFailure, match=words):
        credential_helpers.get("loud", "h.example", CancelToken())


@pytest.mark.parametrize(
    "kept", ["sleep 60 &", "yes >&2 &", "(while :; do echo; sleep 0.01; done) &"]
)
def test_a_child_that_keeps_the_pipes_holds_up_nothing(
    helper_program: Callable[..., Path], tmp_path: Path, kept: str
) -> None:
    pid = tmp_path / "child"
    answer = '{"Username":"me","Secret":"pw"}'
    helper_program("parent", f"#!/bin/sh\necho '{answer}'\n{kept}\necho $! > {pid}\n")
    try:
        found = credential_helpers.get("parent", "h.example", CancelToken(), 20)
        assert found == Credentials("me", "pw")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "answer",
    [b"\xff\xfe{", b'{"Username":"me"', b'{"Username":"\xff","Secret":[]}', b"\0", b"[" * 60000],
)
def test_a_response_that_is_not_text(helper_program: Callable[..., Path], answer: bytes) -> None:
    helper_program("binary", program(f"os.write(1, {answer!r})"))
    with pytest.raises(credential_helpers.HelperFailure, match="its output cannot be parsed"):
        credential_helpers.get("binary", "h.example", CancelToken())


def test_a_helper_inherits_no_descriptor(
    helper_program: Callable[..., Path], tmp_path: Path
) -> None:
    listed = tmp_path / "listed"
    body = f"open({str(listed)!r}, 'w').write(repr(sorted(os.listdir('/proc/self/fd'))))"
    helper_program("open", program(body))
    inheritable = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(inheritable, True)  # noqa: FBT003 - the library's
    try:
        credential_helpers.store("open", "h.example", Credentials("me", "pw"))
    finally:
        os.close(inheritable)
    code = "import os; f = open(os.devnull, 'w'); print(sorted(os.listdir('/proc/self/fd')))"
    alone = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert listed.read_text() == alone.strip()
