"""How a command ends: exit codes and error messages."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from wherry import errors
from wherry.cli import messages
from wherry.cli.exit_codes import FAILED, INTERRUPTED, USAGE, exit_code
from wherry.cli.printable import OutputError, printable
from wherry.cli.render import describe_error

if TYPE_CHECKING:
    from collections.abc import Sequence


# Click before 8.2 prints the help text itself.
_NO_ARGUMENTS: tuple[type, ...] = (
    (click.exceptions.NoArgsIsHelpError,) if hasattr(click.exceptions, "NoArgsIsHelpError") else ()
)


def report_usage_error(error: click.ClickException, arguments: Sequence[str]) -> int:
    """Report what is wrong with a command line and how to correct it."""
    context: click.Context | None = getattr(error, "ctx", None)
    message = error.format_message()
    if isinstance(error, _NO_ARGUMENTS):  # the message is the help text
        messages.write_lines(message)
        return USAGE
    from wherry.cli import hints

    if isinstance(error, click.NoSuchOption):
        message = f"there is no option {error.option_name}"
        found = hints.for_option(error.option_name, context)
    else:
        found = hints.for_argument(context, arguments)
    if context is not None and context.command_path:
        found.append(f"see `{context.command_path} --help`")
    messages.write_error(message, found, USAGE, kind=type(error).__name__)
    return USAGE


def report_error(error: errors.WherryError, *, debug: bool, reference: str = "") -> int:
    """Report an error and return its exit code."""
    if debug:
        messages.write_traceback(error)
    code = exit_code(error)
    message, hints = describe_error(error)
    if isinstance(error, errors.NetworkError) and (kept := _kept_bytes()):
        hints.append(kept)
    kind = type(error).__name__
    messages.write_error(message, hints, code, kind=kind, reference=printable(reference))
    return code


def report_unexpected(error: Exception, *, debug: bool) -> int:
    """Report that output or a file cannot be used, or a defect of wherry."""
    if debug:
        messages.write_traceback(error)
    hints: list[str] = []
    if isinstance(error, OutputError):
        closed = error.errno == errno.EBADF  # `entry` replaces a closed stdout by such a stream
        reason = "standard output is closed" if closed else error.strerror or error
        message = f"cannot write the result: {reason}"
    elif isinstance(error, OSError):
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        message = f"{place}{error.strerror or type(error).__name__}"
    elif isinstance(error, MemoryError):
        message = "there is not enough memory"
    else:
        message = f"internal error: {type(error).__name__}: {error}"
        hints = ["please report this, with the output of --debug"]
    messages.write_error(message, hints, FAILED, kind=type(error).__name__)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def finish_output() -> None:
    """Flush standard output, and close it if it is a file.

    Some file systems report lost bytes only on close, see close(2).

    Raises:
        OutputError: Bytes are lost.
    """
    sys.stdout.flush()
    descriptor = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        try:
            os.close(descriptor)
        except OSError as error:
            raise OutputError(*error.args) from error


def sync_output() -> None:
    """Sync standard output to disk if it is a file; raises `OutputError`."""
    descriptor = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise OutputError(*error.args) from error


def report_interrupt() -> int:
    """Report an interrupt, and how much of a download the next pull can use."""
    kept = _kept_bytes()
    messages.write_error(f"interrupted; {kept}" if kept else "interrupted", [], INTERRUPTED)
    return INTERRUPTED


def _kept_bytes() -> str:
    progress = sys.modules.get("wherry.cli.progress")
    return progress.kept_bytes() if progress is not None else ""


def exit_now(code: int) -> NoReturn:
    """Exit at once, without waiting for threads or for the interpreter's clean-up.

    A thread may be in a DNS lookup that cannot be interrupted, and the clean-up takes longer
    than many commands.
    """
    messages.write_outcome(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
