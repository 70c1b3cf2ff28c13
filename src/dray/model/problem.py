"""Faults in documents that peers tolerate: dray reads on and reports them."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A fault at the field ``path`` of a document that does not prevent its use.

    ``error`` is false for what is unusual but breaks no rule of the format.
    """

    path: str
    message: str
    error: bool = True

    def __str__(self) -> str:
        return f"{self.path} {self.message}"
