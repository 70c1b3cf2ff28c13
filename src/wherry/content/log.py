"""The logger "wherry", for exceptions of the caller's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Callback(Generic[T]):
    """A function of the caller, whose exceptions do not stop an operation.

    The first exception is logged. ``name`` is the name of the parameter, for the message.
    """

    def __init__(self, name: str, function: Callable[[T], object]) -> None:
        self._name = name
        self._function = function
        self._failed = False

    def __call__(self, argument: T) -> None:
        """Call the function."""
        try:
            self._function(argument)
        except Exception as error:  # noqa: BLE001 - the caller's code may raise anything
            self.note(error)

    def note(self, error: BaseException) -> None:
        """Log the first exception.

        If the program has not configured logging, the standard library prints it to stderr.
        """
        if self._failed:
            return
        self._failed = True
        import logging

        log = logging.getLogger("wherry")
        log.error("%s raised an exception; later ones are not reported", self._name, exc_info=error)
