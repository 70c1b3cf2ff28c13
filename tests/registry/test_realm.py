"""Which token servers a registry may name, and to which of them credentials travel."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.registry.auth.realm import address_problem, is_private, leaves_tls

QUICK = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize(
    ("realm", "word"),
    [
        ("ftp://a.example/token", "http"),
        ("file:///etc/passwd", "http"),
        ("//a.example/token", "http"),
        ("a.example/token", "http"),
        ("a.example:443/token", "http"),
        ("/token", "http"),
        ("token", "http"),
        ("", "http"),
        ("https://", "http"),
        ("https:///token", "http"),
        ("https://b:0/", "http"),
        ("https://[::1", "address"),
        ("https://b:port/", "address"),
        ("https://b:99999/", "address"),
    ],
)
def test_a_realm_that_is_no_address_has_a_problem(realm: str, word: str) -> None:
    assert word in (address_problem(realm) or "")


@pytest.mark.parametrize(
    "realm",
    ["https://b.example:8443/t?x=y", "http://127.0.0.1:5001/token", "HTTP://a/t", "https://[::1]"],
)
def test_a_realm_that_is_an_address_has_none(realm: str) -> None:
    assert address_problem(realm) is None


@pytest.mark.parametrize(
    ("registry", "realm", "leaves"),
    [
        ("https://a.example", "http://a.example/token", True),
        ("https://a.example", "HTTP://a.example/token", True),
        ("https://127.0.0.1", "http://127.0.0.1/token", True),
        ("https://a.example", "https://b.example/token", False),
        ("http://a.example", "http://a.example/token", False),
        ("http://a.example", "https://b.example/token", False),
    ],
)
def test_credentials_do_not_go_from_https_to_http(
    registry: str, realm: str, *, leaves: bool
) -> None:
    """SPEC: "realms never from https to http"."""
    assert leaves_tls(registry, realm) is leaves


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "x.localhost", "10.0.0.1", "172.16.0.1"),
        *("192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "::1", "::", "fe80::1"),
        *("fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        # IPv4 within IPv6: NAT64 (RFC 6052), 6to4 (RFC 3056).
        *("::10.0.0.1", "fec0::1", "ff02::1", "224.0.0.1", "3fff::1", "5f00::1", "64:ff9b:1::1"),
        *("192.0.0.8", "198.18.0.1", "240.0.0.1", "255.255.255.255", "2001:db8::1"),
        *("64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "2002:0a00:0001::1"),
        # A dot at the end changes nothing (RFC 1034, 3.1).
        *("localhost.", "x.localhost."),
        # Name look-ups (inet_aton, POSIX) take these for addresses.
        *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "10.1", "0"),
    ],
)
def test_private_hosts_are_private(host: str) -> None:
    """SPEC: "nor from a registry with a public address to a peer with a private one"."""
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        *("a.example", "8.8.8.8", "localhost.example", "1.1.1.1.1", "a10.0", "2606:4700::1"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:0808:0808::1"),
    ],
)
def test_public_hosts_are_not_private(host: str) -> None:
    assert not is_private(host)


@QUICK
@given(st.one_of(st.text(max_size=30), st.text(alphabet="htps:/[]@.%1a\\?#", max_size=30)))
def test_any_realm_is_judged_without_an_error(realm: str) -> None:
    """A realm is the registry's word: whatever it is, it is good or it has a problem."""
    if address_problem(realm) is None:
        parts = urlsplit(realm)
        assert parts.scheme in {"http", "https"}
        assert parts.hostname
        is_private(parts.hostname)
