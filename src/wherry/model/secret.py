"""Values that do not show themselves: error trackers and debuggers keep each local's `repr`."""

from __future__ import annotations

from typing import Any

_SHOWN = "***"


class Secret(str):
    """A password, a token, or a header that is made of one. What is made of it shows itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{_SHOWN}>"


class SecretBytes(bytes):
    """A message that holds a secret, or that may repeat one."""

    def __repr__(self) -> str:
        return f"<{_SHOWN}, {len(self)} bytes>"


class SecretUrl(str):
    """An address, or what is asked for there, whose query may be a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        address, question, _ = self.partition("?")
        start, at, host = address.rpartition("@")
        shown = f"{start.partition('//')[0]}//{host}" if at and "//" in start else address
        return f"{shown}{question and '?' + _SHOWN}"


class SecretFields(dict[str, Any]):
    """An object of JSON that holds secrets."""

    def __repr__(self) -> str:
        return f"<{_SHOWN}, {len(self)} fields>"


def masked(value: Any) -> Any:
    """Return a text, or a pair of them, as secrets; other values as they are."""
    if isinstance(value, str):
        return Secret(value)
    return tuple(map(masked, value)) if isinstance(value, tuple | list) else value


def drop_frames(error: BaseException) -> None:
    """Forget where an error and what led to it were raised.

    For errors of libraries that keep secrets in their own locals.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        found.__traceback__ = None
        found = found.__cause__ or found.__context__
