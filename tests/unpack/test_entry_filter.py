"""Patterns that select entries."""

from __future__ import annotations

import re

import pytest

from wherry.errors import NotFound, UnsafeArchive
from wherry.unpack.entry import FILE, HARDLINK, Attributes, Entry
from wherry.unpack.entry_filter import EntryFilter, Selection

NAMES = ["./etc", "etc/passwd", "/usr/bin/sh", "usr/share/doc/x", "usrlocal", "etc/.wh.old"]


def entry(name: bytes, kind: str = FILE, link: bytes = b"") -> Entry:
    return Entry(name, kind, Attributes(0o644, 0, 0, 0), link=link)


def selected(wanted: EntryFilter, names: list[str]) -> list[str]:
    found = Selection(wanted).select(entry(name.encode()) for name in names)
    return [each.name.decode() for each in found]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ([], [], NAMES),
        (["etc"], [], ["./etc", "etc/passwd", "etc/.wh.old"]),
        (["/usr/"], [], ["/usr/bin/sh", "usr/share/doc/x", "etc/.wh.old"]),
        (["usr/*/doc"], [], ["usr/share/doc/x", "etc/.wh.old"]),
        (["*sh"], [], ["/usr/bin/sh", "etc/.wh.old"]),
        ([], ["usr", "etc/p*"], ["./etc", "usrlocal", "etc/.wh.old"]),
        (["usr"], ["usr/share"], ["/usr/bin/sh", "etc/.wh.old"]),
        (
            ["./etc", ".//usr"],
            ["./usr/bin"],
            ["./etc", "etc/passwd", "usr/share/doc/x", "etc/.wh.old"],
        ),
        (["."], ["usr*"], ["./etc", "etc/passwd", "etc/.wh.old"]),
        (["e[st]c", "nothing"], [], ["./etc", "etc/passwd", "etc/.wh.old"]),
    ],
)
def test_patterns(include: list[str], exclude: list[str], left: list[str]) -> None:
    assert selected(EntryFilter.build(include, exclude), NAMES) == left


def test_components_are_dropped_after_the_patterns() -> None:
    found = EntryFilter.build(["usr"], [], 1)
    assert selected(found, ["usr", "usr/bin", "usr/bin/sh", "etc/x"]) == ["bin", "bin/sh"]


def test_hard_links_are_renamed_with_their_targets() -> None:
    [made] = Selection(EntryFilter.build(strip=1)).select(iter([entry(b"a/b", HARDLINK, b"./a/c")]))
    assert (made.name, made.link) == (b"b", b"c")


def test_names_need_not_be_text() -> None:
    names = [b"caf\xe9/x", b"cafe"]
    found = Selection(EntryFilter.build(["caf\udce9"])).select(map(entry, names))
    assert [each.name for each in found] == names[:1]


def test_dots_do_not_pass_a_filter() -> None:
    with pytest.raises(UnsafeArchive):
        list(Selection(EntryFilter.build(strip=1)).select(iter([entry(b"a/../../b")])))


@pytest.mark.parametrize(
    ("pattern", "layers"),
    [
        ("etc/passwd", [["etc", "etc/passwd-", "x/etc/passwd"]]),
        ("passwd", [["etc/passwd"]]),
        ("etc", []),
        ("etc/passwd", [["etc/passwd"], ["etc/.wh.passwd"]]),
        ("./etc/passwd", [["./etc/passwd"], ["./etc/.wh.passwd"]]),
        ("etc/*.d", [["etc/a.d"], [".wh.etc", "etc/b"]]),
        ("etc/passwd", [["etc/passwd"], ["etc/.wh..wh..opq", "etc/group"]]),
        ("etc", [["etc/passwd"], [".wh..wh..opq", "other"]]),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(pattern: str, layers: list[list[str]]) -> None:
    selection = Selection(EntryFilter.build(["other", pattern], ["other"]))
    for names in (["other"], *layers):
        list(selection.select(entry(name.encode()) for name in names))
    with pytest.raises(NotFound, match=f"the pattern '{re.escape(pattern)}'"):
        selection.check()


@pytest.mark.parametrize(
    "layers",
    [
        [["etc/passwd"]],
        [["etc/passwd/below"]],
        [["etc/passwd"], ["etc/.wh.passwd", "etc/passwd"]],
        [["etc/passwd"], ["etc/passwd", ".wh.etc"]],
        [["etc/.wh.passwd"], ["etc/passwd"]],
        [["etc/passwd"], ["etc/passwd/.wh..wh..opq", "usr/.wh.passwd", "etc/.wh.pass"]],
    ],
)
def test_a_pattern_matches_what_the_layers_leave(layers: list[list[str]]) -> None:
    selection = Selection(EntryFilter.build(["etc/passwd"], ["nothing"]))
    for names in layers:
        list(selection.select(entry(name.encode()) for name in names))
    selection.check()
