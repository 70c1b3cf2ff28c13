"""Credential helpers (github.com/docker/docker-credential-helpers).

A helper is the program ``docker-credential-NAME``. It gets an action as its only argument and a
server or a JSON object on stdin. It writes its reply or an error to stdout.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from wherry.content.cancel import CancelToken
from wherry.model.secret import Secret, SecretBytes
from wherry.registry.auth.credential_files import read_json
from wherry.registry.auth.credentials import Credentials, replace_surrogates, utf8
from wherry.registry.auth.helper_failure import HelperFailure, helper_failure

if TYPE_CHECKING:
    from wherry.registry.auth.helper_process import HelperResult

__all__ = ["PATIENCE", "HelperFailure", "erase", "get", "store"]

PATIENCE = 60.0  # seconds for a helper, which may ask the user to unlock a keyring
TOKEN_USER = "<token>"  # noqa: S105 - the user name that marks an identity token
# How helpers say that they have no credentials for a server; each keyring has its own words.
_NOUNS = (
    r"(?<!docker-)credentials?|entry|item|element|login|account"
    r"|password(?! (store|manager))|secret(?! (service|key))"
)
_NOT_FOUND = re.compile(
    rf"\b(no|missing|unknown) (such |matching )?({_NOUNS})\b"
    # but not "command not found" or "executable file not found"
    rf"|\b({_NOUNS})\b.{{0,200}}(?<!command )(?<!file )"
    r"\b(not|never|couldn't|doesn't|didn't) (be )?(found|find|exist|stored|present|known|there)\b"
    r"|\bnot logged in\b|\bnot in the (password store|keyring|keychain)\b",
    re.IGNORECASE,
)
# Causes in the words of helpers, and as error messages show them.
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
    """Ask a helper for the credentials of a server; return None if it has none.

    Raises:
        HelperFailure: The helper failed, or took longer than ``patience`` seconds.
    """
    result = _run(name, "get", utf8(server), cancel, patience)
    if result.status != 0:
        if _has_nothing(result):
            return None
        raise _failure_of(name, result)
    found = _parse(result.output)
    if found is None:
        raise helper_failure(name, "its output cannot be parsed")
    user, secret = found
    if user == TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(user, secret) if user or secret else None


def _parse(output: bytes) -> tuple[str, Secret] | None:
    """Return the user and the secret in a helper's output; None if invalid."""
    try:
        found: Any = read_json(output)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not (isinstance(user, str) and isinstance(secret, str)):
        return None
    return replace_surrogates(user), Secret(replace_surrogates(secret))


def store(name: str, server: str, credentials: Credentials) -> None:
    """Store credentials in a helper; they replace those that it has for the server.

    Raises:
        HelperFailure: The helper failed, or the credentials are not UTF-8.
    """
    user, secret = credentials.username, credentials.password
    if credentials.identity_token:
        user, secret = TOKEN_USER, credentials.identity_token
    entry = {"ServerURL": server, "Username": user, "Secret": secret}
    raw = _encode(entry)
    if raw is None:
        raise helper_failure(name, "it accepts names and passwords in UTF-8 only")
    result = _run(name, "store", raw, CancelToken())
    if result.status != 0:
        raise _failure_of(name, result)


def _encode(entry: dict[str, str]) -> SecretBytes | None:
    """Encode an object as JSON; return None if its text is not UTF-8."""
    try:
        return SecretBytes(json.dumps(entry, ensure_ascii=False).encode())
    except UnicodeEncodeError:  # it must not escape, since it holds the text
        return None


def erase(name: str, server: str) -> bool:
    """Erase a server's credentials from a helper; return False if it had none.

    Raises:
        HelperFailure: The helper failed and still has the credentials.
    """
    result = _run(name, "erase", utf8(server), CancelToken())
    # Some helpers fail if there is nothing to erase, in words that are not recognised.
    failed = result.status != 0 and not _has_nothing(result)
    if failed and get(name, server, CancelToken()) is not None:
        raise _failure_of(name, result)
    return result.status == 0


def _failure_of(name: str, result: HelperResult) -> HelperFailure:
    """Return the error of a failed helper without quoting it.

    The output may hold the secret, in any encoding.
    """
    said = _output_text(result)
    causes = (ours for theirs, ours in _CAUSES.items() if re.search(theirs, said, re.IGNORECASE))
    return helper_failure(name, f"it failed ({next(causes, f'exit code {result.status}')})")


def _has_nothing(result: HelperResult) -> bool:
    """Return whether a helper says that it has no credentials for the server."""
    return _NOT_FOUND.search(_output_text(result)) is not None


def _output_text(result: HelperResult) -> str:
    return (result.output + b"\n" + result.errors).decode(errors="replace")


def _run(
    name: str, action: str, given: bytes, cancel: CancelToken, patience: float = PATIENCE
) -> HelperResult:
    from wherry.registry.auth import helper_process

    return helper_process.run(name, action, given, cancel, patience)
