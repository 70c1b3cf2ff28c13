"""The error of a credential helper."""

from __future__ import annotations

from wherry.errors import WherryError


class HelperFailure(WherryError):
    """A credential helper is missing, failed, or took too long."""


def helper_failure(name: str, message: str) -> HelperFailure:
    """Return the error for the helper ``name``."""
    return HelperFailure(message).within(f"docker-credential-{name}")
