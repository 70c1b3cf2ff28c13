"""Text without control characters, and streams that write only such text."""

from __future__ import annotations

import codecs
import functools
import io
import re
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing import Any, BinaryIO

_MARK = "\ufffd"  # looking it up by name would import a module
_ESCAPED = range(0xDC80, 0xDD00)  # undecodable bytes as Python represents them (PEP 383)
ERRORS = "wherry-output"  # the name of `_encode_rest`


def printable(text: str) -> str:
    """Replace control, bidirectional and invisible characters, including line breaks."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _MARK for c in text)
    return text if text.isascii() else _invisible().sub(_MARK, text)


@functools.cache
def _invisible() -> re.Pattern[str]:
    """Match characters that `str.isprintable` accepts but terminals show as nothing.

    These are the rest of Default_Ignorable_Code_Point (Unicode 15, DerivedCoreProperties.txt)
    and the empty braille cell. The pattern is compiled on first use, because that takes a
    millisecond and most text is ASCII.
    """
    return re.compile(
        r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
        r"\U000e0100-\U000e01ef]"
    )


def printable_lines(text: str) -> str:
    """Replace the same characters in multi-line text; line breaks and tabs stay."""
    if text.isprintable():
        return printable(text)
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


class OutputError(OSError):
    """Standard output cannot be written."""


class StandardOutput(io.FileIO):
    """Standard output, with errors that differ from those of other files."""

    def write(self, data: Any, /) -> int:
        """Write bytes; raises `OutputError`."""
        try:
            return super().write(data) or 0
        except (BrokenPipeError, BlockingIOError):
            raise
        except OSError as error:
            raise OutputError(*error.args) from error


class _StandardError(io.FileIO):
    """Standard error. A message that cannot be written is dropped without an error."""

    def write(self, data: Any, /) -> int:
        """Write bytes, or drop them on an error."""
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


class Screen(io.RawIOBase):
    """A byte stream to a terminal that replaces control characters.

    ``terminal`` is the text stream of the terminal itself.
    """

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self.terminal = terminal
        self._decoder = codecs.getincrementaldecoder(terminal.encoding)(errors="replace")

    def write(self, data: Any, /) -> int:
        """Write bytes of text; a character may be split between two calls."""
        raw = bytes(data)
        self.terminal.write(printable_lines(self._decoder.decode(raw)))
        self.terminal.flush()
        return len(raw)

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the terminal's descriptor."""
        return self.terminal.fileno()


def install() -> None:
    """Replace stdout and stderr with the command's own streams.

    Output to a terminal passes through a `Screen`; other output is not changed. No stream fails
    on text that it cannot encode.
    """
    codecs.register_error(ERRORS, _encode_rest)
    sys.stdout = _wrapped(sys.stdout, StandardOutput)
    sys.stderr = _wrapped(sys.stderr, _StandardError)


def drawing_stream(stream: TextIO) -> TextIO:
    """Return the stream for the command's own control sequences.

    The caller passes text from other sources through `printable` before drawing it.
    """
    below = getattr(stream, "buffer", None)
    return below.terminal if isinstance(below, Screen) else stream


def _wrapped(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = kind(stream.fileno(), "wb", closefd=False)
    is_raw = isinstance(stream.buffer, io.RawIOBase)  # with PYTHONUNBUFFERED
    is_screen = raw.isatty()
    below: Any = raw if is_raw else io.BufferedWriter(raw)
    found: TextIO = io.TextIOWrapper(
        below,
        encoding=stream.encoding,
        errors=ERRORS,
        line_buffering=stream.line_buffering,
        write_through=is_screen or is_raw or stream.write_through,
    )
    if not is_screen:
        return found
    screen: BinaryIO = Screen(found)  # type: ignore[assignment] # has all methods that are used
    return io.TextIOWrapper(screen, found.encoding, errors=ERRORS, write_through=True)


def _encode_rest(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode undecodable bytes of file names unchanged, other characters as ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    found = bytes(ord(c) - 0xDC00 if ord(c) in _ESCAPED else ord("?") for c in rest)
    return found, error.end
