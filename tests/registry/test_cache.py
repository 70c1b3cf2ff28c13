"""The cache of a session is bounded in bytes."""

from hypothesis import given
from hypothesis import strategies as st

from wherry.registry.cache import LruCache


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    kept: LruCache[str, int] = LruCache(100)
    for number, key in enumerate("abcd"):
        kept.put(key, number, 25)
    assert kept.get("a") == 0
    kept.put("e", 4, 25)
    assert [kept.get(key) for key in "abcde"] == [0, None, 2, 3, 4]


def test_a_second_value_replaces_the_first() -> None:
    kept: LruCache[str, int] = LruCache(100)
    kept.put("a", 1, 20)
    kept.put("a", 2, 10)
    assert (kept.get("a"), kept.size) == (2, 10)


def test_each_entry_adds_an_overhead() -> None:
    kept: LruCache[int, int] = LruCache(1000, overhead=100)
    for number in range(20):
        kept.put(number, number, 0)
    assert [kept.get(number) for number in (9, 10)] == [None, 10]


def test_a_large_value_evicts_nothing() -> None:
    kept: LruCache[str, int] = LruCache(100)
    kept.put("a", 1, 25)
    kept.put("b", 2, 26)
    assert (kept.get("a"), kept.get("b")) == (1, None)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 40)), max_size=100))
def test_the_limit_holds(entries: list[tuple[int, int]]) -> None:
    kept: LruCache[int, int] = LruCache(100)
    for key, size in entries:
        kept.put(key, size, size)
        assert 0 <= kept.size <= 100
    held = {key: size for key, size in entries if kept.get(key) is not None}
    assert kept.size == sum(kept.get(key) or 0 for key in held)
