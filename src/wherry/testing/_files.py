"""A file server in the place of the object storage behind a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from wherry.testing._http import HttpServer
from wherry.testing._messages import IncomingRequest, Reply, error_reply, narrow

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileServer"]


class FileServer(HttpServer):
    """Serves the files below ``root`` to GET and HEAD, with ``Range``."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def answer(self, request: IncomingRequest) -> Reply:
        """Return the reply with a file."""
        file = (self.root / unquote(request.path).lstrip("/")).resolve()
        if not file.is_relative_to(self.root.resolve()) or not file.is_file():
            return error_reply(404, "NOT_FOUND")
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        return narrow(Reply(200, headers, file), request)
