"""Users and passwords from a file of Apache's htpasswd, with bcrypt hashes only."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

import bcrypt

from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BCRYPT = re.compile(rb"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
_MOST_BYTES = 72  # of a password that bcrypt hashes; the rest has no effect
MAX_FILE = 4 * 2**20
_KNOWN_SECONDS = 300.0  # a password that was right is not hashed again for this long
MAX_KNOWN = 10_000
_HINT = "add users with `htpasswd -B FILE NAME`"


class _Version(NamedTuple):
    """What tells that a file was changed."""

    inode: int
    size: int
    changed: int


class Htpasswd:
    """Verifies passwords by a file, which is read again when it changes.

    `verify` takes as long for an unknown user as for the hash with the highest cost.

    Args:
        path: The file.

    Raises:
        WherryError: The file cannot be read, or has an entry that is not supported.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._version = self._stat()
        self._users = _parse(path)
        self._decoy = self._make_decoy()

    def remembers(self, user: str, password: str) -> bool:
        """Tell whether a password was verified a short time ago; does not block."""
        self._refresh()
        found = self._users.get(user.encode())
        if found is None:
            return False
        until = self._known.get(self._mark(user, password, found))
        return until is not None and time.monotonic() < until

    def verify(self, user: str, password: str) -> bool:
        """Tell whether a password is right; takes a fraction of a second."""
        found = self._users.get(user.encode())
        is_right = _check(password, found or self._decoy)
        if found is None or not is_right:
            return False
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[self._mark(user, password, found)] = time.monotonic() + _KNOWN_SECONDS
        return True

    def _mark(self, user: str, password: str, hashed: bytes) -> bytes:
        """Return a keyed hash of a password, so that no password stays in memory."""
        text = b"\0".join((user.encode(), hashed, password.encode("utf-8", "surrogateescape")))
        return hmac.digest(self._key, text, hashlib.sha256)

    def _refresh(self) -> None:
        """Read the file if it was changed; every password is refused while it cannot be read."""
        version = self._stat()
        if version == self._version:
            return
        self._version = version
        self._known.clear()
        try:
            self._users = _parse(self._path)
        except WherryError as error:
            self._users = {}
            logging.getLogger("wherry").warning("%s: every user is refused until then", error)
        self._decoy = self._make_decoy()

    def _stat(self) -> _Version | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - for each request
        except OSError:
            return None
        return _Version(found.st_ino, found.st_size, found.st_mtime_ns)

    def _make_decoy(self) -> bytes:
        """Return a hash of no password that costs as much as the file's most costly."""
        rounds = max((int(each.split(b"$")[2]) for each in self._users.values()), default=10)
        return b"$2b$%02d$" % rounds + b"." * 53


def _parse(path: Path) -> Mapping[bytes, bytes]:
    """Return the hashes of a file by user; raises `WherryError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as error:
        raise WherryError(f"{path}: {error.strerror}", hint=_HINT) from None
    if len(raw) > MAX_FILE:
        raise WherryError(f"{path}: too large for a file of users")
    users: dict[bytes, bytes] = {}
    for number, line in enumerate(map(bytes.strip, raw.splitlines()), 1):
        if not line or line.startswith(b"#"):
            continue
        user, colon, hashed = line.partition(b":")
        if not user or not colon:
            raise WherryError(f"{path}: line {number} is not USER:HASH", hint=_HINT)
        if _BCRYPT.fullmatch(hashed) is None:
            shown = user.decode("utf-8", "replace")
            message = f"{path}: line {number}: the password of {shown!r} is not hashed by bcrypt"
            raise WherryError(message, hint=_HINT)
        users[user] = hashed
    if not users:
        raise WherryError(f"{path}: the file has no users", hint=_HINT)
    return users


def _check(password: str, hashed: bytes) -> bool:
    raw = password.encode("utf-8", "surrogateescape")[:_MOST_BYTES]
    try:
        return bcrypt.checkpw(raw, hashed)
    except ValueError:  # a hash that no password has
        return False
