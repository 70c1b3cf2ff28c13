"""Reading TOML files within limits, with errors that name the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.content.small_file import MAX_FILE as MAX_READ
from wherry.content.small_file import read_small
from wherry.errors import WherryError

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE = 2**20  # bytes of a file that is parsed
MAX_LINE = 16 * 1024  # bytes of a line; parsing a dotted key takes quadratic time
# Sum over all lines. The parser keeps each prefix of a dotted key: 4 bytes for the square of its
# dots.
MAX_DOTS_SQUARED = 10_000_000


def read(file: Path, limit_bytes: int = MAX_READ) -> bytes | None:
    """Return the bytes of a file; None if it does not exist.

    Raises:
        WherryError: The file cannot be read, is a socket or device, or is over the limit.
    """
    try:
        return read_small(file, limit_bytes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WherryError(str(error.strerror)).within(file) from error


def parse(raw: bytes, file: Path, limit_bytes: int = MAX_FILE) -> dict[str, Any]:
    """Parse TOML of at most ``limit_bytes``; the first call loads the parser.

    Raises:
        WherryError: The content is invalid; the error names the file and the line.
    """
    import tomllib

    if len(raw) > limit_bytes:
        raise WherryError(f"over {limit_bytes >> 20} MiB").within(file)
    lines = raw.split(b"\n")
    if max(map(len, lines)) > MAX_LINE:
        raise WherryError(f"a line of over {MAX_LINE >> 10} KiB").within(file)
    if sum(line.count(b".") ** 2 for line in lines) > MAX_DOTS_SQUARED:
        raise WherryError("lines with too many dots").within(file)
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))  # editors on Windows write a byte order mark
    except UnicodeDecodeError:
        raise WherryError("not valid TOML (not UTF-8)").within(file) from None
    except (ValueError, RecursionError) as error:
        raise WherryError(f"not valid TOML ({error})").within(file) from None
