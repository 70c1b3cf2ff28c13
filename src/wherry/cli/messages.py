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
    verbose = False
    debug = False
    ended = False
    failure = ""

    def __init__(self) -> None:
        self.warnings: set[str] = set()


_state = _MessageState()


def configure(arguments: Sequence[str]) -> None:
    """Choose the form of messages before the command line is parsed.

    A usage error has to be reported in that form, too.
    """
    form = ""
    for place, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == _OPTION:
            form = next(iter(arguments[place + 1 :]), "")
        elif argument.startswith(f"{_OPTION}="):
            form = argument.partition("=")[2]
    _state.json = form == "json"
    _state.debug = "--debug" in arguments
    _redirect_python_messages()


def _redirect_python_messages() -> None:
    """Report warnings and uncaught exceptions as messages of one line."""
    import threading
    import warnings

    def show_warning(message: Warning | str, *_args: object, **_rest: object) -> None:
        write_line(str(message) if _state.json else f"Warning: {message}", "warning")

    def report_thread_error(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is None:
            return
        if _state.json or _state.debug:
            write_traceback(found.exc_value)
        else:
            write_line(f"wherry: internal error: {found.exc_type.__name__}: {found.exc_value}")

    def report_unraisable(found: sys.UnraisableHookArgs) -> None:
        if _state.debug and found.exc_value is not None:
            write_traceback(found.exc_value)

    warnings.showwarning = show_warning
    threading.excepthook = report_thread_error
    sys.unraisablehook = report_unraisable


def set_verbose(*, verbose: bool) -> None:
    """Choose whether details are written, too."""
    _state.verbose = verbose


def is_verbose() -> bool:
    """Return whether details are written."""
    return _state.verbose


def is_new(warning: str) -> bool:
    """Return whether a warning has not been written yet, and note that it is.

    A command may make several calls, which have the same warnings.
    """
    is_known = warning in _state.warnings
    _state.warnings.add(warning)
    return not is_known


def write_line(text: str, status: str = "note") -> None:
    """Write a line of text, or a JSON object with this status."""
    write_lines(text if _state.json else printable(text), status)


def write_lines(text: str, status: str = "note") -> None:
    """Write lines of text, or a JSON object with this status."""
    if _state.json:
        write_object(status, message=text.removeprefix("wherry: ").strip())
        return
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def write_error(
    message: str, hints: Sequence[str], code: int, *, kind: str = "", reference: str = ""
) -> None:
    """Report an error and, below it, what to try; ``kind`` is the class of the error."""
    if not _state.json:
        lines = [f"wherry: {message}", *(f"  {hint}" for hint in hints)]
        write_lines("\n".join(map(printable, lines)))
        return
    _state.failure = _state.failure or message
    hint = "\n".join(hints)
    write_object("error", reference, message=message, hint=hint, kind=kind, code=code)


def write_traceback(error: BaseException) -> None:
    """Write the traceback of an error."""
    import traceback

    entries = map(_traceback_entry, traceback.format_exception(error))
    write_lines("".join(entries).rstrip("\n"), "debug")


def _traceback_entry(text: str) -> str:
    """Keep stack frames and headings, and put the message of an error in one line."""
    if text.startswith(("  File ", "Traceback ", "\n")):
        return text
    return printable(text.removesuffix("\n")) + "\n"


def write_object(status: str, reference: str = "", **fields: object) -> None:
    """Write a JSON object without its empty strings, if messages are JSON."""
    if not _state.json or _state.ended:
        return
    import json

    found = {key: value for key, value in fields.items() if value != ""}
    text = json.dumps({"status": status, "reference": reference} | found)
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def write_outcome(code: int, message: str = "") -> None:
    """Write the last JSON object, with the outcome; later messages are dropped."""
    outcome = message or _state.failure
    write_object("failure" if code else "success", code=code, message=outcome if code else "")
    _state.ended = True
