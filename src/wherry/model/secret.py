"""Values whose `repr` hides them, since error trackers record it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = "***"


class Secret(str):
    """A password or token; strings derived from it are not hidden."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{_SHOWN}>"


class SecretBytes(bytes):
    """A message that contains or may repeat a secret."""

    def __repr__(self) -> str:
        return f"<{_SHOWN}, {len(self)} bytes>"


class SecretUrl(str):
    """A URL, or a path with a query, whose query may be a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        address, question, _ = self.partition("?")
        start, at, host = address.rpartition("@")
        shown = f"{start.partition('//')[0]}//{host}" if at and "//" in start else address
        return f"{shown}{question and '?' + _SHOWN}"


class SecretFields(dict[str, Any]):
    """A JSON object with secrets."""

    def __repr__(self) -> str:
        return f"<{_SHOWN}, {len(self)} fields>"


def masked(value: Any) -> Any:
    """Return a string, a pair of them, or a mapping to pairs as secrets.

    Other values are returned unchanged.
    """
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, Mapping):
        return {key: masked(each) for key, each in value.items()}
    return tuple(map(masked, value)) if isinstance(value, tuple | list) else value


def drop_frames(error: BaseException) -> None:
    """Remove the tracebacks of an error and its causes.

    Libraries may have secrets in the local variables of their frames.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        found.__traceback__ = None
        found = found.__cause__ or found.__context__
