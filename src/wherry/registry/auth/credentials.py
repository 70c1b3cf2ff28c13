"""Credentials that people already have: files of podman, skopeo and docker, and their helpers."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from typing import TYPE_CHECKING, Any

from wherry.content.cancel import CancelToken
from wherry.content.small_file import read_small
from wherry.errors import WherryError
from wherry.model._fields import check_values
from wherry.model.record import Record
from wherry.model.secret import Secret, SecretBytes, SecretFields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

TOKEN_USER = "<token>"  # noqa: S105 - the user that stands for "this is an identity token"
HUB_URL = "https://index.docker.io/v1/"  # what docker calls Docker Hub in its files
HELPED_BY_FILES = "containers-auth.json"  # in `credential-helpers`: the files
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class Credentials(Record):
    """A user's name and password, or an identity token to be exchanged for others."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __init__(self, username: str = "", password: str = "", identity_token: str = "") -> None:
        super().__init__(username, Secret(password), Secret(identity_token))

    def __repr__(self) -> str:
        return f"<Credentials of {self.username!r}>"

    @property
    def basic(self) -> Secret:
        """The value of an ``Authorization`` header (RFC 7617)."""
        # What came as other bytes than UTF-8 on a command line goes out as those bytes.
        pair = utf8(f"{self.username}:{self.password}")
        return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


def utf8(text: str) -> bytes:
    """Return text as it is sent: what came as other bytes than UTF-8 as those bytes (PEP 383)."""
    return whole(text).encode(errors="surrogateescape")


def whole(text: str) -> str:
    """Replace halves of characters, which JSON can hold and no encoding has."""
    return _LONE.sub("\N{REPLACEMENT CHARACTER}", text)


class UnreadableAuthFile(WherryError):
    """A file that only others may read."""


class CredentialLookup(Record):
    """One place that was asked, what became of it, and what it had; holds the secret itself."""

    place: str
    outcome: str
    credentials: Credentials | None = None
    failed: bool = False

    def __repr__(self) -> str:
        return f"CredentialLookup({self.place!r}, {self.outcome!r})"


class CredentialStore:
    """Where to look, in order; each place is asked once until `forget`. Thread-safe.

    ``fixed`` goes before all files, to the hosts that references name. ``helpers`` gives
    `credential-helpers` of registries.conf: programs to ask for every host, and where among
    them the files come.
    """

    def __init__(
        self,
        files: Sequence[Path] = (),
        fixed: Credentials | None = None,
        helpers: Callable[[], Sequence[str] | None] | None = None,
    ) -> None:
        self.files = tuple(files)
        self._fixed = fixed
        self._helpers = helpers
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, bool], list[CredentialLookup]] = {}
        self._piped: dict[Path, dict[str, Any] | None] = {}

    def find(
        self, host: str, path: str, *, own: bool = True, cancel: CancelToken | None = None
    ) -> Credentials | None:
        """Return the credentials for a repository; raises `WherryError` on an unreadable file.

        Within a file the longest matching key wins: ``host/path`` before ``host``. ``own``
        tells whether it is the host that the user named, and not a mirror of it. A helper that
        fails is passed over: most images are for everybody; see `trail`.
        """
        trail = self.trail(host, path, own=own, cancel=cancel)
        return trail[-1].credentials if trail else None

    def trail(
        self, host: str, path: str, *, own: bool = True, cancel: CancelToken | None = None
    ) -> list[CredentialLookup]:
        """Return the places that were asked, in order; where the last one knows, it was found."""
        cancel = cancel or CancelToken()
        key = host, path, own
        while not self._lock.acquire(timeout=0.05):
            cancel.check()  # somebody else is asking a helper, which may take long
        try:
            if key not in self._known:
                found: list[CredentialLookup] = []
                for place in self._search(host, path, own=own, cancel=cancel):
                    found.append(place)
                    if place.credentials is not None:
                        break
                self._known[key] = found
            return self._known[key]
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Ask again next time: what was found was refused, and may have been renewed since."""
        with self._lock:
            self._known.clear()

    def _search(
        self, host: str, path: str, *, own: bool, cancel: CancelToken
    ) -> Iterator[CredentialLookup]:
        if self._fixed is not None:
            if own:
                yield CredentialLookup("--creds", "given", self._fixed)
            else:
                yield CredentialLookup("--creds", f"not for {host}, which the name does not name")
        listed = self._helpers() if self._helpers is not None else None
        for name in [HELPED_BY_FILES] if listed is None else listed:
            if name != HELPED_BY_FILES:
                yield _ask(CredentialHelper(name, host), "registries.conf", cancel)
                continue
            for file in self.files:
                try:
                    yield from _in_file(self._content(file), file, host, path, cancel)
                except UnreadableAuthFile:
                    if len(self.files) == 1:  # somebody named it
                        raise
                    yield CredentialLookup(str(file), "may not be read", failed=True)

    def _content(self, file: Path) -> dict[str, Any] | None:
        """Read a file; what came out of a FIFO is kept, since it comes but once."""
        if file in self._piped:
            return self._piped[file]
        content = parse_file(file)
        if file.is_fifo():
            self._piped[file] = content
        return content


def _in_file(
    content: dict[str, Any] | None, file: Path, host: str, path: str, cancel: CancelToken
) -> Iterator[CredentialLookup]:
    """Look into one file: helpers for the host, docker's helper for all, then entries."""
    if content is None:
        yield CredentialLookup(str(file), "not there")
        return
    helper = helper_for(content, file, host)
    if helper is not None:
        yield _ask(helper, str(file), cancel)
    auths = _entries(content, file)
    problems = []
    for key in _keys(host, path):
        found, problem = _decode(auths.get(key), file, key)
        if found is not None:
            yield CredentialLookup(str(file), f"entry {key}", found)
            return
        if problem:
            problems.append(problem)
            yield CredentialLookup(str(file), f"entry {key} is passed over: {problem}", failed=True)
    if not problems:
        yield CredentialLookup(str(file), f"nothing for {host}")


class CredentialHelper(Record):
    """A helper that a file names for a host, and what to call the host when it is asked."""

    name: str
    server: str


def helper_for(content: Mapping[str, Any], file: Path, host: str) -> CredentialHelper | None:
    """Return the helper that a file names: for the host, or in docker's own file for all."""
    helpers = content.get("credHelpers")
    for key in (*names_of(host), *([HUB_URL] if host in _DOCKER_HUB else [])):
        name = helpers.get(key) if isinstance(helpers, dict) else None
        if isinstance(name, str):  # an empty one takes the host out of credsStore
            return CredentialHelper(name, key) if name else None
    everywhere = content.get("credsStore") if file.name == "config.json" else None
    if isinstance(everywhere, str) and everywhere:
        return CredentialHelper(everywhere, HUB_URL if host in _DOCKER_HUB else host)
    return None


def _ask(helper: CredentialHelper, where: str, cancel: CancelToken) -> CredentialLookup:
    from wherry.registry.auth import credential_helpers

    place = f"docker-credential-{helper.name} ({where})"
    try:
        found = credential_helpers.get(helper.name, helper.server, cancel)
    except credential_helpers.HelperFailure as error:
        return CredentialLookup(place, error.message, failed=True)
    return CredentialLookup(place, f"{'has' if found else 'nothing for'} {helper.server}", found)


def names_of(host: str) -> tuple[str, ...]:
    """Return all names of a host, the usual one first; Docker Hub has several."""
    return _DOCKER_HUB if host in _DOCKER_HUB else (host,)


def _keys(host: str, path: str) -> Iterator[str]:
    parts = path.split("/") if path else []
    for length in range(len(parts), 0, -1):
        for name in names_of(host):
            yield "/".join([name, *parts[:length]])
    yield from names_of(host)


def parse_file(file: Path, *, strict: bool = False) -> dict[str, Any] | None:
    """Return a file's content, or None if there is no such file.

    Bytes that are not UTF-8 are kept as surrogates (PEP 383). With ``strict``, for callers
    that write the file again, they are an error, and so is JSON that is no object. Raises
    `WherryError` that names the file.
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
        raise WherryError("not valid JSON", hint="mend or remove it").within(file)
    return content if isinstance(content, dict) else {}


def _entries(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return a file's entries by host, legacy addresses reduced to their host."""
    auths = content if file.name == ".dockercfg" else content.get("auths")
    if not isinstance(auths, dict):
        return {}
    found = {bare_host(key): entry for key, entry in auths.items() if "://" in key}
    return found | {key: entry for key, entry in auths.items() if "://" not in key}


def bare_host(key: str) -> str:
    """Reduce ``https://index.docker.io/v1/`` to ``index.docker.io``; other keys stay."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key


def read_json(raw: bytes, *, strict: bool = False) -> Any:
    """Parse JSON in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Other bytes become surrogates (PEP 383) unless ``strict``. Raises `ValueError` and
    `RecursionError`.
    """
    errors = "strict" if strict else "surrogateescape"
    text = Secret(raw.decode(json.detect_encoding(raw), errors))
    return json.loads(text, object_pairs_hook=SecretFields)


def _decode(entry: Any, file: Path, key: str) -> tuple[Credentials | None, str]:
    """Return what an entry holds, or None and what is wrong with it; "" for an empty entry.

    Raises `WherryError` if ``auth`` is not base64.
    """
    if not isinstance(entry, dict):
        return None, ""
    token, encoded = _text(entry, "identitytoken"), Secret("".join(_text(entry, "auth").split()))
    user, password, problem = "", "", ""
    if encoded:
        # Passwords may be older than UTF-8; they are sent as the bytes that they are.
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
    """Return a text, its surrogates replaced but for those of bytes that are not UTF-8."""
    value = entry.get(key)
    return Secret(whole(value) if isinstance(value, str) else "")
