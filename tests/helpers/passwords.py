"""Entries of htpasswd files, and headers with passwords."""

from __future__ import annotations

import base64

import bcrypt

LOWEST_COST = 4  # of bcrypt


def entry(user: str, password: str, cost: int = LOWEST_COST) -> bytes:
    """Return a line as `htpasswd -B` writes it."""
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))
    return user.encode() + b":" + hashed.replace(b"$2b$", b"$2y$") + b"\n"


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header that sends a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
