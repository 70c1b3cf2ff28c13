"""Credentials that people already have: ``auth.json`` and docker's ``config.json``."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dray.errors import DrayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_FILE = 4 * 2**20  # bytes of a credentials file
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password, or an identity token to be exchanged for others."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


class CredentialStore(NamedTuple):
    """Where to look, in order; ``fixed`` goes before all files and to every host."""

    files: tuple[Path, ...] = ()
    fixed: Credentials | None = None

    def find(self, host: str, path: str) -> Credentials | None:
        """Return the credentials for a repository; raises `DrayError` on an unreadable file.

        Within a file the longest matching key wins: ``host/path`` before ``host``.
        """
        if self.fixed is not None:
            return self.fixed
        for file in self.files:
            auths = _read(file)
            for key in _keys(host, path):
                found = _decode(auths.get(key), file, key)
                if found is not None:
                    return found
        return None


def _keys(host: str, path: str) -> Iterator[str]:
    parts = path.split("/")
    hosts: Sequence[str] = _DOCKER_HUB if host in _DOCKER_HUB else (host,)
    for length in range(len(parts), 0, -1):
        for name in hosts:
            yield "/".join([name, *parts[:length]])
    yield from hosts


def _read(file: Path) -> dict[str, Any]:
    """Return a file's entries by host, legacy addresses reduced to their host."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DrayError(f"{file}: {error.strerror}") from error
    try:
        content = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise DrayError(f"{file}: not valid JSON", hint="mend or remove it") from None
    auths = content.get("auths") if isinstance(content, dict) else None
    if not isinstance(auths, dict):
        return {}
    found = {_host(key): entry for key, entry in auths.items() if "://" in key}
    return found | {key: entry for key, entry in auths.items() if "://" not in key}


def _host(key: str) -> str:
    """Reduce ``https://index.docker.io/v1/`` to ``index.docker.io``."""
    return key.partition("://")[2].partition("/")[0]


def _decode(entry: Any, file: Path, key: str) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    token = token if isinstance(token, str) else ""
    encoded = entry.get("auth")
    if not isinstance(encoded, str) or not encoded:
        return Credentials(identity_token=token) if token else None
    try:
        pair = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise DrayError(
            f"{file}: the entry for {key} cannot be decoded", hint="log in again"
        ) from None
    username, _, password = pair.partition(":")
    return Credentials(username, password.rstrip("\0"), token)
