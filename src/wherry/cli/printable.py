"""Text that cannot steer a terminal, and streams that write nothing else to one."""

from __future__ import annotations

import codecs
import functools
import io
import re
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing import Any, BinaryIO

_MARK = "\ufffd"  # not by its name, which takes a module to look up
_ESCAPED = range(0xDC80, 0xDD00)  # bytes that Python has read as no text (PEP 383)
ERRORS = "wherry-output"  # the name of `_encode_rest`


def printable(text: str) -> str:
    """Replace control, bidirectional and invisible characters, line breaks too."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _MARK for c in text)
    return text if text.isascii() else _invisible().sub(_MARK, text)


@functools.cache
def _invisible() -> re.Pattern[str]:
    """Match characters that `str.isprintable` accepts and a terminal shows as nothing.

    The rest of Default_Ignorable_Code_Point (Unicode 15, DerivedCoreProperties.txt), and the
    empty braille cell. Compiling takes a millisecond, and most text is ASCII.
    """
    return re.compile(
        r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
        r"\U000e0100-\U000e01ef]"
    )


def printable_lines(text: str) -> str:
    """Do the same for text of several lines: line breaks and tabs stay."""
    if text.isprintable():
        return printable(text)
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


class OutputError(OSError):
    """Standard output cannot be written."""


class StandardOutput(io.FileIO):
    """Standard output, whose failures differ from those of other files."""

    def write(self, data: Any, /) -> int:
        """Write bytes; raises `OutputError`."""
        try:
            return super().write(data) or 0
        except (BrokenPipeError, BlockingIOError):
            raise
        except OSError as error:
            raise OutputError(*error.args) from error


class _StandardError(io.FileIO):
    """Standard error. A message that cannot be written is lost, and changes no outcome."""

    def write(self, data: Any, /) -> int:
        """Write bytes if that is possible."""
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


class Screen(io.RawIOBase):
    """The bytes that the command writes to a terminal: text without control characters.

    ``terminal`` is the stream of the terminal itself.
    """

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self.terminal = terminal
        self._decoder = codecs.getincrementaldecoder(terminal.encoding)(errors="replace")

    def write(self, data: Any, /) -> int:
        """Write text; a character may come in several pieces."""
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
    """Put the command's own streams in place of the standard ones.

    What goes to a terminal passes a `Screen`. Other streams get what is written as it is. No
    stream fails for text that it cannot encode.
    """
    codecs.register_error(ERRORS, _encode_rest)
    sys.stdout = _guarded(sys.stdout, StandardOutput)
    sys.stderr = _guarded(sys.stderr, _StandardError)


def drawing(stream: TextIO) -> TextIO:
    """Return the stream for the command's own control sequences.

    What others wrote has to pass `printable` before it is drawn.
    """
    below = getattr(stream, "buffer", None)
    return below.terminal if isinstance(below, Screen) else stream


def _guarded(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = kind(stream.fileno(), "wb", closefd=False)
    is_raw = isinstance(stream.buffer, io.RawIOBase)  # as PYTHONUNBUFFERED has it
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
    screen: BinaryIO = Screen(found)  # type: ignore[assignment] # typed as less than it is
    return io.TextIOWrapper(screen, found.encoding, errors=ERRORS, write_through=True)


def _encode_rest(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what the encoding has no character for: names of files as their bytes, else ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    found = bytes(ord(c) - 0xDC00 if ord(c) in _ESCAPED else ord("?") for c in rest)
    return found, error.end
