"""Names of images in a text, and reading the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.content.small_file import read_small
from wherry.errors import WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.model.reference import Reference

MAX_TEXT = 2 * 2**20  # bytes of a file; parsing 1 MiB of YAML takes 5 seconds


class FoundImage(NamedTuple):
    """The name of an image in a text.

    Attributes:
        place: Where it is: ``services.web.image``.
        line: The line, from 1.
        reference: The name, parsed.
        text: The name as written.
        start: The index of its first character, within the quotes if it has any.
        is_spliceable: Whether the text has it at that position, without escapes or variables.
    """

    place: str
    line: int
    reference: Reference
    text: str
    start: int
    is_spliceable: bool


def read_text(file: Path) -> str:
    """Read a file that names images, with its byte order mark if it has one.

    Raises:
        WherryError: It cannot be read, is over the limit, or is not UTF-8.
    """
    try:
        return read_small(file, MAX_TEXT).decode()
    except OSError as error:
        raise WherryError(str(error.strerror)).within(file) from error
    except UnicodeDecodeError:
        raise WherryError("not UTF-8").within(file) from None
