"""Try inputs on a target, and decide which results are findings."""

from __future__ import annotations

import hashlib
import random
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mutation import mutated
from seeds import seeds
from targets import TARGETS
from wherry.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parent / "corpus"
SLOW = 10.0  # seconds; an input that takes longer is a finding


class Found(NamedTuple):
    """An input and its problem."""

    data: bytes
    problem: str
    place: str  # the innermost line of the project, which identifies a finding


def attempt(target: str, data: bytes) -> Found | None:
    """Run a target on an input; return a finding, if any."""
    started = time.monotonic()
    try:
        TARGETS[target](data)
    except WherryError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/wherry/" in frame.filename] or list(frames)
        place = f"{type(error).__name__} at {own[-1].filename}:{own[-1].lineno}"
        return Found(data, "".join(traceback.format_exception(error)), place)
    taken = time.monotonic() - started
    if taken > SLOW:
        return Found(data, f"{taken:.1f} seconds", "slow")
    return None


def corpus(target: str) -> dict[str, bytes]:
    """Return the inputs of earlier findings by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).glob("*"))}


def keep(target: str, found: Found) -> Path:
    """Add an input to the corpus."""
    path = CORPUS / target / hashlib.sha256(found.data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.data)
    return path


def inputs(target: str, seed: int) -> Iterator[bytes]:
    """Yield the valid inputs and the corpus, then mutations of them without end."""
    known = [*seeds(target), *corpus(target).values()]
    yield from known
    dice = random.Random(f"{target} {seed}")
    while True:
        yield mutated(dice.choice(known), known, dice)
