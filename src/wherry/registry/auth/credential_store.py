"""Looking credentials up in the files and helpers of podman and docker."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.content.cancel import CancelToken
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wherry.registry.auth.credential_files import CredentialHelper
    from wherry.registry.auth.credentials import Credentials

# The entry of ``credential-helpers`` that stands for the files (containers-registries.conf(5)).
AUTH_FILES = "containers-auth.json"
_ANY = ""  # the key of credentials for every host


class CredentialLookup(Record):
    """A place that was searched, the outcome, and the credentials found."""

    place: str
    outcome: str
    credentials: Credentials | None = None
    failed: bool = False

    def __repr__(self) -> str:
        return f"CredentialLookup({self.place!r}, {self.outcome!r})"


class CredentialStore:
    """The places to search, in order; each is read once until `forget`. Thread-safe.

    Args:
        files: Files as containers-auth.json(5) or docker's config.json describe them.
        fixed: Credentials from the caller, for the hosts that references name. They come first.
            A mapping has them by ``host`` or ``host/path``, of which the longest key wins.
        helpers: Returns ``credential-helpers`` of registries.conf: helpers to ask for every
            host, and `AUTH_FILES` where the files come among them. None means the files only.
    """

    def __init__(
        self,
        files: Sequence[Path] = (),
        fixed: Credentials | Mapping[str, Credentials] | None = None,
        helpers: Callable[[], Sequence[str] | None] | None = None,
    ) -> None:
        self.files = tuple(files)
        self._fixed: Mapping[str, Credentials] = {}
        if fixed is not None:
            self._fixed = fixed if isinstance(fixed, Mapping) else {_ANY: fixed}
        self._helpers = helpers
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, bool], list[CredentialLookup]] = {}
        self._fifos: dict[Path, dict[str, Any] | None] = {}

    def find(
        self, host: str, path: str, *, own: bool = True, cancel: CancelToken | None = None
    ) -> Credentials | None:
        """Return the credentials for a repository, None if there are none.

        Within a file the longest matching key wins: ``host/path`` before ``host``. A helper
        that fails is skipped, because most images are public; `look_up` tells of it.

        Args:
            host: The registry's name.
            path: The repository, or "" for the registry itself.
            own: Whether the user named the host; it is False for mirrors.
            cancel: Ends waiting for a helper.

        Raises:
            WherryError: A file cannot be read or parsed.
        """
        lookups = self.look_up(host, path, own=own, cancel=cancel)
        return lookups[-1].credentials if lookups else None

    def look_up(
        self, host: str, path: str, *, own: bool = True, cancel: CancelToken | None = None
    ) -> list[CredentialLookup]:
        """Return the places searched, in order; only the last one may have credentials."""
        cancel = cancel or CancelToken()
        key = host, path, own
        while not self._lock.acquire(timeout=0.05):
            cancel.check()  # another thread is waiting for a helper, which may take long
        try:
            if key not in self._known:
                found: list[CredentialLookup] = []
                for lookup in self._search(host, path, own=own, cancel=cancel):
                    found.append(lookup)
                    if lookup.credentials is not None:
                        break
                self._known[key] = found
            return self._known[key]
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Search again next time: refused credentials may have been renewed since."""
        with self._lock:
            self._known.clear()

    def _search(
        self, host: str, path: str, *, own: bool, cancel: CancelToken
    ) -> Iterator[CredentialLookup]:
        from wherry.registry.auth.credential_files import (
            CredentialHelper,
            UnreadableAuthFile,
            keys_of,
        )

        keys = (*keys_of(host, path), _ANY)
        fixed = next((self._fixed[key] for key in keys if key in self._fixed), None)
        if fixed is not None:
            if own:
                yield CredentialLookup("--creds", "given", fixed)
            else:
                yield CredentialLookup(
                    "--creds", f"not for {host}: the reference names another host"
                )
        listed = self._helpers() if self._helpers is not None else None
        for name in [AUTH_FILES] if listed is None else listed:
            if name != AUTH_FILES:
                yield _ask_helper(CredentialHelper(name, host), "registries.conf", cancel)
                continue
            for file in self.files:
                try:
                    yield from _search_file(self._content(file), file, host, path, cancel)
                except UnreadableAuthFile:
                    if len(self.files) == 1:  # the user named it
                        raise
                    yield CredentialLookup(str(file), "cannot be read (no permission)", failed=True)

    def _content(self, file: Path) -> dict[str, Any] | None:
        """Read a file; keep the content of a FIFO, which can be read only once."""
        from wherry.registry.auth.credential_files import parse_file

        if file in self._fifos:
            return self._fifos[file]
        content = parse_file(file)
        if file.is_fifo():
            self._fifos[file] = content
        return content


def _search_file(
    content: dict[str, Any] | None, file: Path, host: str, path: str, cancel: CancelToken
) -> Iterator[CredentialLookup]:
    """Search one file: the helper that it names for the host, then its entries."""
    from wherry.registry.auth.credential_files import decode, entries_of, find_helper, keys_of

    if content is None:
        yield CredentialLookup(str(file), "not there")
        return
    helper = find_helper(content, file, host)
    if helper is not None:
        yield _ask_helper(helper, str(file), cancel)
    auths = entries_of(content, file)
    has_problems = False
    for key in keys_of(host, path):
        found, problem = decode(auths.get(key), file, key)
        if found is not None:
            yield CredentialLookup(str(file), f"entry {key}", found)
            return
        if problem:
            has_problems = True
            said = f"entry {key} is skipped: {problem}"
            yield CredentialLookup(str(file), said, failed=True)
    if not has_problems:
        yield CredentialLookup(str(file), f"no entry for {host}")


def _ask_helper(helper: CredentialHelper, where: str, cancel: CancelToken) -> CredentialLookup:
    from wherry.registry.auth import credential_helpers

    place = f"docker-credential-{helper.name} ({where})"
    try:
        found = credential_helpers.get(helper.name, helper.server, cancel)
    except credential_helpers.HelperFailure as error:
        return CredentialLookup(place, error.message, failed=True)
    return CredentialLookup(
        place, f"{'has' if found else 'has nothing for'} {helper.server}", found
    )
