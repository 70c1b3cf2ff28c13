"""A repository of a version 1 registry, for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.model.reference import Reference
from wherry.registry.v1_repository import V1Repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.errors import WherryError
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session


class Legacy(V1Repository):
    """A repository of a version 1 registry, whose warnings and retries are recorded."""

    def __init__(self, session: Session, name: str, *mirrors: Endpoint) -> None:
        reference = Reference.parse(name)
        self.cancel = CancelToken()
        self.warnings: list[str] = []
        self.pauses: list[float] = []
        self.errors: list[WherryError] = []
        self.at_retry: Callable[[], None] = lambda: None
        endpoints = (*mirrors, *session.hosts.endpoints(reference))
        super().__init__(
            session,
            reference,
            endpoints,
            self.cancel,
            warn=self.warnings.append,
            on_retry=self.note,
        )

    def note(self, pause: float, error: WherryError) -> None:
        self.pauses.append(pause)
        self.errors.append(error)
        self.at_retry()

    def layer(self, image_id: str, offset: int = 0) -> tuple[int, bytes]:
        """Return where the content of a layer starts, and the content."""
        opened = self.open_layer(image_id, offset, self.cancel)
        with contextlib.closing(opened.stream):
            return opened.start, b"".join(iter(lambda: opened.stream.read1(65536), b""))
