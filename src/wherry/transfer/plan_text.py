"""The plan of a copy as lines for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.model.quantity import count, size
from wherry.transfer.plan_values import Convert, Mount, Move, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.transfer.plan_values import CopyPlan, Step

_LOCAL = re.compile(r"(store|oci|oci-archive|docker-archive|dir):")


def summarize(plan: CopyPlan) -> str:
    """Return a whole plan in a line.

    ``8 images, 41 blobs: 29 there (412 MB), 4 to mount (180 MB), 8 to move (96.1 MB);
    9 documents; 1 tag``
    """
    names = count(len(plan.names), "name" if _LOCAL.match(plan.destination) else "tag")
    if plan.is_current:
        return f"the image is there; {names} to set" if plan.names else "the image is there"
    if plan.is_v1:
        return f"{_layers(plan.blobs, 'send')}; {names}"
    existing = len(plan.documents) - len(plan.writes)
    documents = count(len(plan.documents), "document")
    there = f" ({existing} there)" if existing else ""
    return f"{_images(plan)}, {_blobs(plan.blobs)}; {documents}{there}; {names}"


def summarize_layers(plan: CopyPlan) -> str:
    """Return what happens to the layers of a push or copy.

    ``5 layers: 3 are there, 1 to mount from acme/base, 1 to send (12.5 MB)``
    """
    if plan.is_current:
        return "the image is there"
    configs = {document.config for document in plan.documents}
    layers = [step for step in plan.blobs if step.source.digest not in configs]
    images = "" if plan.is_v1 or len(plan.documents) == 1 else f"{_images(plan)}, "
    return images + _layers(layers, "write" if _LOCAL.match(plan.destination) else "send")


def _images(plan: CopyPlan) -> str:
    return count(sum(document.is_manifest for document in plan.documents), "image")


def _blobs(blobs: Sequence[Step]) -> str:
    skips = [step for step in blobs if isinstance(step, Skip)]
    fates: dict[str, Sequence[Step]] = {
        "there": [step for step in skips if not step.foreign],
        "left at other addresses": [step for step in skips if step.foreign],
        "to mount": [step for step in blobs if isinstance(step, Mount)],
        "to move": [step for step in blobs if isinstance(step, Move)],
        "to convert": [step for step in blobs if isinstance(step, Convert)],
    }
    texts = (f"{len(steps)} {fate}{_bytes(steps)}" for fate, steps in fates.items() if steps)
    return _listed(count(len(blobs), "blob"), texts)


def _layers(layers: Sequence[Step], verb: str) -> str:
    skips = [step for step in layers if isinstance(step, Skip)]
    there = sum(not step.foreign for step in skips)
    mounts = [step for step in layers if isinstance(step, Mount)]
    origins = {step.repositories[0] for step in mounts}
    origin = f" from {origins.pop()}" if len(origins) == 1 else ""
    moves = [step for step in layers if isinstance(step, Move)]
    converts = [step for step in layers if isinstance(step, Convert)]
    fates = (
        (there, "is there" if there == 1 else "are there"),
        (len(skips) - there, "left at other addresses"),
        (len(mounts), f"to mount{origin}"),
        (len(moves), f"to {verb}{_bytes(moves)}"),
        (len(converts), f"to convert and {verb}{_bytes(converts)}"),
    )
    texts = (f"{number} {fate}" for number, fate in fates if number)
    return _listed(count(len(layers), "layer"), texts)


def _listed(title: str, texts: Iterable[str]) -> str:
    found = ", ".join(texts)
    return f"{title}: {found}" if found else title


def _bytes(steps: Sequence[Step]) -> str:
    """Return the size of blobs in parentheses; nothing if no size is known."""
    total = sum(step.size for step in steps)
    least = "at least " if any(step.source.size is None for step in steps) else ""
    return f" ({least}{size(total)})" if total else ""
