"""After which errors of v2 the v1 protocol is tried, and which of two errors is reported."""

from __future__ import annotations

import itertools

import pytest

from wherry.errors import (
    Ambiguous,
    Cancelled,
    Denied,
    IntegrityError,
    InvalidDocument,
    NetworkError,
    NotFound,
    PlatformMismatch,
    RateLimited,
    RegistryError,
    StoreError,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.registry.legacy_order import choose_error, may_go_on, may_help

HOST = "h.example"
REFUSED = NetworkError("connection refused", host=HOST)
PAGE = NetworkError("sent a web page", host=HOST, transient=False, answered=True)
NO_PATH = NotFound("not found (404)")
NO_NAME = NotFound("not found (404)", codes=["NAME_UNKNOWN"])
NO_TAG = NotFound("not found (404)", codes=["MANIFEST_UNKNOWN"])
NO_CREDENTIALS = Unauthorized("access denied (401)", host=HOST)
FORBIDDEN = Denied("access denied (403)", host=HOST)
LIMITED = RateLimited("asks to slow down", host=HOST)
ALTERED = IntegrityError("other bytes", expected="a", actual="b", altered=True)


def status(code: int) -> RegistryError:
    return RegistryError(f"answered by {code}", status=code, method="GET", url="https://h.example")


@pytest.mark.parametrize(
    ("error", "may", "helps"),
    [
        (REFUSED, True, False),
        (PAGE, True, True),
        (NO_PATH, True, True),
        (NO_NAME, True, True),
        (NO_TAG, True, True),
        (NO_CREDENTIALS, True, True),
        (status(405), True, True),
        (status(501), True, True),
        (status(400), False, None),
        (status(500), False, None),
        (status(503), False, None),
        (FORBIDDEN, False, None),
        (LIMITED, False, None),
        (ALTERED, False, None),
        (InvalidDocument("no manifest"), False, None),
        (Unsupported("an artifact"), False, None),
        (StoreError("no space"), False, None),
        (Cancelled(), False, None),
        (PlatformMismatch("not for arm", wanted="linux/arm"), False, None),
        (Ambiguous("two images"), False, None),
    ],
    ids=lambda value: getattr(value, "message", None),
)
def test_v1_is_tried_only_after_errors_of_a_registry_that_may_not_speak_v2(
    error: WherryError, may: bool, helps: bool | None
) -> None:
    assert may_go_on(error, served=False) is may
    assert not may_go_on(error, served=True)
    if may:
        assert may_help(error, HOST) is helps
        # Hub has no v1 any more, and the others never had.
        for host in ("docker.io", "ghcr.io", "1.dkr.ecr.eu-west-1.amazonaws.com"):
            assert not may_help(error, host)


# From the least to the most important; the errors of one line have the same weight.
WEIGHTS = (
    [NO_PATH],
    [REFUSED],
    [PAGE, status(405), status(501)],
    [LIMITED, InvalidDocument("no list"), status(400), status(500), status(503)],
    [NO_NAME, NO_TAG],
    [NO_CREDENTIALS, FORBIDDEN],
    [ALTERED, StoreError("no space")],
)
BY_V1 = [[error for error in errors if error is not NO_PATH] for errors in WEIGHTS]


@pytest.mark.parametrize("place", range(len(WEIGHTS) - 1))
def test_the_error_that_matters_more_is_reported(place: int) -> None:
    for v2, v1 in itertools.product(WEIGHTS[place], BY_V1[place + 1]):
        assert choose_error(v2, v1) is v1
    for v2, v1 in itertools.product(WEIGHTS[place + 1], BY_V1[place]):
        assert choose_error(v2, v1) is v2


@pytest.mark.parametrize("place", range(len(WEIGHTS)))
def test_of_equal_errors_that_of_v2_is_reported(place: int) -> None:
    for v2, v1 in itertools.product(WEIGHTS[place], BY_V1[place]):
        assert choose_error(v2, v1) is v2


def test_a_404_says_more_by_v1_than_by_v2_without_a_code() -> None:
    """v1 has no error codes, and a v1 registry answers 404 to every path of v2."""
    missing = NotFound("not found (404)")
    assert choose_error(NO_PATH, missing) is missing
    assert choose_error(NO_NAME, missing) is NO_NAME
    assert choose_error(NO_CREDENTIALS, missing) is NO_CREDENTIALS
