"""The log "dray": what went wrong in functions of the caller's own."""

from __future__ import annotations


def note_failure(error: Exception, message: str, *details: object) -> None:
    """Log an error with its trace; a library prints nothing unless it is asked to."""
    import logging

    log = logging.getLogger("dray")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    log.error(message, *details, exc_info=error)
