"""Keeping credentials: entries of files, written whole or not at all, and helpers."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.content.output import make_directory, whole_file
from wherry.content.small_file import kind_of
from wherry.errors import InvalidReference, WherryError
from wherry.model.reference import Reference
from wherry.registry.auth import credential_helpers
from wherry.registry.auth.credentials import (
    HUB_URL,
    UnreadableAuthFile,
    bare_host,
    helper_for,
    names_of,
    parse_file,
    utf8,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wherry.registry.auth.credentials import CredentialHelper, Credentials

_HUB = "docker.io"


class CredentialKey(NamedTuple):
    """What credentials are for: a host, or the repositories below a ``path`` of it."""

    host: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> CredentialKey:
        """Read ``HOST[/PATH]``; a scheme and ``/v1/`` are taken off, as docker has them.

        Raises `InvalidReference`.
        """
        name = text.partition("://")[2] if "://" in text else text
        host, _, path = name.rstrip("/").partition("/")
        if path in {"v1", "v2"}:
            path = ""
        if host in names_of(_HUB):
            host = _HUB
        place = text.index(name) if name else 0
        try:
            found = Reference.parse(f"{host}/{path or 'x'}")
        except InvalidReference as error:
            raise InvalidReference(
                error.message, text=text, position=min(place + error.position, len(text))
            ) from None
        if found.domain != host or not found.is_name_only:
            raise InvalidReference(
                "a registry is HOST, HOST:PORT or HOST/PATH, its host with a dot or a port",
                text=text,
                position=place,
            )
        return cls(host, path)

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" if self.path else self.host


def save(files: Sequence[Path], default: Path, key: CredentialKey, credentials: Credentials) -> str:
    """Keep credentials where they will be found, and return where that is; idempotent.

    A helper is given them, if the files name one for the host before any of them has an entry;
    else they become an entry of ``default``, which is written with mode 0600 and keeps what else
    is in it. Raises `WherryError`; then nothing has changed.
    """
    for file in files:
        helper = _helper(file, key)
        if helper is not None:
            credential_helpers.store(helper.name, helper.server, credentials)
            return f"docker-credential-{helper.name}, which {file} names"
        if _own(_look(file), key):
            break

    def change(content: dict[str, Any]) -> bool:
        auths = content.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise WherryError("auths is no object", hint="mend or remove it").within(default)
        name = HUB_URL if default.name == "config.json" and str(key) == _HUB else str(key)
        pair = utf8(f"{credentials.username}:{credentials.password}")
        auths[name] = {"auth": base64.b64encode(pair).decode("ascii")}
        return True

    _rewrite(default, change)
    return str(default)


class CredentialRemoval(NamedTuple):
    """From where credentials were removed, and what failed on the way."""

    gone: list[str]
    failures: list[WherryError]


def remove(files: Sequence[Path], default: Path, key: CredentialKey) -> CredentialRemoval:
    """Forget credentials where `save` keeps them; idempotent.

    A file or helper that fails keeps no other one from being asked.
    """
    gone: list[str] = []
    failures: list[WherryError] = []
    for file in files:
        try:
            helper = _helper(file, key)
            if helper is not None and credential_helpers.erase(helper.name, helper.server):
                gone.append(f"docker-credential-{helper.name}")
        except WherryError as error:
            failures.append(error)

    def change(content: dict[str, Any]) -> bool:
        found = _own(content, key)
        for name in found:
            del content["auths"][name]
        return bool(found)

    try:
        if default.exists() and _rewrite(default, change):
            gone.append(str(default))
    except WherryError as error:
        failures.append(error)
    return CredentialRemoval(gone, failures)


def remove_all(default: Path) -> CredentialRemoval:
    """Forget all entries of ``default``, and what its helpers for hosts keep.

    ``gone`` holds hosts. Raises `WherryError` if the file cannot be read or written.
    """
    content = parse_file(default) or {}
    listed = content.get("credHelpers")
    gone: list[str] = []
    failures: list[WherryError] = []
    for server, name in listed.items() if isinstance(listed, dict) else ():
        try:
            if isinstance(name, str) and name and credential_helpers.erase(name, server):
                gone.append(server)
        except WherryError as error:
            failures.append(error)

    def change(content: dict[str, Any]) -> bool:
        auths = content.get("auths")
        if not isinstance(auths, dict) or not auths:
            return False
        gone.extend(bare_host(name) for name in auths)
        content["auths"] = {}
        return True

    if content:
        _rewrite(default, change)
    return CredentialRemoval(sorted(set(gone)), failures)


def _helper(file: Path, key: CredentialKey) -> CredentialHelper | None:
    """Return the helper that a file names; helpers know hosts, no paths."""
    return None if key.path else helper_for(_look(file), file, key.host)


def _look(file: Path) -> dict[str, Any]:
    """Return what a file says to us: nothing, if it is not there or not ours to read."""
    try:
        return parse_file(file) or {}
    except UnreadableAuthFile:
        return {}


def _own(content: dict[str, Any], key: CredentialKey) -> list[str]:
    """Return the names under which a file has an entry for exactly this."""
    auths = content.get("auths")
    if not isinstance(auths, dict):
        return []
    wanted = {"/".join(filter(None, (name, key.path))) for name in names_of(key.host)}
    return [name for name in auths if bare_host(name) in wanted]


def _rewrite(file: Path, change: Callable[[dict[str, Any]], bool]) -> bool:
    """Change a file's content; whoever reads it sees all of that or nothing.

    ``change`` returns whether it has changed anything. A symbolic link stays one.
    """
    try:
        target = file.resolve()
        if target.exists() and not target.is_file():  # which a new file would replace
            found = kind_of(target.stat().st_mode) or "is a directory"
            raise WherryError(
                f"{found}, credentials are kept in a file",
                hint="name another file with --authfile",
            ).within(file)
        make_directory(target.parent, 0o700)
        with _locked(target.parent):
            content = parse_file(target, strict=True) or {}
            if not change(content):
                return False
            with (
                whole_file(target, 0o600) as descriptor,
                open(descriptor, "wb", closefd=False) as stream,
            ):
                stream.write(json.dumps(content, indent="\t").encode() + b"\n")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WherryError(
            f"cannot be written ({reason})", hint="name another file with --authfile"
        ).within(file) from None
    return True


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep others of us from changing a file there at the same time."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
