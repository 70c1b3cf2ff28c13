"""What an operation tells while it runs."""

from __future__ import annotations

import enum
from typing import NamedTuple

from wherry.model.digest import Digest


class Status(enum.StrEnum):
    """The words that engines use, those of archives, and four for what is no layer."""

    RESOLVED = "Pulling from"
    WAITING = "Waiting"
    PULLING = "Pulling fs layer"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying Checksum"
    DOWNLOADED = "Download complete"
    EXISTS = "Already exists"
    COMPLETE = "Pull complete"
    LOADING = "Loading layer"
    LOADED = "Load complete"
    SAVING = "Saving layer"
    SAVED = "Saved"
    RETRYING = "Retrying"
    DIGEST = "Digest"
    WARNING = "Warning"
    DONE = "Status"


class Event(NamedTuple):
    """One step of an operation on ``reference`` (in familiar form).

    ``digest`` names the layer concerned, or the manifest for DIGEST. ``current`` and ``total``
    are bytes of it; ``total`` is None where the format does not say. ``message`` is text for
    people; ``seconds`` is the pause of a RETRYING.
    """

    status: Status
    reference: str
    digest: Digest | None = None
    current: int = 0
    total: int | None = None
    message: str = ""
    seconds: float = 0.0


def ignore(_event: Event) -> None:
    """Listen to nothing."""
