"""Programs that keep credentials: ``docker-credential-NAME``, as docker and podman call them.

The protocol is that of github.com/docker/docker-credential-helpers: an action as the only
argument, the server or an object on stdin, the answer or an error on stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import TYPE_CHECKING, Any, NoReturn

from dray.content.cancel import CancelToken
from dray.errors import DrayError
from dray.registry.credentials import TOKEN_USER, Credentials

if TYPE_CHECKING:
    import subprocess

PATIENCE = 60.0  # seconds that a helper may take; it may be asking somebody to unlock a keyring
MAX_ANSWER = 64 * 1024  # bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NOT_THERE = ("credentials not found", "no credentials", "missing credentials")
_SHOWN = 200  # characters of a helper's complaint


class HelperFailed(DrayError):
    """A credential helper is not there, fails, takes too long or makes no sense."""


def get(
    name: str, server: str, cancel: CancelToken, patience: float = PATIENCE
) -> Credentials | None:
    """Ask a helper for a server's credentials; None where it has none.

    Raises `HelperFailed`, also where it takes longer than ``patience`` seconds.
    """
    status, answer = _run(name, "get", server.encode(), cancel, patience)
    if status != 0:
        if answer.decode(errors="replace").strip().lower().startswith(_NOT_THERE):
            return None
        _fail(name, _complaint(status, answer))
    try:
        found: Any = json.loads(answer)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        _fail(name, "its answer cannot be read")
    if not (isinstance(user, str) and isinstance(secret, str)):
        _fail(name, "its answer cannot be read")
    if user == TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(user, secret) if user or secret else None


def store(name: str, server: str, credentials: Credentials) -> None:
    """Give credentials to a helper, in place of what it has for the server."""
    user, secret = credentials.username, credentials.password
    if credentials.identity_token:
        user, secret = TOKEN_USER, credentials.identity_token
    given = {"ServerURL": server, "Username": user, "Secret": secret}
    status, answer = _run(name, "store", json.dumps(given).encode(), CancelToken())
    if status != 0:
        _fail(name, _complaint(status, answer))


def erase(name: str, server: str) -> bool:
    """Make a helper forget a server; False where it did not know it."""
    status, answer = _run(name, "erase", server.encode(), CancelToken())
    if status != 0 and not answer.decode(errors="replace").lower().startswith(_NOT_THERE):
        _fail(name, _complaint(status, answer))
    return status == 0


def _fail(name: str, message: str) -> NoReturn:
    raise HelperFailed(f"docker-credential-{name}: {message}")


def _complaint(status: int, answer: bytes) -> str:
    """Say what a helper said when it failed, unless there may be a secret in it."""
    said = answer.decode(errors="replace").strip().partition("\n")[0][:_SHOWN]
    if "{" in said or '"' in said:
        said = ""
    return f"it failed ({said or f'exit code {status}'})"


def _run(
    name: str, action: str, given: bytes, cancel: CancelToken, patience: float = PATIENCE
) -> tuple[int, bytes]:
    """Run a helper and return its exit code and at most `MAX_ANSWER` bytes that it printed."""
    import subprocess

    if not _NAME.fullmatch(name):
        raise HelperFailed(f"{name!r} is no name of a credential helper")
    try:
        # What it prints beside its answer is not shown: nobody knows what is in it.
        process = subprocess.Popen(  # noqa: S603 - the program that the user's file names
            [f"docker-credential-{name}", action],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    except FileNotFoundError:
        _fail(name, "there is no such program in PATH")
    except OSError as error:
        _fail(name, (error.strerror or "it cannot be started").lower())
    with process:
        try:
            return _converse(process, name, given, cancel, patience)
        finally:
            process.kill()  # it may be waiting for somebody who will not come


def _converse(
    process: subprocess.Popen[bytes],
    name: str,
    given: bytes,
    cancel: CancelToken,
    patience: float,
) -> tuple[int, bytes]:
    import selectors

    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(given)
        process.stdin.close()
    deadline, answer = time.monotonic() + patience, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            cancel.check()
            if not selector.select(0.05):
                if process.poll() is not None:  # though something it started holds the pipe
                    return process.returncode, answer
                continue
            data = os.read(process.stdout.fileno(), MAX_ANSWER)
            answer += data
            if len(answer) > MAX_ANSWER:
                _fail(name, "its answer is too long")
            if not data:
                return _ended(process, name, deadline), answer
    _fail(name, "it took longer than it may")


def _ended(process: subprocess.Popen[bytes], name: str, deadline: float) -> int:
    import subprocess

    try:
        return process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _fail(name, "it took longer than it may")
