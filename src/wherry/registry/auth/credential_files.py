"""Files with credentials: containers-auth.json(5), config.json, .dockercfg."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from wherry.content.small_file import read_small
from wherry.errors import WherryError
from wherry.model.record import Record
from wherry.model.secret import Secret, SecretBytes, SecretFields
from wherry.model.strict_json import check_values
from wherry.registry.auth.credentials import Credentials, replace_surrogates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HUB_URL = "https://index.docker.io/v1/"  # docker's key for Docker Hub in its files
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class UnreadableAuthFile(WherryError):
    """A file that the user has no permission to read."""


class CredentialHelper(Record):
    """A helper that a file names for a host, and the name that it knows the host by."""

    name: str
    server: str


def parse_file(file: Path, *, strict: bool = False) -> dict[str, Any] | None:
    """Return a file's content, or None if it does not exist.

    Bytes that are not UTF-8 become surrogates (PEP 383). ``strict`` is for callers that write
    the file again: then such bytes, and JSON that is not an object, are errors.

    Raises:
        UnreadableAuthFile: The user has no permission to read the file.
        WherryError: The file cannot be read or parsed; the message names it.
    """
    try:
        raw = SecretBytes(read_small(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise UnreadableAuthFile(str(error.strerror)).within(file) from error
    except OSError as error:
        raise WherryError(str(error.strerror)).within(file) from error
    try:
        check_values(raw, str(file))
        content = read_json(raw, strict=strict) if raw.strip() else {}
    except (ValueError, RecursionError):
        content = raw
    if isinstance(content, bytes) or (strict and not isinstance(content, dict)):
        raise WherryError("not valid JSON", hint="fix or remove it").within(file)
    return content if isinstance(content, dict) else {}


def read_json(raw: bytes, *, strict: bool = False) -> Any:
    """Parse JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Other bytes become surrogates (PEP 383) unless ``strict``.

    Raises:
        ValueError: It is not valid JSON.
        RecursionError: It is nested too deeply.
    """
    errors = "strict" if strict else "surrogateescape"
    text = Secret(raw.decode(json.detect_encoding(raw), errors))
    return json.loads(text, object_pairs_hook=SecretFields)


def find_helper(content: Mapping[str, Any], file: Path, host: str) -> CredentialHelper | None:
    """Return the helper that a file names for a host.

    ``credHelpers`` comes first. ``credsStore`` is for all hosts, and only in docker's own file.
    """
    helpers = content.get("credHelpers")
    for key in (*names_of(host), *([HUB_URL] if host in _DOCKER_HUB else [])):
        name = helpers.get(key) if isinstance(helpers, dict) else None
        if isinstance(name, str):  # an empty name exempts the host from credsStore
            return CredentialHelper(name, key) if name else None
    everywhere = content.get("credsStore") if file.name == "config.json" else None
    if isinstance(everywhere, str) and everywhere:
        return CredentialHelper(everywhere, HUB_URL if host in _DOCKER_HUB else host)
    return None


def names_of(host: str) -> tuple[str, ...]:
    """Return all names of a host, the usual one first; Docker Hub has several."""
    return _DOCKER_HUB if host in _DOCKER_HUB else (host,)


def keys_of(host: str, path: str) -> Iterator[str]:
    """Yield the keys that may hold a repository's credentials, the longest first."""
    parts = path.split("/") if path else []
    for length in range(len(parts), 0, -1):
        for name in names_of(host):
            yield "/".join([name, *parts[:length]])
    yield from names_of(host)


def entries_of(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return a file's entries by key; keys that are URLs are reduced to their host."""
    auths = content if file.name == ".dockercfg" else content.get("auths")
    if not isinstance(auths, dict):
        return {}
    found = {bare_host(key): entry for key, entry in auths.items() if "://" in key}
    return found | {key: entry for key, entry in auths.items() if "://" not in key}


def bare_host(key: str) -> str:
    """Reduce a URL like ``https://index.docker.io/v1/`` to its host."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key


def decode(entry: Any, file: Path, key: str) -> tuple[Credentials | None, str]:
    """Return the credentials of an entry, or None and its problem, if any.

    Raises:
        WherryError: ``auth`` is not base64.
    """
    if not isinstance(entry, dict):
        return None, ""
    token, encoded = _text(entry, "identitytoken"), Secret("".join(_text(entry, "auth").split()))
    user, password, problem = "", "", ""
    if encoded:
        # Passwords need not be UTF-8; they are sent as the same bytes.
        pair = _base64(encoded, file, key).decode("utf-8", "surrogateescape")
        user, colon, password = pair.partition(":")
        password = password.strip("\0")  # docker pads with zeros
        if not colon:
            user, problem = "", "its auth has no colon, expected the base64 of USER:PASSWORD"
        elif not user:
            problem = "its auth has no user name before the colon"
    if not user:
        user, password = _text(entry, "username"), _text(entry, "password")
    if user or token:
        return Credentials(user, password, token), ""
    return None, problem


def _base64(text: str, file: Path, key: str) -> bytes:
    """Decode base64 of either alphabet (RFC 4648, 4 and 5), with or without padding."""
    unpadded = Secret(text.rstrip("="))
    try:
        padding = "=" * (-len(unpadded) % 4)
        return base64.b64decode(unpadded + padding, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        message = f"the entry for {key} cannot be decoded"
        raise WherryError(message, hint="log in again").within(file) from None


def _text(entry: Mapping[str, Any], key: str) -> Secret:
    """Return a member that is text; lone surrogates of JSON are replaced."""
    value = entry.get(key)
    return Secret(replace_surrogates(value) if isinstance(value, str) else "")
