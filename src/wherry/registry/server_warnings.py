"""Warnings of registries for their users: the ``Warning`` headers of answers.

OCI distribution spec 1.1, Warnings. The texts are shown, and have no other effect.
"""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.registry.server_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse

MAX_WARNINGS = 10  # of one host in one operation
MAX_HEADERS = 4096  # characters of one answer's warnings; registries must not send more
_SHOWN_CODE = "299"  # a warning of the registry itself (RFC 7234, 5.5.7)
# Strings, since few registries send warnings: compiling takes longer than starting a request.
_VALUE = r'(\d{3}) [^\s",]++ "((?:[^"\\]|\\.)*+)"'
_ESCAPE = r"\\(.)"


class ShownWarnings:
    """The warnings that one operation has shown. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[str, set[str]] = {}

    def add(self, host: str, text: str) -> str:
        """Return what to show of a warning; "" if it was shown, or enough of its host were."""
        with self._lock:
            texts = self._texts.setdefault(host, set())
            if text in texts or len(texts) > MAX_WARNINGS:
                return ""
            texts.add(text)
            return text if len(texts) <= MAX_WARNINGS else "(further warnings are not shown)"


class ServerWarnings:
    """Shows the warnings of an endpoint, each once in an operation.

    Args:
        shown: What the operation has shown.
        warn: Is told the warnings.
    """

    def __init__(self, shown: ShownWarnings, warn: Callable[[str], None]) -> None:
        self._shown = shown
        self._warn = warn

    def note(self, response: HttpResponse, endpoint: Endpoint) -> None:
        """Show the warnings of a response; those of other hosts are not the registry's."""
        values = response.headers("Warning")
        if not values or urlsplit(response.request.url).netloc != endpoint.host:
            return
        for text in warning_texts(", ".join(values)):
            if shown := self._shown.add(endpoint.name, text):
                self._warn(f"{endpoint.name} says: {shown}")


def warning_texts(header: str) -> Iterator[str]:
    """Yield the texts of the warnings with code 299 (RFC 7234, 5.5), each on one line."""
    for found in re.finditer(_VALUE, header[:MAX_HEADERS]):
        code, quoted = found.groups()
        text = re.sub(_ESCAPE, r"\1", quoted)
        with contextlib.suppress(UnicodeError):
            text = text.encode("latin-1").decode("utf-8")  # headers are decoded as Latin-1
        line = one_line(text)
        if code == _SHOWN_CODE and line:
            yield line
