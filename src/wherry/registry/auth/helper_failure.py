"""The error of a credential helper."""

from __future__ import annotations

from wherry.errors import WherryError


class HelperFailure(WherryError):
    """A credential helper is not there, fails, takes too long or makes no sense."""


def helper_failure(name: str, message: str) -> HelperFailure:
    """Return the error of a helper."""
    return HelperFailure(message).within(f"docker-credential-{name}")
