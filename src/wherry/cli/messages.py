"""Messages on stderr: lines for people, or with `--progress json` one object a line."""

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
    """The form of this process's messages, and the first failure that was told."""

    json = False
    debug = False
    ended = False
    failure = ""


_state = _MessageState()


def begin(arguments: Sequence[str]) -> None:
    """Choose the form, before the command line is parsed: wrong usage is told in it too."""
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
    """Take what Python itself would write to stderr, in several lines."""
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
    """Write a line for people, or an object with this status."""
    say_lines(text if _state.json else printable(text), status)


def say_lines(text: str, status: str = "note") -> None:
    """Write text of several lines for people, or an object with this status."""
    if _state.json:
        write(status, message=text.removeprefix("wherry: ").strip())
        return
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def tell_error(
    message: str, hints: Sequence[str], code: int, *, kind: str = "", reference: str = ""
) -> None:
    """Say what failed and, below it, what to try; ``kind`` is the error's class."""
    if not _state.json:
        lines = [f"wherry: {message}", *(f"  {hint}" for hint in hints)]
        say_lines("\n".join(map(printable, lines)))
        return
    _state.failure = _state.failure or message
    hint = "\n".join(hints)
    write("error", reference, message=message, hint=hint, kind=kind, code=code)


def tell_traceback(error: BaseException) -> None:
    """Show where an error came from."""
    import traceback

    entries = map(_traceback_entry, traceback.format_exception(error))
    say_lines("".join(entries).rstrip("\n"), "debug")


def _traceback_entry(text: str) -> str:
    """Keep frames and headings as they are, and an error's own message in one line."""
    if text.startswith(("  File ", "Traceback ", "\n")):
        return text
    return printable(text.removesuffix("\n")) + "\n"


def write(status: str, reference: str = "", **fields: object) -> None:
    """Write an object, if that is the form; texts that are empty are left out."""
    if not _state.json or _state.ended:
        return
    import json

    found = {key: value for key, value in fields.items() if value != ""}
    text = json.dumps({"status": status, "reference": reference} | found)
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def end(code: int, message: str = "") -> None:
    """Write the last object, which tells how the command ended; nothing may follow it."""
    told = message or _state.failure
    write("failure" if code else "success", code=code, message=told if code else "")
    _state.ended = True
