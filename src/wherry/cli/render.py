"""Values as text: sizes, ages, durations, tables, errors."""

from __future__ import annotations

import datetime
import itertools
import re
import sys
from typing import TYPE_CHECKING

from wherry.cli.printable import printable
from wherry.errors import InvalidReference, WherryError
from wherry.model import age as model_age
from wherry.model.quantity import STEP, UNITS, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A user name and password before a host. Neither a path in an archive address nor a digest.
_SECRET = re.compile(
    r"^(?!(?:oci|oci-archive|docker-archive|dir|store):)([a-z]+://)?"
    r".*:.*@(?!sha\d+:)(?=localhost\b|[^@]*[./:])"
)
_LINES = 500


def sizes(current: int, total: int | None) -> str:
    """Return progress in the unit of its total: ``14.2/33.0 MB``."""
    if not total:
        return size(current)
    unit, divisor = "B", 1
    for unit in UNITS:  # noqa: B007 - used after the loop
        if total / divisor < STEP:
            break
        divisor *= STEP
    digits = 0 if divisor == 1 else 1
    return f"{current / divisor:.{digits}f}/{total / divisor:.{digits}f} {unit}"


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(created: str, now: datetime.datetime | None = None) -> str:
    """Return how long ago an RFC 3339 time was: ``3 weeks ago``."""
    return model_age.age(created, now or datetime.datetime.now(datetime.UTC))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows as a table; the last column is not padded."""
    cells = zip(*rows, strict=True) if rows else [()] * len(header)
    return "".join(columns(dict(zip(header, cells, strict=True)))).removesuffix("\n")


def columns(titled: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Format columns below their titles; yield several lines at a time."""
    widths = [max(map(len, (title, *cells))) for title, cells in titled.items()]
    line = "  ".join(f"%-{width}s" for width in widths)
    rows = itertools.chain([tuple(titled)], zip(*titled.values(), strict=True))
    while some := [(line % row).rstrip() for row in itertools.islice(rows, _LINES)]:
        yield "\n".join(some) + "\n"


def describe_error(error: WherryError) -> tuple[str, list[str]]:
    """Return the message of an error in one line, and the lines below it.

    Those lines show the position in the text that did not parse, and what to try.
    """
    lines = []
    if isinstance(error, InvalidReference) and error.text:
        text = _SECRET.sub(r"\1***@", error.text)
        position = max(0, error.position - len(error.text) + len(text))
        lines += [text, f"{' ' * position}^"]
    lines += error.hint.splitlines()
    return printable(str(error)), [printable(line) for line in lines]


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_text(text: str) -> None:
    """Write the output of a template to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_document(raw: bytes) -> None:
    """Write a document to stdout, on a terminal with a line break at its end."""
    end = b"\n" if sys.stdout.isatty() and not raw.endswith(b"\n") else b""
    write_bytes(raw + end)
