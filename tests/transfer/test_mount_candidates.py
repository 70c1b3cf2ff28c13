"""The repositories that a blob is mounted from, in order."""

from __future__ import annotations

import pytest

from wherry.transfer.mount_candidates import mount_attempts, mount_candidates

BIG = 50 * 2**20
MANY = [(f"r.example/p{number}/app", number) for number in range(9)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 1),
        (100 * 1024, 1),
        (100 * 1024 + 1, 3),
        (10 * 2**20, 3),
        (10 * 2**20 + 1, 4),
        (None, 3),
    ],
)
def test_larger_blobs_are_worth_more_attempts(size: int | None, expected: int) -> None:
    assert mount_attempts(size) == expected
    assert len(mount_candidates("r.example/app", size, MANY)) == expected


@pytest.mark.parametrize(
    ("destination", "known", "expected"),
    [
        pytest.param("r.example/app", [], [], id="none is known"),
        pytest.param("r.example/app", [("r.example/app", 9)], [], id="only the destination"),
        pytest.param("r.example/app", [("s.example/app", 9)], [], id="another registry"),
        pytest.param(
            "r.example/app", [("r.example:5000/app", 9)], [], id="another port of the host"
        ),
        pytest.param(
            "r.example:5000/team/app",
            [("r.example:5000/team/base", 1)],
            ["team/base"],
            id="the host is left out",
        ),
        pytest.param(
            "docker.io/library/app",
            [("docker.io/library/debian", 1), ("ghcr.io/library/debian", 2)],
            ["library/debian"],
            id="the hub",
        ),
        pytest.param(
            "r.example/app",
            [("r.example/b", 1), ("r.example/c", 3), ("r.example/a", 2)],
            ["c", "a", "b"],
            id="the youngest first",
        ),
        pytest.param(
            "r.example/app",
            [("r.example/b", 1), ("r.example/a", 2), ("r.example/b", 3)],
            ["b", "a"],
            id="a repository is listed twice",
        ),
        pytest.param(
            "r.example/app",
            [("r.example/b", 1), ("r.example/a", 1)],
            ["a", "b"],
            id="the same age",
        ),
        pytest.param(
            "r.example/org/team/app",
            [
                ("r.example/other/team/app", 9),
                ("r.example/org/x", 2),
                ("r.example/org/team/base", 1),
                ("r.example/organic/team/app", 8),
            ],
            ["org/team/base", "org/x", "other/team/app", "organic/team/app"],
            id="more leading components in common before younger",
        ),
    ],
)
def test_order(destination: str, known: list[tuple[str, int]], expected: list[str]) -> None:
    assert list(mount_candidates(destination, BIG, known)) == expected


def test_repositories_with_the_same_credentials_come_first() -> None:
    known = [("r.example/org/a", 9), ("r.example/x/b", 1), ("r.example/x/c", 2)]
    found = mount_candidates("r.example/org/app", BIG, known, lambda name: "/x/" in name)
    assert found == ("x/c", "x/b", "org/a")


def test_the_worst_are_left_out() -> None:
    found = mount_candidates("r.example/p0/new", 200 * 1024, MANY)
    assert found == ("p0/app", "p8/app", "p7/app")


def test_credentials_are_compared_only_for_a_choice() -> None:
    asked: list[str] = []

    def compare(name: str) -> bool:
        asked.append(name)
        return True

    mount_candidates("r.example/app", BIG, [("r.example/a", 1), ("s.example/a", 1)], compare)
    assert asked == []
    mount_candidates("r.example/app", BIG, [("r.example/a", 1), ("r.example/b", 1)], compare)
    assert sorted(asked) == ["r.example/a", "r.example/b"]
