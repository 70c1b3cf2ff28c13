"""Serves the files under a directory, as the object storage behind a registry does."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from wherry.testing._http import HttpServer
from wherry.testing._messages import IncomingRequest, Reply, error_reply, narrow

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileServer"]


class FileServer(HttpServer):
    """Answers GET and HEAD, with ``Range``, for the files under `root`."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def answer(self, request: IncomingRequest) -> Reply:
        """Answer with a file."""
        file = (self.root / unquote(request.path).lstrip("/")).resolve()
        if not file.is_relative_to(self.root.resolve()) or not file.is_file():
            return error_reply(404, "NOT_FOUND")
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        return narrow(Reply(200, headers, file), request)
