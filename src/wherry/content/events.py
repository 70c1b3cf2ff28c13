"""Events about the progress of an operation."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from wherry.model.digest import Digest


class Status(enum.StrEnum):
    """The kind of an event. The values are the words that engines print, and more."""

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
    PLANNED = "Planned"
    PREPARING = "Preparing"
    PACKING = "Compressing"
    PUSHING = "Pushing"
    PUSHED = "Pushed"
    COPYING = "Copying"
    COPIED = "Copied"
    MOUNTED = "Mounted from"
    SKIPPED = "Layer already exists"
    RETRYING = "Retrying"
    DIGEST = "Digest"
    WARNING = "Warning"
    NOTE = "Note"
    DONE = "Status"


class Event(NamedTuple):
    """A step of an operation.

    Attributes:
        status: The kind of event.
        reference: The image, in its familiar form (`alpine:3`).
        digest: The layer; for DIGEST, the manifest. Its size is ``total`` after a push.
        current: Bytes of the layer so far.
        total: Bytes of the layer; None if they are unknown.
        message: Text for people; for MOUNTED, the repository that has the layer, empty if the
            registry chose it; for DIGEST, the tag that was pushed.
        seconds: The pause before the next attempt, for RETRYING.
        plan: For PLANNED, the whole plan as `Plan.to_json` returns it.
    """

    status: Status
    reference: str
    digest: Digest | None = None
    current: int = 0
    total: int | None = None
    message: str = ""
    seconds: float = 0.0
    plan: Mapping[str, Any] | None = None


def ignore(_event: Event) -> None:
    """Ignore an event: the default listener."""
