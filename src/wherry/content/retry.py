"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from wherry.errors import RateLimited, RegistryError, WherryError
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken

T = TypeVar("T")

OBEYED = 300.0  # seconds; a registry that asks for a longer pause is an error


class RetryPolicy(Record):
    """``attempts`` in all; pauses of ``first`` seconds, doubled each time up to ``longest``.

    ``jitter`` is the share of a pause that is drawn by chance, so that many clients do not
    come back at the same moment. ``patience`` bounds all pauses of one blob together, in
    seconds, however often it goes on in between.
    """

    attempts: int = 5
    first: float = 0.25
    longest: float = 30.0
    jitter: float = 0.25
    patience: float = 3600.0

    def pause(self, failures: int, error: WherryError) -> float | None:
        """Return the seconds to wait after the ``failures``-th failure; None: give up."""
        if failures >= self.attempts or not error.transient:
            return None
        wished = retry_after(error)
        if wished is not None:
            return wished if wished <= OBEYED else None
        doublings = min(failures - 1, 64)  # beyond that any pause is the longest
        pause = min(self.first * 2.0**doublings, self.longest)
        return pause * (1 - self.jitter * random.random())  # noqa: S311 - not a secret


def retry_after(error: WherryError) -> float | None:
    """Return the pause in seconds that a registry asked for."""
    return error.retry_after if isinstance(error, RateLimited | RegistryError) else None


def run(
    policy: RetryPolicy,
    cancel: CancelToken,
    call: Callable[[], T],
    on_retry: Callable[[float, WherryError], None] | None = None,
) -> T:
    """Call until it succeeds, fails for good or the attempts are used up."""
    failures = 0
    while True:
        cancel.check()
        try:
            return call()
        except WherryError as error:
            cancel.check()
            failures += 1
            pause = policy.pause(failures, error)
            if pause is None:
                error.attempts = failures
                raise
            if on_retry is not None:
                on_retry(pause, error)
        cancel.sleep(pause)
