"""Faults in documents that other tools tolerate, and that wherry reports."""

from __future__ import annotations

from typing import NamedTuple

MAX_PROBLEMS = 100  # reported faults of one document


class DocumentFault(NamedTuple):
    """A fault of a document that does not prevent its use.

    Attributes:
        path: The field.
        message: What is wrong with it.
        error: Whether it breaks a rule of the format; False if it is only unusual.
    """

    path: str
    message: str
    error: bool = True

    def __str__(self) -> str:
        return f"{self.path} {self.message}"


def note(problems: list[DocumentFault], path: str, message: str) -> None:
    """Add a fault, unless the document has `MAX_PROBLEMS` already."""
    if len(problems) < MAX_PROBLEMS:
        problems.append(DocumentFault(path, message))
    elif len(problems) == MAX_PROBLEMS:
        problems.append(DocumentFault("more fields", "could not be read"))
