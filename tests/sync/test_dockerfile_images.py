"""Images that Dockerfiles name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wherry.errors import WherryError
from wherry.sync.dockerfile_images import find_dockerfile_images

FILE = Path("Dockerfile")


def find(text: str) -> list[str]:
    """Return the names, with a mark if they cannot be replaced."""
    found = find_dockerfile_images(text, FILE, lambda _, reason: warnings.append(reason))
    warnings: list[str] = []
    for image in found:
        assert not image.is_spliceable or text[image.start :].startswith(image.text)
    return [image.text + ("" if image.is_spliceable else "?") for image in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a:1\nRUN b\nFROM c:1", ["a:1", "c:1"]),
        ("\ufeffFROM a:1\r\nFROM b:1\r\n", ["a:1", "b:1"]),
        ("from --platform=linux/amd64 a:1 as x\nFROM X\nFROM scratch", ["a:1"]),
        ("FROM \\\n# comment\n\n  a:1", ["a:1"]),
        ("FROM al\\\npine", ["alpine?"]),
        ("# escape=`\nFROM `\n a:1", ["a:1"]),
        ("# a comment\n# escape=`\nFROM \\\n a:1", ["a:1"]),
        ("# syntax=docker/dockerfile:1\nFROM a:1", ["a:1"]),
        ("ARG V=1 W='2'\nARG X\nFROM a:$V\nFROM b:${W}\nFROM c:${X:-3}", ["a:1?", "b:2?", "c:3?"]),
        ("ARG I=a:1\nFROM $I\nARG I=b:1\nFROM ${I}", ["a:1?", "a:1?"]),
        (
            "FROM a:1 AS x\nCOPY --from=x a b\nCOPY --from=0 a b\nCOPY --from=c:1 a b",
            ["a:1", "c:1"],
        ),
        ("FROM a:1\nCOPY --link --from=c:1 a b", ["a:1", "c:1"]),
        (
            "FROM a:1\nRUN --mount=from=c:1 --mount=type=bind,from=d:1,target=/ x",
            ["a:1", "c:1", "d:1"],
        ),
        ("FROM a:1\nRUN <<EOF <<-'X'\nFROM b:1\nEOF\nFROM c:1\n\tX\nFROM d:1", ["a:1", "d:1"]),
        ("FROM a:1\nRUN echo $((1<<2)) <<<word x<<y\nFROM b:1", ["a:1", "b:1"]),
        ("FROM a:1\nRUN x \\\n  FROM b:1", ["a:1"]),
        ("", []),
    ],
)
def test_images_are_found(text: str, expected: list[str]) -> None:
    assert find(text) == expected


@pytest.mark.parametrize("text", ["FROM a:$V", "ARG V\nFROM a:${V}", "FROM ${V:+x}", "FROM $A$B"])
def test_variables_without_a_default_are_left_out(text: str) -> None:
    left_out: list[tuple[str, str]] = []
    assert find_dockerfile_images(text, FILE, lambda *each: left_out.append(each)) == []
    ((place, reason),) = left_out
    assert place.startswith("Dockerfile:")
    assert reason == "FROM has variables without a default; left out"


def test_a_name_that_does_not_parse_is_one_line() -> None:
    with pytest.raises(WherryError, match=r"^Dockerfile:2: FROM: invalid reference: "):
        find("\nFROM A/B/C:1@")


@pytest.mark.parametrize(
    "text",
    [
        "RUN " + "--mount=" * 200_000,
        "RUN " + "--mount=from=" * 100_000,
        "a\\\n" * 200_000,
        "ARG " + "a " * 800_000,
        "FROM " + "--a " * 400_000,
        "COPY " + "--a " * 400_000,
        "RUN " + "<<a " * 400_000,
        "FROM " + "$" * 1_500_000,
        "FROM " + "${" * 700_000,
    ],
    ids=lambda text: text[:20],
)
def test_hostile_files_take_no_more_than_seconds(text: str) -> None:
    started = time.thread_time()
    try:
        find_dockerfile_images(text, FILE, lambda *_: None)
    except WherryError as error:
        assert len(str(error)) < 10_000_000  # noqa: PT017 - it may also be read
    assert time.thread_time() - started < 5
