"""Calls to one host: repeated as the policy says, and held back by its pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.retry import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from wherry.content.cancel import CancelToken
    from wherry.errors import WherryError
    from wherry.registry.upload_options import UploadOptions

    T = TypeVar("T")


class HostCalls:
    """Repeats calls to a host that writes to it. Thread-safe.

    Args:
        host: The host.
        options: The policy and the pauses.
    """

    def __init__(self, host: str, options: UploadOptions) -> None:
        self._host = host
        self._options = options

    def run(self, cancel: CancelToken, call: Callable[[], T]) -> T:
        """Call until it succeeds or the policy gives up; obey the pauses of the host."""
        pauses = self._options.pauses

        def attempt() -> T:
            pauses.wait(self._host, cancel)
            return call()

        def note(pause: float, error: WherryError) -> None:
            pauses.note(self._host, pause, error)
            self._options.on_retry(pause, error)

        return run(self._options.policy, cancel, attempt, note)
