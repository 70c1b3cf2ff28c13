"""Messages on stderr: lines of text, or JSON objects with ``--progress json``."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from wherry.cli.printable import printable

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

_OPTION = "--progress"


class _MessageState:
    """The form of the messages of this process, and the first error it reported."""

    json = False
    debug = False
    ended = False
    failure = ""


_state = _MessageState()


def begin(arguments: Sequence[str]) -> None:
    """Choose the form of messages before the command line is parsed.

    A usage error has to be reported in that form, too.
    """
    chosen = ""
    for place, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == _OPTION:
            chosen = next(iter(arguments[place + 1 :]), "")
        elif argument.startswith(f"{_OPTION}="):
            chosen = argument.partition("=")[2]
    _state.json = chosen == "json"
    _state.debug = "--debug" in arguments
    _catch_others()


def _catch_others() -> None:
    """Report warnings and uncaught exceptions as messages of one line."""
    import threading
    import warnings

    def warned(message: Warning | str, *_args: object, **_rest: object) -> None:
        say(str(message) if _state.json else f"Warning: {message}", "warning")

    def died(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is None:
            return
        if _state.json or _state.debug:
            tell_traceback(found.exc_value)
        else:
            say(f"wherry: internal error: {found.exc_type.__name__}: {found.exc_value}")

    def ignored(found: sys.UnraisableHookArgs) -> None:
        if _state.debug and found.exc_value is not None:
            tell_traceback(found.exc_value)

    warnings.showwarning = warned
    threading.excepthook = died
    sys.unraisablehook = ignored


def say(text: str, status: str = "note") -> None:
    """Write a line of text, or a JSON object with this status."""
    say_lines(text if _state.json else printable(text), status)


def say_lines(text: str, status: str = "note") -> None:
    """Write lines of text, or a JSON object with this status."""
    if _state.json:
        write(status, message=text.removeprefix("wherry: ").strip())
        return
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def tell_error(
    message: str, hints: Sequence[str], code: int, *, kind: str = "", reference: str = ""
) -> None:
    """Report an error and, below it, what to try; ``kind`` is the class of the error."""
    if not _state.json:
        lines = [f"wherry: {message}", *(f"  {hint}" for hint in hints)]
        say_lines("\n".join(map(printable, lines)))
        return
    _state.failure = _state.failure or message
    hint = "\n".join(hints)
    write("error", reference, message=message, hint=hint, kind=kind, code=code)


def tell_traceback(error: BaseException) -> None:
    """Write the traceback of an error."""
    import traceback

    entries = map(_traceback_entry, traceback.format_exception(error))
    say_lines("".join(entries).rstrip("\n"), "debug")


def _traceback_entry(text: str) -> str:
    """Keep stack frames and headings, and put the message of an error in one line."""
    if text.startswith(("  File ", "Traceback ", "\n")):
        return text
    return printable(text.removesuffix("\n")) + "\n"


def write(status: str, reference: str = "", **fields: object) -> None:
    """Write a JSON object without its empty strings, if messages are JSON."""
    if not _state.json or _state.ended:
        return
    import json

    found = {key: value for key, value in fields.items() if value != ""}
    text = json.dumps({"status": status, "reference": reference} | found)
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def end(code: int, message: str = "") -> None:
    """Write the last JSON object, with the outcome; later messages are dropped."""
    told = message or _state.failure
    write("failure" if code else "success", code=code, message=told if code else "")
    _state.ended = True
