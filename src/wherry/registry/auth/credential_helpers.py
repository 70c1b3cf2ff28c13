"""Programs that keep credentials: ``docker-credential-NAME``, as docker and podman call them.

The protocol is that of github.com/docker/docker-credential-helpers: an action as the only
argument, the server or an object on stdin, the answer or an error on stdout.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from wherry.content.cancel import CancelToken
from wherry.model.secret import Secret, SecretBytes
from wherry.registry.auth.credentials import TOKEN_USER, Credentials, read_json, utf8, whole
from wherry.registry.auth.helper_failure import HelperFailure, helper_failure

if TYPE_CHECKING:
    from wherry.registry.auth.helper_process import HelperResult

__all__ = ["PATIENCE", "HelperFailure", "erase", "get", "store"]

PATIENCE = 60.0  # seconds that a helper may take; it may ask the user to unlock a keyring
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
# Causes that helpers name, and how they are shown.
_CAUSES = {
    r"\b(keyring|keychain|collection|wallet|vault|store)\b.{0,40}\blocked\b": "keyring is locked",
    r"\bpass(word store)?\b.{0,20}\bnot initiali[sz]ed\b": "pass is not set up",
    r"\bdecryption failed\b": "gpg cannot decrypt the entry",
    r"\b(executable file|command) not found\b": "a program that it needs is not in PATH",
    r"\bd-?bus\b|\borg\.freedesktop\.secrets\b": "there is no secret service",
    r"\bno such host\b|\bconnection refused\b": "its server cannot be reached",
}


def get(
    name: str, server: str, cancel: CancelToken, patience: float = PATIENCE
) -> Credentials | None:
    """Ask a helper for a server's credentials; None where it has none.

    Raises `HelperFailure`, also where it takes longer than ``patience`` seconds.
    """
    done = _run(name, "get", utf8(server), cancel, patience)
    if done.status != 0:
        if _has_nothing(done):
            return None
        raise _failed(name, done)
    found = _read(done.answer)
    if found is None:
        raise helper_failure(name, "its answer cannot be read")
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
        raise helper_failure(name, "it takes names and passwords in UTF-8 only")
    done = _run(name, "store", raw, CancelToken())
    if done.status != 0:
        raise _failed(name, done)


def _utf8(given: dict[str, str]) -> SecretBytes | None:
    """Return an object as JSON; None if there are other bytes than UTF-8 in it."""
    try:
        return SecretBytes(json.dumps(given, ensure_ascii=False).encode())
    except UnicodeEncodeError:  # which holds the text
        return None


def erase(name: str, server: str) -> bool:
    """Make a helper forget a server; False if it has nothing for it.

    Raises `HelperFailure`.
    """
    done = _run(name, "erase", utf8(server), CancelToken())
    # Some fail to erase what they do not have, in words of their own.
    failed = done.status != 0 and not _has_nothing(done)
    if failed and get(name, server, CancelToken()) is not None:
        raise _failed(name, done)
    return done.status == 0


def _failed(name: str, done: HelperResult) -> HelperFailure:
    """Return the error of a helper that has failed, in words of ours.

    What a helper says may hold the secret that it was given or has found, in any encoding.
    """
    said = _said(done)
    causes = (ours for theirs, ours in _CAUSES.items() if re.search(theirs, said, re.IGNORECASE))
    return helper_failure(name, f"it failed ({next(causes, f'exit code {done.status}')})")


def _has_nothing(done: HelperResult) -> bool:
    """Tell whether a helper says that it has nothing for the server."""
    return _NOT_THERE.search(_said(done)) is not None


def _said(done: HelperResult) -> str:
    return (done.answer + b"\n" + done.errors).decode(errors="replace")


def _run(
    name: str, action: str, given: bytes, cancel: CancelToken, patience: float = PATIENCE
) -> HelperResult:
    from wherry.registry.auth import helper_process

    return helper_process.run(name, action, given, cancel, patience)
