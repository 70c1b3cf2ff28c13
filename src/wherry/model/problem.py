"""Faults in documents that peers tolerate: wherry reads on and reports them."""

from __future__ import annotations

from typing import NamedTuple

MAX_PROBLEMS = 100  # of one document that are reported


class DocumentFault(NamedTuple):
    """A fault at the field ``path`` of a document that does not prevent its use.

    ``error`` is false for what is unusual but breaks no rule of the format.
    """

    path: str
    message: str
    error: bool = True

    def __str__(self) -> str:
        return f"{self.path} {self.message}"


def note(problems: list[DocumentFault], path: str, message: str) -> None:
    """Add a fault to the problems of a document, which are at most `MAX_PROBLEMS`."""
    if len(problems) < MAX_PROBLEMS:
        problems.append(DocumentFault(path, message))
    elif len(problems) == MAX_PROBLEMS:
        problems.append(DocumentFault("more fields", "could not be read"))
