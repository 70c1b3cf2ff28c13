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
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dray.content.cancel import CancelToken
from dray.errors import DrayError
from dray.model.secret import Secret, SecretBytes
from dray.registry.credentials import TOKEN_USER, Credentials, read_json, utf8, whole

if TYPE_CHECKING:
    import subprocess

PATIENCE = 60.0  # seconds that a helper may take; it may be asking somebody to unlock a keyring
MAX_ANSWER = 64 * 1024  # bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# How helpers say that they have nothing for a server; each keyring has its own words.
_THING = (
    r"(?<!docker-)credentials?|entry|item|element|login|account"
    r"|password(?! (store|manager))|secret(?! (service|key))"
)
_NOT_THERE = re.compile(
    rf"\b(no|missing|unknown) (such |matching )?({_THING})\b"
    # but neither "command not found" nor "executable file not found"
    rf"|\b({_THING})\b.{{0,200}}(?<!command )(?<!file )"
    r"\b(not|never|couldn't|doesn't|didn't) (be )?(found|find|exist|stored|present|known|there)\b"
    r"|\bnot logged in\b|\bnot in the (password store|keyring|keychain)\b",
    re.IGNORECASE,
)
_SHOWN = 200  # characters of a helper's complaint


class HelperFailed(DrayError):
    """A credential helper is not there, fails, takes too long or makes no sense."""


def get(
    name: str, server: str, cancel: CancelToken, patience: float = PATIENCE
) -> Credentials | None:
    """Ask a helper for a server's credentials; None where it has none.

    Raises `HelperFailed`, also where it takes longer than ``patience`` seconds.
    """
    done = _run(name, "get", utf8(server), cancel, patience)
    if done.status != 0:
        if done.has_nothing:
            return None
        _fail(name, done.complaint)
    found = _read(done.answer)
    if found is None:
        _fail(name, "its answer cannot be read")
    user, secret = found
    if user == TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(user, secret) if user or secret else None


def _read(answer: bytes) -> tuple[str, Secret] | None:
    """Return the user and the secret of an answer; None if it cannot be read."""
    try:
        found: Any = read_json(answer)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not (isinstance(user, str) and isinstance(secret, str)):
        return None
    return whole(user), Secret(whole(secret))


def store(name: str, server: str, credentials: Credentials) -> None:
    """Give credentials to a helper, in place of what it has for the server."""
    user, secret = credentials.username, credentials.password
    if credentials.identity_token:
        user, secret = TOKEN_USER, credentials.identity_token
    given = {"ServerURL": server, "Username": user, "Secret": secret}
    raw = _utf8(given)
    if raw is None:
        _fail(name, "it takes names and passwords in UTF-8 only")
    done = _run(name, "store", raw, CancelToken())
    if done.status != 0:
        _fail(name, done.complaint)


def _utf8(given: dict[str, str]) -> SecretBytes | None:
    """Return an object as JSON; None if there are other bytes than UTF-8 in it."""
    try:
        return SecretBytes(json.dumps(given, ensure_ascii=False).encode())
    except UnicodeEncodeError:  # which holds the text
        return None


def erase(name: str, server: str) -> bool:
    """Make a helper forget a server; False if it has nothing for it.

    Raises `HelperFailed`.
    """
    done = _run(name, "erase", utf8(server), CancelToken())
    # Some fail to erase what they do not have, in words of their own.
    if done.status != 0 and not done.has_nothing and get(name, server, CancelToken()) is not None:
        _fail(name, done.complaint)
    return done.status == 0


def _fail(name: str, message: str) -> NoReturn:
    raise HelperFailed(f"docker-credential-{name}: {message}")


class _Done(NamedTuple):
    """How a helper ended: its exit code, and what it wrote to stdout and to stderr."""

    status: int
    answer: bytes
    errors: bytes

    @property
    def has_nothing(self) -> bool:
        """Whether it says that it has nothing for the server."""
        said = (self.answer + b"\n" + self.errors).decode(errors="replace")
        return _NOT_THERE.search(said) is not None

    @property
    def complaint(self) -> str:
        """What it says on stdout about its failure, unless there may be a secret in it."""
        said = self.answer.decode(errors="replace").strip().partition("\n")[0][:_SHOWN]
        if "{" in said or '"' in said:
            said = ""
        return f"it failed ({said or f'exit code {self.status}'})"


def _run(
    name: str, action: str, given: bytes, cancel: CancelToken, patience: float = PATIENCE
) -> _Done:
    """Run a helper; its answer has at most `MAX_ANSWER` bytes."""
    import subprocess

    if not _NAME.fullmatch(name):
        raise HelperFailed(f"{name!r} is no name of a credential helper")
    try:
        process = subprocess.Popen(  # noqa: S603 - the program that the user's file names
            [f"docker-credential-{name}", action],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # searched for known words and never shown
            bufsize=0,
        )
    except FileNotFoundError:
        _fail(name, "there is no such program in PATH")
    except OSError as error:
        if isinstance(error, PermissionError) and not _exists(f"docker-credential-{name}"):
            _fail(name, "there is no such program in PATH")
        _fail(name, (error.strerror or "it cannot be started").lower())
    with process:
        try:
            return _converse(process, name, given, cancel, patience)
        finally:
            process.kill()  # it may be waiting for input that will not come


def _exists(program: str) -> bool:
    """Tell whether PATH has a program; a directory that may not be searched has none."""
    import shutil

    return shutil.which(program, mode=os.F_OK) is not None


def _converse(
    process: subprocess.Popen[bytes],
    name: str,
    given: bytes,
    cancel: CancelToken,
    patience: float,
) -> _Done:
    import selectors

    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError("all of them are pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(given)
        process.stdin.close()
    deadline = time.monotonic() + patience
    written = dict.fromkeys((process.stdout, process.stderr), SecretBytes())
    with selectors.DefaultSelector() as selector:
        for stream in written:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            cancel.check()
            ready = selector.select(0.05)
            if not ready and process.poll() is not None:
                break  # a process that it has started keeps a pipe open
            for key, _ in ready:
                data = SecretBytes(os.read(key.fd, MAX_ANSWER))
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                if stream is process.stdout and len(written[stream] + data) > MAX_ANSWER:
                    _fail(name, "its answer is too long")
                written[stream] = SecretBytes((written[stream] + data)[:MAX_ANSWER])
                if not data:
                    selector.unregister(stream)
    return _Done(_ended(process, name, deadline), *written.values())


def _ended(process: subprocess.Popen[bytes], name: str, deadline: float) -> int:
    import subprocess

    try:
        return process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _fail(name, "it took longer than it may")
