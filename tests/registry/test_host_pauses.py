"""After which errors all uploads to a host pause."""

from __future__ import annotations

import threading
import time

import pytest

from wherry.content.cancel import CancelToken
from wherry.errors import Cancelled, NetworkError, RateLimited, RegistryError, WherryError
from wherry.registry.host_pauses import HostPauses

HOST = "registry.test:5000"


def refusal(status: int, retry_after: float | None = None) -> RegistryError:
    return RegistryError(
        "refused", status=status, method="PUT", url="", transient=True, retry_after=retry_after
    )


def is_held(pauses: HostPauses, host: str) -> bool:
    """Tell whether uploads to a host have to wait; a wait would last until it is cancelled."""
    with CancelToken().child() as cancel:
        cancel.cancel()
        try:
            pauses.wait(host, cancel)
        except Cancelled:
            return True
    return False


@pytest.mark.parametrize(
    ("error", "holds"),
    [
        (RateLimited("slow down", host=HOST), True),
        (refusal(503), True),
        (refusal(500, retry_after=7), True),
        (refusal(500), False),
        (NetworkError("cut off", host=HOST), False),
    ],
)
def test_errors_that_concern_the_host(error: WherryError, holds: bool) -> None:
    pauses = HostPauses()
    pauses.note(HOST, 600, error)
    assert is_held(pauses, HOST) == holds
    assert not is_held(pauses, "other.test")


def test_the_longest_pause_counts() -> None:
    pauses = HostPauses()
    for seconds in (600.0, 0.0):
        pauses.note(HOST, seconds, RateLimited("slow down", host=HOST))
    assert is_held(pauses, HOST)


def test_requests_go_one_after_the_other_at_a_host_with_a_limit() -> None:
    pauses = HostPauses()

    def take_turns() -> None:
        for _ in range(3):
            pauses.wait(HOST, CancelToken())

    started = time.monotonic()
    pauses.note(HOST, 0.0, RateLimited("slow down", host=HOST))
    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started > 11 * 0.05  # between 12 turns
    pauses.hold("other.test", 0.0)  # as after an error with ``Retry-After``
    assert not is_held(pauses, "other.test")
    assert not is_held(pauses, "other.test")
