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
        assert not may_help(error, "docker.io")  # it has no v1 any more


# From the least to the most important; the errors of one line have the same weight.
WEIGHTS = (
    [REFUSED],
    [PAGE, NO_PATH, status(404), status(501)],
    [LIMITED, status(400), status(500), status(503)],
    [NO_NAME, NO_TAG],
    [NO_CREDENTIALS, FORBIDDEN],
    [ALTERED, InvalidDocument("no list")],
)


@pytest.mark.parametrize(("less", "more"), [*itertools.pairwise(WEIGHTS)], ids=str)
def test_the_error_that_matters_more_is_reported(
    less: list[WherryError], more: list[WherryError]
) -> None:
    for minor, major in itertools.product(less, more):
        spoken = isinstance(major, NotFound)
        assert choose_error(major, minor, v1_spoken=False) is major
        assert choose_error(minor, major, v1_spoken=spoken) is major


@pytest.mark.parametrize("same", WEIGHTS, ids=str)
def test_of_equal_errors_that_of_v2_is_reported(same: list[WherryError]) -> None:
    for v2, v1 in itertools.permutations(same, 2):
        assert choose_error(v2, v1, v1_spoken=isinstance(v1, NotFound) and bool(v1.codes)) is v2


def test_a_404_counts_as_an_answer_of_a_registry_that_speaks_v1() -> None:
    missing = NotFound("not found (404)")
    assert choose_error(NO_PATH, missing, v1_spoken=True) is missing
    assert choose_error(NO_PATH, missing, v1_spoken=False) is NO_PATH
    assert choose_error(NO_NAME, missing, v1_spoken=True) is NO_NAME
    assert choose_error(NO_CREDENTIALS, missing, v1_spoken=True) is NO_CREDENTIALS
