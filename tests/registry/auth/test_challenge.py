"""Parsing challenges, token requests and tokens."""

import base64
import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import NetworkError, WherryError
from wherry.registry.auth.challenge import (
    DEFAULT_LIFE,
    MAX_TOKEN,
    MIN_LIFE,
    SLACK,
    Challenge,
    make_token_request,
    parse_challenges,
    parse_token,
    select_challenges,
)
from wherry.registry.auth.credentials import Credentials

QUICK = settings(max_examples=200, deadline=None)
USER = Credentials("me", "secret")
HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([""], []),
        ([" , ,"], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (['BASIC REALM="x"'], [("basic", {"realm": "x"})]),
        (
            [HUB],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "a:b:pull",
                    },
                )
            ],
        ),
        # Several challenges in one header, and in several.
        (
            ['Basic realm="a", Bearer realm="b",service="c"'],
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
        ),
        (
            ['Bearer realm="b"', 'Basic realm="a"'],
            [("bearer", {"realm": "b"}), ("basic", {"realm": "a"})],
        ),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["Negotiate YWJj==, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["Negotiate YWJj=="], [("negotiate", {})]),
        # Commas, quotes and spaces inside quotes; escapes.
        (
            ['Bearer scope="repository:a/b:pull,push repository:c:pull"'],
            [("bearer", {"scope": "repository:a/b:pull,push repository:c:pull"})],
        ),
        ([r'Basic realm="a \"quoted\" \\ b"'], [("basic", {"realm": r'a "quoted" \ b'})]),
        (['Basic realm=""'], [("basic", {"realm": ""})]),
        (['Basic realm="Basic x=\\"y\\", z"'], [("basic", {"realm": 'Basic x="y", z'})]),
        # Spaces around the equals sign and before the comma, none after it, empty elements.
        (['Basic realm = "x" , a=b'], [("basic", {"realm": "x", "a": "b"})]),
        (['Basic realm="x",,charset="UTF-8",'], [("basic", {"realm": "x", "charset": "UTF-8"})]),
        # Missing quotes, as some registries send.
        (
            ["Bearer realm=https://a/token?x=y,service=b"],
            [("bearer", {"realm": "https://a/token?x=y", "service": "b"})],
        ),
        # The first of two equal names counts.
        (['Basic realm="a",realm="b"'], [("basic", {"realm": "a"})]),
        (
            ['Bearer realm="a",error="insufficient_scope"'],
            [("bearer", {"realm": "a", "error": "insufficient_scope"})],
        ),
        # A syntax error ends its header.
        (['"x"'], []),
        (['=x, Basic realm="a"'], []),
        (['Basic realm="open'], [("basic", {"realm": ""})]),
        (['Basic realm="a" @, Bearer realm="b"'], [("basic", {"realm": "a"})]),
    ],
)
def test_challenges_are_parsed(
    headers: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    """RFC 9110, 11.6.1."""
    found = [
        (challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges(headers)
    ]
    assert found[: len(expected)] == expected
    if headers != ['Basic realm="open']:
        assert len(found) == len(expected)


tokens = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}", fullmatch=True)
names = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
values = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@QUICK
@given(
    st.lists(
        st.tuples(names, st.dictionaries(names, values, min_size=1, max_size=3)),
        max_size=4,
    ),
    st.sampled_from([",", ", ", " ,  ", ",,"]),
    st.sampled_from(["=", " = "]),
)
def test_any_valid_header_is_parsed(
    challenges: list[tuple[str, dict[str, str]]], comma: str, equals: str
) -> None:
    """RFC 9110, 11.6.1: challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]."""
    header = comma.join(
        f"{scheme} " + comma.join(name + equals + quoted(value) for name, value in found.items())
        for scheme, found in challenges
    )
    read = [(found.scheme, dict(found.parameters)) for found in parse_challenges([header])]
    assert read == challenges


@QUICK
@given(
    st.lists(
        st.one_of(st.text(max_size=60), st.text(alphabet='Basic realm="\\,= \t', max_size=60)),
        max_size=3,
    )
)
def test_no_header_raises_an_error(headers: list[str]) -> None:
    """RFC 9110, 5.5: a syntax error ends the header silently."""
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert challenge.get("no such name") == ""


@pytest.mark.parametrize(
    "header",
    [
        'Basic realm="' + "\\" * 60_000,
        'Basic realm="' + '\\"' * 30_000,
        "Basic " + "=" * 60_000,
        "Basic " + "a" * 60_000 + "!",
        "a " * 30_000,
        "a=" * 30_000,
        "," * 60_000,
        " " * 60_000,
        "Bearer " + 'a="b",' * 10_000,
        'Basic "' * 10_000,
    ],
    ids=range(10),
)
@pytest.mark.timeout(20)
def test_a_long_header_is_parsed_in_bounded_time(header: str) -> None:
    parse_challenges([header])


def test_tokens_are_tried_before_a_password() -> None:
    bearer, basic = Challenge("bearer", {"realm": "r"}), Challenge("basic", {"realm": "x"})
    other = Challenge("bearer", {"realm": "s"})
    assert select_challenges([basic, bearer, other], USER) == [bearer, other, basic]
    assert select_challenges([basic, bearer], None) == [bearer]
    assert select_challenges([basic], USER) == [basic]
    assert select_challenges([basic, basic], USER) == [basic]
    assert select_challenges([basic], None) == []
    assert select_challenges([basic], Credentials(identity_token="t")) == []
    assert select_challenges([Challenge("bearer", {})], USER) == []
    assert select_challenges([Challenge("bearer", {}), basic], USER) == [basic]
    assert select_challenges([Challenge("negotiate"), basic], USER) == [basic]
    assert select_challenges([], USER) == []


REALM = Challenge("bearer", {"realm": "https://auth.example/token", "service": "s v"})


def test_an_anonymous_token_is_requested_by_get() -> None:
    """distribution, Token Authentication: service, and one parameter for each scope."""
    request = make_token_request(REALM, ["repository:a/b:pull", "repository:c:pull,push"], None)
    address, _, query = request.url.partition("?")
    assert address == "https://auth.example/token"
    assert parse_qsl(query) == [
        ("service", "s v"),
        ("scope", "repository:a/b:pull"),
        ("scope", "repository:c:pull,push"),
    ]
    assert (request.headers, request.body) == ({}, None)


def test_the_password_is_only_in_the_header_of_a_token_request() -> None:
    request = make_token_request(REALM, ["x"], USER)
    assert parse_qs(urlsplit(request.url).query)["account"] == ["me"]
    assert "secret" not in request.url
    expected = "Basic " + base64.b64encode(b"me:secret").decode()
    assert request.headers == {"Authorization": expected}
    assert request.body is None


def test_an_identity_token_is_exchanged_by_post() -> None:
    """distribution, OAuth2 Token Authentication."""
    credentials = Credentials("me", "secret", identity_token="identity&token")
    request = make_token_request(REALM, ["repository:a:pull", "repository:b:pull"], credentials)
    assert request.url == "https://auth.example/token"
    assert request.body is not None
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["refresh_token"],
        "service": ["s v"],
        "client_id": ["wherry"],
        "refresh_token": ["identity&token"],
        "scope": ["repository:a:pull repository:b:pull"],
    }
    assert request.headers == {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("realm", "expected"),
    [
        ("https://a/t", "https://a/t?service=s&scope=x"),
        ("https://a/t?k=v", "https://a/t?k=v&service=s&scope=x"),
        ("https://a", "https://a?service=s&scope=x"),
    ],
)
def test_the_query_of_a_realm_is_kept(realm: str, expected: str) -> None:
    challenge = Challenge("bearer", {"realm": realm, "service": "s"})
    assert make_token_request(challenge, ["x"], None).url == expected


def test_no_repr_shows_a_secret() -> None:
    credentials = Credentials("me", "secret", "identity")
    request = make_token_request(REALM, ["x"], Credentials("me", "secret"))
    post = make_token_request(REALM, ["x"], credentials)
    token = parse_token(b'{"token":"topsecret"}', "h")
    shown = repr([credentials, request, post, token])
    for secret in ("secret", "identity", "topsecret", base64.b64encode(b"me:secret").decode()):
        assert secret not in shown


def test_passwords_are_sent_as_utf_8() -> None:
    """RFC 7617, 2.1: charset UTF-8; a password may contain colons."""
    basic = Credentials("us\u00e9r", "p:\u00e4 \U0001f600").basic
    assert (
        base64.b64decode(basic.removeprefix("Basic ")) == "us\u00e9r:p:\u00e4 \U0001f600".encode()
    )


@pytest.mark.parametrize(
    ("answer", "value", "life"),
    [
        ({"token": "abc"}, "abc", DEFAULT_LIFE),
        ({"access_token": "abc"}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "access_token": "def"}, "abc", DEFAULT_LIFE),
        ({"token": "", "access_token": "def"}, "def", DEFAULT_LIFE),
        ({"token": "abc", "expires_in": 300}, "abc", 300),
        ({"token": "abc", "expires_in": 300.5}, "abc", 300.5),
        ({"token": "abc", "expires_in": 1}, "abc", MIN_LIFE),
        ({"token": "abc", "expires_in": 0}, "abc", MIN_LIFE),
        ({"token": "abc", "expires_in": -5}, "abc", MIN_LIFE),
        ({"token": "abc", "expires_in": "300"}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "expires_in": True}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "expires_in": None}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "expires_in": 10**30}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "expires_in": float("inf")}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "expires_in": float("nan")}, "abc", DEFAULT_LIFE),
        ({"token": "abc", "refresh_token": "r", "issued_at": "x"}, "abc", DEFAULT_LIFE),
    ],
)
def test_a_token_is_parsed(answer: object, value: str, life: float) -> None:
    """distribution, Token Authentication Specification: it expires after 60 seconds by default."""
    token = parse_token(json.dumps(answer).encode(), "h")
    assert token.value == value
    assert token.header == f"Bearer {value}"
    assert token.life == life - SLACK


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"token"',
        b"{}",
        b'{"token":null}',
        b'{"token":1}',
        b'{"token":["a"]}',
        b'{"token":""}',
        b'{"token":"a b"}',
        b'{"token":"a\\r\\nX: y"}',
        b'{"token":"a\\n"}',
        b'{"token":"\\u00e9"}',
        b'{"token":"\\u0000"}',
        b'{"token":"a"',
        b"<html>",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"token":"' + b"a" * MAX_TOKEN + b'"}',
    ],
    ids=range(19),
)
def test_a_response_without_a_token_is_a_network_error(raw: bytes) -> None:
    with pytest.raises(NetworkError) as caught:
        parse_token(raw, "host.example")
    assert caught.value.host == "host.example"
    assert "host.example" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


@QUICK
@given(
    st.one_of(
        st.binary(max_size=40),
        st.fixed_dictionaries(
            {},
            optional={"token": json_values, "access_token": json_values, "expires_in": json_values},
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_response_is_a_token_or_a_network_error(raw: bytes) -> None:
    """RFC 6750, 2.1: other characters could break out of the header."""
    try:
        token = parse_token(raw, "h")
    except WherryError as error:
        assert isinstance(error, NetworkError)  # noqa: PT017 - either outcome is allowed
    else:
        assert token.value.isascii()
        assert token.value.isprintable()
        assert " " not in token.value
        assert MIN_LIFE - SLACK <= token.life < 2**31
