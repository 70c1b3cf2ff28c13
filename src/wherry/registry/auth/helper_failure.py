"""The error of a credential helper."""

from __future__ import annotations

from wherry.errors import WherryError


class HelperFailed(WherryError):
    """A credential helper is not there, fails, takes too long or makes no sense."""


def failure(name: str, message: str) -> HelperFailed:
    """Return the error of a helper."""
    return HelperFailed(f"docker-credential-{name}: {message}")
