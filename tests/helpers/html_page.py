"""HTML as a browser reads it: text, links and anything that could run."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ACTIVE = {"script", "iframe", "object", "embed", "base", "img", "link", "style"}


class HtmlPage(HTMLParser):
    """A parsed page.

    Attributes:
        links: The targets of links, in order.
        active: Elements and attributes that could load or run something.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.active: list[str] = []
        self._text: list[str] = []
        self._in_style = False
        self.feed(body.decode())
        self.close()

    @property
    def text(self) -> str:
        """The text of the page, with single spaces."""
        return " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attributes: Iterable[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        if tag in _ACTIVE:
            self.active.append(tag)
        for name, value in attributes:
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name.startswith("on") or name == "style":
                self.active.append(name)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self._text.append(data)
