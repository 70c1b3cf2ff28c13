"""Select and sort tags."""

import pytest

from wherry.errors import InvalidReference
from wherry.ops.tags import select_tags

TAGS = ["latest", "1.10", "v1.9.1", "1.9", "2.0-rc1", "edge", "1.9-slim", "2"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", TAGS),
        (r"^1\.9", ["1.9", "1.9-slim"]),
        ("slim|edge", ["edge", "1.9-slim"]),
        ("semver:^1.9", ["1.10", "v1.9.1", "1.9"]),
        (">=1.10", ["1.10", "2"]),
        ("~1.9", ["v1.9.1", "1.9"]),
        ("=2", ["2"]),
        ("semver:*", ["1.10", "v1.9.1", "1.9", "2"]),
        ("nothing", []),
    ],
)
def test_a_filter_is_an_expression_or_a_range(wanted: str, expected: list[str]) -> None:
    assert select_tags(TAGS, wanted) == expected


def test_orders() -> None:
    assert select_tags(TAGS, order="name") == sorted(TAGS)
    assert select_tags(TAGS, order="version") == [
        "edge", "latest", "1.9-slim", "1.9", "v1.9.1", "1.10", "2.0-rc1", "2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "position"), [("a(b", 1), ("semver:>=x.1", 9), ("*", 0), (">=", 0)]
)
def test_a_bad_filter_is_refused_at_its_place(wanted: str, position: int) -> None:
    with pytest.raises(InvalidReference) as caught:
        select_tags(TAGS, wanted)
    assert (caught.value.text, caught.value.position) == (wanted, position)
