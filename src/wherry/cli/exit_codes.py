"""The exit codes of the command (docs/command.md, "Output and errors")."""

from __future__ import annotations

from wherry import errors

DONE, FAILED, USAGE, NOT_FOUND, DENIED, INTEGRITY, NETWORK = range(7)
INTERRUPTED = 130  # 128 + SIGINT, as in shells

# The first class that matches decides.
BY_ERROR: tuple[tuple[type[errors.WherryError], int], ...] = (
    (errors.InvalidReference, USAGE),
    (errors.InvalidDigest, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.Unauthorized, DENIED),
    (errors.Denied, DENIED),
    (errors.IntegrityError, INTEGRITY),
    (errors.NetworkError, NETWORK),
    (errors.RateLimited, NETWORK),
    (errors.Cancelled, INTERRUPTED),
    (errors.WherryError, FAILED),
)


def exit_code(error: errors.WherryError) -> int:
    """Return the exit code for an error."""
    return next(code for kind, code in BY_ERROR if isinstance(error, kind))
