"""Parsing what version 1 registries answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import IntegrityError, InvalidDocument, WherryError
from wherry.registry.v1_answers import (
    MAX_ANCESTRY,
    Ping,
    V1Image,
    check_list,
    check_parents,
    read_ancestry,
    read_endpoints,
    read_image,
    read_ping,
    read_tag,
    read_tags,
)
from wherry.registry.v1_cookies import MAX_COOKIE, MAX_COOKIES, Cookies, TooManyCookies

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
NO_IDS: list[Any] = ["", "a" * 63, "a" * 65, "A" * 64, "../" + "a" * 61, A + "\n", 7, None, [A], {}]


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("standalone", "version", "body", "found"),
    [
        ("", "", b"", Ping(standalone=True)),
        ("", "", b"true", Ping(standalone=True)),
        ("True", "0.9.1", b"true", Ping(standalone=True, version="0.9.1")),
        ("1", "", b"", Ping(standalone=True)),
        ("false", "", b"", Ping(standalone=False)),
        ("0", "", b"", Ping(standalone=False)),
        ("", "", b'{"standalone": false, "version": "1"}', Ping(standalone=False, version="1")),
        ("true", "2", b'{"standalone": false, "version": "1"}', Ping(standalone=True, version="2")),
        ("", "", b'{"version": 3, "standalone": null}', Ping(standalone=True)),
        ("", "", b"[" * 100_000, Ping(standalone=True)),
        ("", "a\x1b[2Jb", b"", Ping(standalone=True, version="a [2Jb")),
    ],
)
def test_ping(standalone: str, version: str, body: bytes, found: Ping) -> None:
    assert read_ping(standalone, version, body) == found


def test_list() -> None:
    for body in (b"[]", b"null", raw([{"id": A}, {"id": 7}, 1])):
        check_list(body)
    with pytest.raises(InvalidDocument, match="the answer is an object, expected an array"):
        check_list(b"{}")


class TestTags:
    def test_valid(self) -> None:
        assert read_tags(raw({"1": A, "latest": B})) == {"1": A, "latest": B}
        assert read_tags(b"null") == {}
        assert read_tag(raw(A)) == A

    @pytest.mark.parametrize("value", NO_IDS)
    def test_no_ids(self, value: object) -> None:
        with pytest.raises(InvalidDocument, match=r"^latest: .* is not an image id"):
            read_tags(raw({"1": A, "latest": value}))
        with pytest.raises(InvalidDocument, match=r"is not an image id|, expected a string"):
            read_tag(raw(value))

    def test_no_map(self) -> None:
        with pytest.raises(InvalidDocument, match="the answer is an array, expected an object"):
            read_tags(raw([A]))


class TestAncestry:
    def test_valid(self) -> None:
        assert read_ancestry(raw([A, B, C]), A) == (A, B, C)
        ids = [f"{number:064x}" for number in range(MAX_ANCESTRY)]
        assert len(read_ancestry(raw(ids), ids[0])) == MAX_ANCESTRY

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([], "it begins with nothing, not with the image"),
            (None, "it begins with nothing, not with the image"),
            ([B, A], f"it begins with {B}, not with the image"),
            ([A, B, A], rf"\[2\]: {A} is its own ancestor"),
            ([A, B, B], rf"\[2\]: {B} is its own ancestor"),
            ({A: B}, "the answer is an object, expected an array"),
            (A, "the answer is a string, expected an array"),
            ([A] * (MAX_ANCESTRY + 1), "it has over 1,000 images"),
            *(([A, value], r"\[1\]: .* is not an image id") for value in NO_IDS),
        ],
    )
    def test_invalid(self, value: object, message: str) -> None:
        with pytest.raises(InvalidDocument, match=message) as caught:
            read_ancestry(raw(value), A)
        assert not caught.value.transient


class TestImage:
    def test_valid(self) -> None:
        body = raw({"id": A, "parent": B, "created": "x"})
        assert read_image(body, "0", A) == V1Image(A, body, B, 0)
        body = raw({"ID": A, "Parent": None})  # Go reads keys in any case
        assert read_image(body, "", A) == V1Image(A, body, "", None)

    @pytest.mark.parametrize("value", [B, "", A.upper(), "a" * 63])
    def test_another_id(self, value: str) -> None:
        with pytest.raises(IntegrityError, match="its JSON has another id") as caught:
            read_image(raw({"id": value}), "1", A)
        assert (caught.value.expected, caught.value.actual) == (A, value)

    def test_the_last_id_counts(self) -> None:
        with pytest.raises(IntegrityError, match="its JSON has another id"):
            read_image(raw({"id": A, "Id": B}), "1", A)

    @pytest.mark.parametrize(
        "size", ["-1", "1.5", "1e3", "0x10", "+1", "٣", "1 ", "9" * 19, "1, 1"]
    )
    def test_no_size(self, size: str) -> None:
        with pytest.raises(InvalidDocument, match=r"X-Docker-Size: .* is not a size"):
            read_image(raw({"id": A}), size, A)

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"7",
            b"null",
            raw({"id": 7}),
            raw({"id": A, "parent": 7}),
            raw({"id": A, "parent": "x"}),
            raw({"id": A, "parent": A + "0"}),
            b'{"id": "%s", "x": NaN}' % A.encode(),
            b'{"id": "%s", "x": "\\ud800"}' % A.encode(),
            b'{"id": "%s", "x": %s}' % (A.encode(), b"[" * 40 + b"]" * 40),
        ],
    )
    def test_invalid(self, body: bytes) -> None:
        with pytest.raises(InvalidDocument) as caught:
            read_image(body, "1", A)
        assert not caught.value.transient


@pytest.mark.parametrize("body", [b"", b"{", b'{"id": "\xff"}', b"<html>", b'{"a": 1, "a": 2}'])
def test_what_does_not_parse_may_parse_the_next_time(body: bytes) -> None:
    for read in (
        check_list,
        read_tags,
        read_tag,
        lambda body: read_ancestry(body, A),
        lambda body: read_image(body, "1", A),
    ):
        with pytest.raises(InvalidDocument, match="is not JSON") as caught:
            read(body)
        assert caught.value.transient


VALUES = st.sampled_from([None, True, 1, 0.5, "", A, B])
DOCUMENTS = st.recursive(
    VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "t"]), inner)
)


@given(st.binary(max_size=40) | DOCUMENTS.map(raw))
def test_any_body(body: bytes) -> None:
    for call in (
        lambda: check_list(body),
        lambda: read_tags(body),
        lambda: read_tag(body),
        lambda: read_ancestry(body, A),
        lambda: read_image(body, "1", A),
        lambda: read_ping("", "", body),
    ):
        try:
            call()
        except WherryError:
            continue


def test_parents() -> None:
    top, middle, low = (V1Image(A, b"", B, 1), V1Image(B, b"", C, 1), V1Image(C, b"", "", 1))
    check_parents([top, middle, low])
    with pytest.raises(IntegrityError, match=f"image {A}: its parent is {B}, and {C} by"):
        check_parents([top, low])
    with pytest.raises(IntegrityError, match=f"image {B}: its parent is {C}, and none by"):
        check_parents([top, middle])
    with pytest.raises(IntegrityError, match=f"image {C}: its parent is none, and {A} by"):
        check_parents([low, top])


class TestEndpoints:
    @pytest.mark.parametrize(
        ("values", "found"),
        [
            ([], ()),
            ([""], ()),
            (["a.example, b.example:5000 ,a.example"], ("a.example", "b.example:5000")),
            (["a.example", "b.example"], ("a.example", "b.example")),
            (["127.0.0.1:80, [::1]:5000, [::1]"], ("127.0.0.1:80", "[::1]:5000", "[::1]")),
        ],
    )
    def test_valid(self, values: list[str], found: tuple[str, ...]) -> None:
        assert read_endpoints(values) == found

    @pytest.mark.parametrize(
        "value",
        [
            *("http://a.example", "https://a.example", "a.example/v1/", "u:p@a.example"),
            *("a.example:", "a.example:x", "a.example:123456", "a b", "a?x", "a#x", "a\\b"),
            *(
                "[::1",
                "::1",
                "-a",
                ".a",
                "é.example",
                "a\tb",
                "a" * 300,
                ", ".join(map(str, range(99))),
            ),
        ],
    )
    def test_malformed(self, value: str) -> None:
        with pytest.raises(ValueError, match=r"not host\[:port\]|over 16"):
            read_endpoints([f"a.example, {value}"])


class TestCookies:
    def test_valid(self) -> None:
        cookies = Cookies()
        assert cookies.header is None
        cookies.update(["a=1; Path=/; HttpOnly", 'b="x y"', "c=", "d=e=f;Secure"])
        assert cookies.header == "a=1; c=; d=e=f"  # a blank is no character of a value
        cookies.update(["a=2", "c=x; max-age=0", "d=; Expires=x; Max-Age=-1"])
        assert cookies.header == "a=2"
        assert "2" not in repr(cookies.header)

    def test_invalid_ones_are_left_out(self) -> None:
        cookies = Cookies()
        cookies.update(["", "=x", "no", "a b=c", "a=é", "a=b\tc", "a=\x7f", "(=1"])
        assert cookies.header is None

    def test_too_many(self) -> None:
        cookies = Cookies()
        cookies.update([f"c{number}=x" for number in range(MAX_COOKIES)])
        cookies.update(["c0=y"])
        with pytest.raises(TooManyCookies, match="over 20 cookies"):
            cookies.update(["more=x"])

    def test_too_long(self) -> None:
        cookies = Cookies()
        cookies.update(["a=" + "x" * (MAX_COOKIE - 2)])
        with pytest.raises(TooManyCookies, match="a cookie of over 4 KiB"):
            cookies.update(["a=" + "x" * (MAX_COOKIE - 1)])
