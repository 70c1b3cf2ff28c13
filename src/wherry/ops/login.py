"""Verify credentials with their registry, and save or remove them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherry.errors import NotFound, WherryError
from wherry.model.record import Record
from wherry.registry.auth import credential_writer
from wherry.registry.auth.challenge import is_anonymous
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credential_writer import CredentialKey
from wherry.registry.http.request import public_url
from wherry.registry.requester import Call
from wherry.registry.status_errors import MAX_ERROR, error_for_response
from wherry.registry.web_page import refuse_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.credential_writer import CredentialRemoval
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.session import Session

_OK = 200


class AuthFiles(Record):
    """The files to read credentials from, in order, and the file to write."""

    files: tuple[Path, ...]
    written: Path


class LogoutResult(Record):
    """The outcome of a logout.

    Attributes:
        removed: The files and helpers from which credentials were removed.
        left: A file or helper that still has credentials for the registry, or empty.
    """

    removed: list[str]
    left: str = ""


def login(
    session: Session,
    text: str,
    credentials: Credentials,
    files: AuthFiles,
    cancel: CancelToken,
    warn: Callable[[str], None],
) -> str:
    """Verify credentials for ``HOST[/PATH]`` and save them; idempotent.

    ``session`` has only these credentials. ``warn`` gets a text if the registry does not verify
    them.

    Returns:
        The file or helper that the credentials were saved to.

    Raises:
        Unauthorized: The registry refuses them; nothing is saved.
    """
    key = CredentialKey.parse(text)
    endpoint = session.hosts.registry(key.host)
    response = session.send(endpoint, Call("GET", "/v2/", "", preemptive=True), cancel)
    body = response.read_secret(MAX_ERROR)
    where = (key.host, "login")
    if response.status != _OK:
        raise error_for_response(response, body, where, key.host)
    if body.strip():
        refuse_page(response, body, where, "a registry's answer")
    authorization = response.request.headers.get("Authorization", "")
    if not authorization:
        there = public_url(response.request.url)
        warn(f"{key.host}: redirects to {there}; the password was not sent there, and may be wrong")
    elif session.is_open(endpoint) and not authorization.startswith("Bearer "):
        warn(f"{key.host}: answers without a password too; this one was sent, but may be wrong")
    elif is_anonymous(authorization.removeprefix("Bearer ")):
        warn(f"{key.host}: its token server took no notice of the password, which may be wrong")
    return credential_writer.save(files.files, files.written, key, credentials)


def logout(text: str, files: AuthFiles, cancel: CancelToken) -> LogoutResult:
    """Remove the credentials for ``HOST[/PATH]`` from where `login` saves them.

    Raises:
        NotFound: There are no credentials for the registry.
        WherryError: A file or helper fails; the hint lists where credentials were removed.
    """
    key = CredentialKey.parse(text)
    removal = credential_writer.remove(files.files, files.written, key)
    _raise_first(removal)
    lookups = CredentialStore(files.files).look_up(key.host, key.path, cancel=cancel)
    left = lookups[-1].place if lookups and lookups[-1].credentials is not None else ""
    if not removal.removed and not left:
        raise NotFound("not logged in").within(key)
    return LogoutResult(removal.removed, left)


def logout_everywhere(files: AuthFiles) -> list[str]:
    """Remove all credentials from the file that `login` writes; return their hosts.

    Raises `WherryError` as `logout` does.
    """
    removal = credential_writer.remove_all(files.written)
    _raise_first(removal)
    if not removal.removed:
        raise WherryError("holds no credentials").within(files.written)
    return removal.removed


def _raise_first(removal: CredentialRemoval) -> None:
    """Raise the first failure; its hint lists the others and what was removed."""
    if not removal.failures:
        return
    first, *others = removal.failures
    lines = [first.hint] if first.hint else []
    lines += [str(other) for other in others if str(other) != str(first)]
    if removal.removed:
        lines.append(f"credentials were still removed from {', '.join(removal.removed)}")
    first.hint = "\n".join(lines)
    raise first
