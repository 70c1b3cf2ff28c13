"""Run each target on its valid inputs, its corpus, and fixed mutations.

`make fuzz` tries other mutations.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

import fuzzing
import targets
from seeds import seeds
from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 1
TRIES = dict.fromkeys(targets.PARSERS, 400) | dict.fromkeys(targets.COMMANDS, 25)


@pytest.fixture(scope="module", autouse=True)
def _home() -> Iterator[None]:
    """Remove the files of the targets after the tests."""
    yield
    targets.close()


@pytest.mark.parametrize("target", targets.TARGETS)
def test_nothing_but_errors_of_the_project(target: str) -> None:
    known = len(seeds(target)) + len(fuzzing.corpus(target))
    for data in itertools.islice(fuzzing.inputs(target, SEED), known + TRIES[target]):
        found = fuzzing.attempt(target, data)
        assert found is None, f"{data[:2000]!r}\n{found.problem}"


# Targets whose valid inputs fail too: keys without signatures, and peers without a registry.
FAILING = {"signatures", "certificates", "proxies", "socks_proxies", "tls"}


@pytest.mark.parametrize("target", sorted(targets.TARGETS.keys() - FAILING))
def test_valid_inputs_are_read(target: str) -> None:
    """A target that refuses all inputs would find nothing."""
    assert any(_is_accepted(target, data) for data in seeds(target))


def _is_accepted(target: str, data: bytes) -> bool:
    try:
        return targets.TARGETS[target](data) is not False
    except WherryError:
        return False
