"""Write files with credentials and other settings."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def entry(user: str, password: str) -> dict[str, str]:
    """Return an entry of `auths` with a user name and password."""
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write_file(path: Path, content: Any) -> Path:
    """Write text, or an object as JSON, to a file in a new directory; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
