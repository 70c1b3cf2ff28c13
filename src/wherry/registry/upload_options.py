"""What the uploads to one repository share: retries, pauses and kept sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.content.retry import RetryPolicy
from wherry.errors import WherryError
from wherry.model.record import Record
from wherry.registry.host_pauses import HostPauses

if TYPE_CHECKING:
    from typing import Protocol

    from wherry.model.digest import Digest

    class SavedSessions(Protocol):
        """Keeps the addresses of upload sessions, so that a later process goes on with them.

        An address grants access to the upload. ``repository`` is the host with the path. `load`
        must not return an address that a running process uses: two writers spoil a session.
        """

        def load(self, repository: str, digest: Digest) -> str | None:
            """Return the address of a session that was left behind, or None."""
            ...

        def save(self, repository: str, digest: Digest, url: str) -> None:
            """Keep the address of a session in the place of any other one for the blob."""
            ...

        def forget(self, repository: str, digest: Digest) -> None:
            """Drop the address: the upload is finished, or cannot go on."""
            ...


class UploadOptions(Record):
    """What the uploads to a repository share.

    Attributes:
        policy: How often and when to try again.
        pauses: The pauses that hosts have asked for.
        sessions: Where addresses of sessions are kept; None keeps none.
        warn: Is told why an upload begins again.
        on_retry: Is told the seconds until the next attempt, and the reason.
        note: Is told details that only a detailed log shows.
    """

    policy: RetryPolicy
    pauses: HostPauses
    sessions: SavedSessions | None = None
    warn: Callable[[str], None] = lambda _: None
    on_retry: Callable[[float, WherryError], None] = lambda _, __: None
    note: Callable[[str], None] = lambda _: None
