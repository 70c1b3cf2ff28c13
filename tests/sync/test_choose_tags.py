"""Which tags an entry means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wherry.model.reference import Reference
from wherry.sync.choose_tags import choose_tags
from wherry.sync.image_list import ImageEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LISTED = ["latest", "3.9", "3.10.1", "3.11", "3.11-slim", "3.12-slim", "3.12", "3.13rc1", "edge"]
CREATED = {tag: float(number) for number, tag in enumerate(LISTED)}


def ages(tags: Sequence[str]) -> Mapping[str, float]:
    return {tag: CREATED[tag] for tag in tags}


def choose(**fields: Any) -> list[str]:
    return choose_tags(ImageEntry("", Reference.parse("python"), **fields), LISTED, ages)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, LISTED),
        ({"tags": ("3.12", "gone", "3.12")}, ["3.12", "gone"]),
        ({"match": r"^3\.1[01]"}, ["3.10.1", "3.11", "3.11-slim"]),
        ({"semver": ">=3.10 <3.12"}, ["3.10.1", "3.11"]),
        ({"tags": ("edge",), "match": "^l", "semver": "3.9"}, ["edge", "latest", "3.9"]),
        ({"allow": ("-slim$", "^edge$")}, ["3.11-slim", "3.12-slim", "edge"]),
        ({"deny": ("rc", "-slim$", "^[a-z]")}, ["3.9", "3.10.1", "3.11", "3.12"]),
        ({"tags": ("3.12", "3.11"), "deny": ("12",)}, ["3.11"]),
        ({"newest": 2, "deny": ("-",)}, ["3.12", "3.11"]),
        ({"newest": 2}, ["3.12", "3.12-slim"]),
        ({"newest": 9, "match": "^[a-z]"}, []),
        ({"newest": 2, "by": "created"}, ["edge", "3.13rc1"]),
        ({"newest": 1, "by": "created", "match": r"^3\.1\d$"}, ["3.12"]),
    ],
)
def test_tags_are_chosen(fields: dict[str, Any], expected: list[str]) -> None:
    assert choose(**fields) == expected


def test_equal_versions_have_an_order() -> None:
    entry = ImageEntry("", Reference.parse("a"), newest=1)
    for listed in (["1.0", "v1.0", "1"], ["1", "1.0", "v1.0"]):
        assert choose_tags(entry, listed, ages) == ["v1.0"]
