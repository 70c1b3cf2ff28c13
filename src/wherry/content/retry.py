"""Retries: after which errors, how often, and with which pauses."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from wherry.errors import RateLimited, RegistryError, WherryError
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken

T = TypeVar("T")

OBEYED = 300.0  # seconds; if a registry asks for a longer pause, the request fails


class RetryPolicy(Record):
    """How often and when a failed request is repeated.

    Attributes:
        attempts: Attempts in all.
        first: Seconds of the first pause; each further pause is twice as long.
        longest: The most seconds of a pause.
        jitter: The random share of a pause, so that clients do not return all at once.
        patience: The most seconds of all pauses for one blob together.
        step: Seconds by which the pauses of `stepped` grow.
    """

    attempts: int = 5
    first: float = 0.25
    longest: float = 30.0
    jitter: float = 0.25
    patience: float = 3600.0
    step: float = 0.5

    def stepped(self) -> RetryPolicy:
        """Return the policy for version 1 registries: the n-th pause is n times ``step``."""
        return SteppedPolicy(**self.__dict__)

    def pause(self, failures: int, error: WherryError) -> float | None:
        """Return the seconds to wait after so many ``failures``; None to give up."""
        if failures >= self.attempts or not error.transient:
            return None
        wished = retry_after(error)
        if wished is not None:
            return wished if wished <= OBEYED else None
        return self._own_pause(failures)

    def _own_pause(self, failures: int) -> float:
        doublings = min(failures - 1, 64)  # more doublings would overflow
        pause = min(self.first * 2.0**doublings, self.longest)
        return pause * (1 - self.jitter * random.random())  # noqa: S311 - not a secret


class SteppedPolicy(RetryPolicy):
    """A policy whose n-th pause is n times ``step``, as in old engines."""

    def _own_pause(self, failures: int) -> float:
        return min(self.step * failures, self.longest)


def retry_after(error: WherryError) -> float | None:
    """Return the pause in seconds that the registry asked for, if it did."""
    return error.retry_after if isinstance(error, RateLimited | RegistryError) else None


def run(
    policy: RetryPolicy,
    cancel: CancelToken,
    call: Callable[[], T],
    on_retry: Callable[[float, WherryError], None] | None = None,
) -> T:
    """Repeat ``call`` until it succeeds, fails for good, or has no attempts left."""
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
