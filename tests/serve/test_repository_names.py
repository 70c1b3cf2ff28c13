"""Which repositories of the store a path stands for."""

from __future__ import annotations

import pytest

from wherry.serve.repository_names import candidates, in_namespace, served_path


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        (
            "localhost:5000",
            "app",
            ["localhost:5000/app", "127.0.0.1:5000/app", "[::1]:5000/app", "docker.io/library/app"],
        ),
        ("example.com", "team/app", ["example.com/team/app", "docker.io/team/app"]),
        ("example.com", "ghcr.io/o/r", ["example.com/ghcr.io/o/r", "ghcr.io/o/r"]),
        ("example.com", "host_5000/r", ["example.com/host_5000/r", "host:5000/r"]),
        ("example.com", "docker.io/r", ["example.com/docker.io/r", "docker.io/library/r"]),
        ("docker.io", "app", ["docker.io/library/app", "docker.io/library/app"]),
    ],
)
def test_a_path_stands_for_repositories(name: str, path: str, expected: list[str]) -> None:
    found = candidates(name, path)
    assert [each.name for each in found] == expected
    assert [each.own for each in found] == [True] + [False] * (len(found) - 1)


def test_a_namespace_stands_for_one_registry() -> None:
    found = in_namespace("localhost:5000", "docker.io", "app")
    assert (found.name, found.own) == ("docker.io/library/app", False)
    assert in_namespace("localhost:5000", "localhost:5000", "app").own


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost:5000/app", "app"),
        ("127.0.0.1:5000/app", "app"),
        ("docker.io/library/app", "docker.io/library/app"),
        ("ghcr.io/o/r", "ghcr.io/o/r"),
        ("host:80/r", "host_80/r"),
        ("[::1]:80/r", None),
        ("Host.example/r", None),
    ],
)
def test_a_repository_is_served_under_a_path(name: str, expected: str | None) -> None:
    assert served_path("localhost:5000", *name.split("/", 1)) == expected
