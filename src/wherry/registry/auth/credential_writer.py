"""Storing and removing credentials, in files and in helpers."""

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
from wherry.registry.auth.credential_files import (
    HUB_URL,
    UnreadableAuthFile,
    bare_host,
    find_helper,
    names_of,
    parse_file,
)
from wherry.registry.auth.credentials import utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wherry.registry.auth.credential_files import CredentialHelper
    from wherry.registry.auth.credentials import Credentials

_HUB = "docker.io"


class CredentialKey(NamedTuple):
    """The scope of stored credentials: a host, or ``path`` on it."""

    host: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> CredentialKey:
        """Parse ``HOST[/PATH]``; a scheme and ``/v1/``, as in docker's keys, are dropped.

        Raises:
            InvalidReference: ``text`` is not a registry, or not a repository on one.
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
    """Store credentials where look-ups find them, and return that place.

    If the files name a helper for the host before any of them has an entry, the helper stores
    them. Otherwise they become an entry of ``default``, which has mode 0600. Its other content
    stays.

    Raises:
        WherryError: The credentials cannot be stored. Nothing has changed.
    """
    for file in files:
        helper = _find_helper(file, key)
        if helper is not None:
            credential_helpers.store(helper.name, helper.server, credentials)
            return f"docker-credential-{helper.name}, which {file} names"
        if _own_keys(_read(file), key):
            break

    def change(content: dict[str, Any]) -> bool:
        auths = content.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise WherryError("auths is not an object", hint="fix or remove it").within(default)
        name = HUB_URL if default.name == "config.json" and str(key) == _HUB else str(key)
        pair = utf8(f"{credentials.username}:{credentials.password}")
        auths[name] = {"auth": base64.b64encode(pair).decode("ascii")}
        return True

    _rewrite(default, change)
    return str(default)


class CredentialRemoval(NamedTuple):
    """The places that credentials were removed from, and the failures."""

    removed: list[str]
    failures: list[WherryError]


def remove(files: Sequence[Path], default: Path, key: CredentialKey) -> CredentialRemoval:
    """Remove credentials from where `save` stores them. This is idempotent.

    A file or helper that fails does not stop the removal from the others.
    """
    removed: list[str] = []
    failures: list[WherryError] = []
    for file in files:
        try:
            helper = _find_helper(file, key)
            if helper is not None and credential_helpers.erase(helper.name, helper.server):
                removed.append(f"docker-credential-{helper.name}")
        except WherryError as error:
            failures.append(error)

    def change(content: dict[str, Any]) -> bool:
        found = _own_keys(content, key)
        for name in found:
            del content["auths"][name]
        return bool(found)

    try:
        if default.exists() and _rewrite(default, change):
            removed.append(str(default))
    except WherryError as error:
        failures.append(error)
    return CredentialRemoval(removed, failures)


def remove_all(default: Path) -> CredentialRemoval:
    """Remove all entries of ``default`` and of the helpers that it names for hosts.

    Returns:
        The hosts, in ``removed``, and the failures of helpers.

    Raises:
        WherryError: The file cannot be read or written.
    """
    content = parse_file(default) or {}
    listed = content.get("credHelpers")
    removed: list[str] = []
    failures: list[WherryError] = []
    for server, name in listed.items() if isinstance(listed, dict) else ():
        try:
            if isinstance(name, str) and name and credential_helpers.erase(name, server):
                removed.append(server)
        except WherryError as error:
            failures.append(error)

    def change(content: dict[str, Any]) -> bool:
        auths = content.get("auths")
        if not isinstance(auths, dict) or not auths:
            return False
        removed.extend(bare_host(name) for name in auths)
        content["auths"] = {}
        return True

    if content:
        _rewrite(default, change)
    return CredentialRemoval(sorted(set(removed)), failures)


def _find_helper(file: Path, key: CredentialKey) -> CredentialHelper | None:
    """Return the helper that a file names for a host; helpers do not know paths."""
    return None if key.path else find_helper(_read(file), file, key.host)


def _read(file: Path) -> dict[str, Any]:
    """Return a file's content; nothing if it does not exist or cannot be read."""
    try:
        return parse_file(file) or {}
    except UnreadableAuthFile:
        return {}


def _own_keys(content: dict[str, Any], key: CredentialKey) -> list[str]:
    """Return the keys of a file's entries for exactly this host and path."""
    auths = content.get("auths")
    if not isinstance(auths, dict):
        return []
    wanted = {"/".join(filter(None, (name, key.path))) for name in names_of(key.host)}
    return [name for name in auths if bare_host(name) in wanted]


def _rewrite(file: Path, change: Callable[[dict[str, Any]], bool]) -> bool:
    """Change a file's content atomically; return whether ``change`` changed anything.

    A symbolic link stays a link.
    """
    try:
        target = file.resolve()
        if target.exists() and not target.is_file():  # a new file would replace it
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
    """Keep other processes of wherry from changing files in a directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
