"""Versions in tags (semver.org, 11) and ranges of them, as npm reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidReference
from wherry.model.semver import Range, Version

# The example of semver.org, section 11.4.4.
ORDER = [
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "v1.2", "1.10.0", "2",
]  # fmt: skip


def version(tag: str) -> Version:
    found = Version.parse(tag)
    assert found is not None
    return found


@given(st.permutations(ORDER))
def test_the_order_is_semvers(tags: list[str]) -> None:
    assert sorted(tags, key=version) == ORDER


@pytest.mark.parametrize(
    "tag", ["latest", "1.2.3.4", "01.2", "1.2.", "1.2.3-", "x", "", "1.2.3-a..b", "2024-x_"]
)
def test_other_tags_are_no_versions(tag: str) -> None:
    assert Version.parse(tag) is None


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.2.3", "1.2.3 v1.2.3 1.2.3_build", "1.2.4 1.2.2 1.2.3-rc1"),
        ("=1.2", "1.2 1.2.9", "1.3 1.1.9"),
        ("1.x", "1.0 1.99", "2 0.9"),
        ("1.2.*", "1.2 1.2.9", "1.3"),
        ("*", "0.0.0 9", "1.0-rc"),
        (">=1.2 <2", "1.2 1.99.9", "2 1.1 2.0.0-rc1"),
        (">=1.2, <2", "1.2 1.99.9", "2 1.1"),
        (">1.2", "1.3", "1.2 1.2.9"),
        (">1.2.3", "1.2.4", "1.2.3"),
        ("<=1.2", "1.2.9 0", "1.3"),
        ("<1.2.3", "1.2.2", "1.2.3"),
        ("!=1.2", "1.3 1.1", "1.2 1.2.7"),
        ("^1.2.3", "1.2.3 1.9", "1.2.2 2"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3 0.2.2"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0.0", "0.0.9", "0.1"),
        ("^0", "0.9", "1"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3 1.2.2"),
        ("~1", "1.9", "2"),
        ("~> 1.2", "1.2.9", "1.3"),
        ("1.2 - 1.4", "1.2 1.4.9", "1.5 1.1"),
        ("1.2.3 || >=3", "1.2.3 3 4", "2"),
        (">=1.2.0-rc.1 <1.3", "1.2.0-rc.1 1.2.0-rc.2 1.2.5", "1.2.0-beta 1.2.1-rc.1"),
        (">1.2.3 <1.2.4-rc.5", "1.2.4-rc.1", "1.2.4-rc.5 1.2.4"),
        ("1.2.3-rc.1", "1.2.3-rc.1", "1.2.3-rc.2 1.2.3"),
    ],
)
def test_a_range_takes_what_it_says(text: str, inside: str, outside: str) -> None:
    found = Range(text)
    assert [tag for tag in inside.split() if version(tag) not in found] == []
    assert [tag for tag in outside.split() if version(tag) in found] == []


@pytest.mark.parametrize(
    ("text", "position"),
    [("", 0), (">=", 0), (">=1.2 foo", 6), ("1 || ", 4), ("1 - b", 4), (">=1.2.3.4", 2), ("~v", 1)],
)
def test_a_bad_range_is_refused_at_its_place(text: str, position: int) -> None:
    with pytest.raises(InvalidReference, match="range of versions") as caught:
        Range(text)
    assert (caught.value.text, caught.value.position) == (text, position)
