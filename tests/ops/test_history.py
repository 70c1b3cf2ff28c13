"""The history of an image, and the layers of its steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.model.config import parse_config
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.ops.history import list_history

LAYERS = [Descriptor("", Digest.of(b"layer %d" % place), 100 + place) for place in range(3)]
DIFF_IDS = [Digest.of(b"raw %d" % place) for place in range(3)]


def steps_of(*entries: dict[str, Any]) -> list[tuple[str, int | None]]:
    rootfs = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in DIFF_IDS]}
    config = parse_config(json.dumps({"rootfs": rootfs, "history": entries}).encode())
    found = list_history(config, LAYERS)
    places = {layer.digest: place for place, layer in enumerate(LAYERS)}
    for step in found:
        if step.digest is not None:
            assert step.diff_id == DIFF_IDS[places[step.digest]]
            assert step.size == 100 + places[step.digest]
    return [
        (step.created_by, None if step.digest is None else places[step.digest]) for step in found
    ]


def test_the_last_step_comes_first_and_empty_ones_have_no_layer() -> None:
    assert steps_of(
        {"created_by": "a"},
        {"created_by": "b", "empty_layer": True},
        {"created_by": "c"},
        {"created_by": "d"},
        {"created_by": "e", "empty_layer": True},
    ) == [("e", None), ("d", 2), ("c", 1), ("b", None), ("a", 0)]


@pytest.mark.parametrize("entries", [[], [{"created_by": "a"}]])
def test_layers_without_a_step_are_listed_all_the_same(entries: list[dict[str, Any]]) -> None:
    expected = [("", 2), ("", 1), ("a" if entries else "", 0)]
    assert steps_of(*entries) == expected


def test_steps_beyond_the_layers_have_none() -> None:
    found = steps_of(*[{"created_by": name} for name in "abcd"])
    assert found == [("d", None), ("c", 2), ("b", 1), ("a", 0)]
