"""The cookies of version 1 registries, each for the host that set it. Does no I/O."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from wherry.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_COOKIES = 20  # of one host
MAX_COOKIE = 4096  # characters of a cookie's name and value (RFC 6265, 6.1)
_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\x21-\x7e]*)")
_ENDS = re.compile(r";\s*max-age\s*=\s*(?:-[0-9]+|0+)\s*(?:;|$)", re.IGNORECASE)


class TooManyCookies(ValueError):
    """A host sets more cookies than are kept, or longer ones."""


class Cookies:
    """The cookies of one host; attributes but ``Max-Age=0`` are ignored. Thread-safe."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def update(self, headers: Sequence[str]) -> None:
        """Take the values of ``Set-Cookie`` headers (RFC 6265, 5.2).

        Raises:
            TooManyCookies: They exceed a limit; none of the rest is kept.
        """
        for header in headers:
            pair, _, _ = header.partition(";")
            if len(pair) > MAX_COOKIE:
                raise TooManyCookies(f"a cookie of over {MAX_COOKIE >> 10} KiB")
            found = _PAIR.fullmatch(pair.strip())
            if found is None:
                continue  # a cookie that could not be sent back
            name, value = found.groups()
            with self._lock:
                self._values.pop(name, None)
                if _ENDS.search(header):
                    continue
                if len(self._values) >= MAX_COOKIES:
                    raise TooManyCookies(f"over {MAX_COOKIES} cookies")
                self._values[name] = value

    @property
    def header(self) -> Secret | None:
        """The value of ``Cookie`` for a request to the host; None without cookies."""
        with self._lock:
            if not self._values:
                return None
            return Secret("; ".join(f"{name}={value}" for name, value in self._values.items()))
