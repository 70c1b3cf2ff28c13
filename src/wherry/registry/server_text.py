"""Reducing text, HTML or XML of a server to one line that is safe to show."""

from __future__ import annotations

import re
from typing import Any

from wherry.model.mediatype import essence

_SHOWN = 300  # characters of a server's words that an error quotes
_HTML_TYPES = {"text/html", "application/xhtml+xml"}
_BLANK = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"  # byte order marks, UTF-16's zeros and white space
_TITLE = re.compile(rb"<title[^>]*>\s*(?:\d{3}\s+)?([^<]*)</title>", re.IGNORECASE)
_MESSAGE = re.compile(rb"<message[^>]*>([^<]*)</message>", re.IGNORECASE)  # of object storage
_SEARCHED = 16 * 1024  # bytes at the start of a body


def is_markup(body: bytes) -> bool:
    """Return whether a body is HTML or XML, by its first character."""
    return body[:_SEARCHED].lstrip(_BLANK)[:1] == b"<"


def is_page(media_type: str, body: bytes) -> bool:
    """Return whether a body is a web page, by its media type or its first character.

    A proxy may serve JSON as HTML; that is still a document.
    """
    start = body[:_SEARCHED].lstrip(_BLANK)[:1]
    return start == b"<" or (essence(media_type) in _HTML_TYPES and start not in {b"{", b"["})


def title(body: bytes) -> str:
    """Return a page's title without a status code, or the message of an XML error."""
    start = body[:_SEARCHED].replace(b"\0", b"")
    found = _TITLE.search(start) or _MESSAGE.search(start)
    if found is None:
        return ""
    import html

    text = found.group(1).decode(errors="replace")
    try:
        return html.unescape(text)
    except ValueError:  # a character reference with thousands of digits
        return text


def plain_text(body: bytes) -> str:
    """Return a text body without a status code; "" for binary or broken JSON."""
    text = body[: 4 * _SHOWN].decode(errors="replace")
    if text.lstrip()[:1] in {"{", "["}:
        return ""
    unprintable = sum(
        c == "\N{REPLACEMENT CHARACTER}" or not (c.isprintable() or c.isspace()) for c in text
    )
    return "" if unprintable > len(text) // 10 else re.sub(r"^\s*\d{3}\s+", "", text)


def one_line(text: Any) -> str:
    """Return printable characters on one line; "" if ``text`` is not a string."""
    if not isinstance(text, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * _SHOWN])
    line = " ".join(printable.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
