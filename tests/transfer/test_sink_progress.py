"""Events of the layers that are written to a sink."""

from __future__ import annotations

import pytest

from wherry.content.events import Event, Status
from wherry.content.protocols import Receipt
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.transfer.progress import Emitter, SinkProgress

LAYER = Descriptor("application/octet-stream", Digest.of(b"layer"), 1000)


@pytest.mark.parametrize(
    ("remote", "moving", "moved"),
    [(True, Status.PUSHING, Status.PUSHED), (False, Status.COPYING, Status.COPIED)],
)
def test_words_of_registries_and_of_archives(remote: bool, moving: Status, moved: Status) -> None:
    events: list[Event] = []
    progress = SinkProgress(Emitter(events.append, "app:1"), remote=remote)
    progress.report_plan("1 layer", {"names": []})
    progress.report_queued(LAYER)
    progress.bytes(LAYER, 400)
    progress.bytes(LAYER, 1000)
    progress.complete(LAYER, Receipt(LAYER))
    progress.report_done(LAYER, ["1"], "done")
    assert events == [
        Event(Status.PLANNED, "app:1", message="1 layer", plan={"names": []}),
        Event(Status.PREPARING, "app:1", LAYER.digest, 0, 1000),
        Event(moving, "app:1", LAYER.digest, 400, 1000),
        Event(moving, "app:1", LAYER.digest, 1000, 1000),
        Event(moved, "app:1", LAYER.digest, 1000, 1000),
        Event(Status.DIGEST, "app:1", LAYER.digest, total=1000, message="1"),
        Event(Status.DONE, "app:1", message="done"),
    ]


def test_layers_that_are_not_sent() -> None:
    events: list[Event] = []
    progress = SinkProgress(Emitter(events.append, "app:1"), remote=True)
    progress.report_skipped(LAYER)
    progress.complete(LAYER, Receipt(LAYER, existed=True))
    progress.report_mounted(LAYER, "acme/base")
    progress.report_skipped(None)  # a config
    progress.report_mounted(None, "acme/base")
    assert events == [
        Event(Status.SKIPPED, "app:1", LAYER.digest, 1000, 1000),
        Event(Status.EXISTS, "app:1", LAYER.digest, 1000, 1000),  # since the plan was made
        Event(Status.MOUNTED, "app:1", LAYER.digest, 1000, 1000, "acme/base"),
    ]


def test_compression_is_reported_at_intervals() -> None:
    events: list[Event] = []
    progress = SinkProgress(Emitter(events.append, "app:1"), remote=True)
    for current in range(1, 1001):
        progress.report_packing(LAYER, current)
    assert events[0] == Event(Status.PACKING, "app:1", LAYER.digest, 1, 1000)
    assert len(events) < 1000
