"""Choosing a proxy for a request by the rules of golang.org/x/net/http/httpproxy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import WherryError
from wherry.registry.http.proxies import ProxyAddress, ProxySettings

BOTH = ProxySettings("http://plain:1", "http://secure:2")


def test_the_scheme_decides_which_variable_counts() -> None:
    assert BOTH.choose("http", "h.example", None) == ProxyAddress(
        "http", "plain", 1, variable="HTTP_PROXY"
    )
    assert BOTH.choose("https", "h.example", None) == ProxyAddress(
        "http", "secure", 2, variable="HTTPS_PROXY"
    )
    assert ProxySettings(http="http://p").choose("https", "h.example", None) is None
    assert ProxySettings().choose("https", "h.example", None) is None


def test_all_proxy_applies_to_schemes_without_their_own_proxy() -> None:
    """curl does the same; ``NO_PROXY`` applies to it as well."""
    proxies = ProxySettings(https="http://secure:2", no_proxy="x.example", other="socks5h://all")
    own = ProxyAddress("http", "secure", 2, variable="HTTPS_PROXY")
    assert proxies.choose("https", "h.example", None) == own
    for_both = ProxyAddress("socks5h", "all", 1080, variable="ALL_PROXY")
    assert proxies.choose("http", "h.example", None) == for_both
    assert proxies.choose("http", "a.x.example", None) is None
    assert proxies.choose("http", "127.0.0.1", 5000) is None
    with pytest.raises(WherryError, match="ALL_PROXY: ftp proxies are not supported"):
        ProxySettings(other="ftp://p").choose("http", "h.example", None)


@pytest.mark.parametrize(
    ("pair", "said"),
    [("me", "a user name and a password, or neither"), (":pw", "or neither"),
     ("me:p%C3%A4ss", "ASCII"), (f"me:{'x' * 256}", "255")],
)  # fmt: skip
def test_credentials_that_socks5_cannot_send(pair: str, said: str) -> None:
    """RFC 1929: both of them, of 1 to 255 bytes. No message shows them."""
    with pytest.raises(WherryError, match=said) as caught:
        ProxySettings(other=f"socks5://{pair}@p").choose("https", "h.example", None)
    assert str(caught.value).startswith("ALL_PROXY: ")
    _, colon, password = pair.partition(":")
    assert not colon or password not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    assert BOTH.choose("https", host, 5000) is None


@pytest.mark.parametrize(
    ("entry", "excepted", "others"),
    [
        (
            "h.example",
            ["h.example", "H.EXAMPLE", "a.h.example"],
            ["xh.example", "example", "h.exampl"],
        ),
        (".h.example", ["a.h.example"], ["h.example"]),
        ("*.h.example", ["a.h.example", "b.a.h.example"], ["h.example"]),
        ("H.Example", ["h.example"], []),
        ("h.example:443", ["h.example"], []),
        ("h.example:5000", [], ["h.example"]),
        ("*", ["anything", "10.0.0.1"], []),
        ("10.0.0.1", ["10.0.0.1"], ["10.0.0.2", "10.0.0.1.example"]),
        ("10.0.0.1:443", ["10.0.0.1"], []),
        ("10.0.0.1:80", [], ["10.0.0.1"]),
        ("10.0.0.0/8", ["10.9.9.9"], ["11.0.0.1", "ten.example"]),
        ("fd00::/8", ["fd00::1"], ["fe80::1"]),
        ("fd00::1", ["fd00::1"], ["fd00::2"]),
        ("[fd00::1]:443", ["fd00::1"], []),
        ("", [], ["h.example"]),
        (" , ,", [], ["h.example"]),
        ("a, h.example ,b", ["h.example"], ["c"]),
        ("10.0.0.0/99", [], ["10.0.0.1"]),
    ],
)
def test_no_proxy(entry: str, excepted: list[str], others: list[str]) -> None:
    """A name matches itself and the names below it."""
    proxies = ProxySettings("http://p", "http://p", entry)
    for host in excepted:
        assert proxies.choose("https", host, None) is None, host
    for host in others:
        assert proxies.choose("https", host, None) is not None, host


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("p.example", ProxyAddress("http", "p.example", 80)),
        ("p.example:3128", ProxyAddress("http", "p.example", 3128)),
        ("https://p.example", ProxyAddress("https", "p.example", 443)),
        ("HTTP://P.example:1/ignored", ProxyAddress("http", "p.example", 1)),
        ("http://[fd00::1]:3128", ProxyAddress("http", "fd00::1", 3128)),
        ("http://me:p%40ss@p.example", ProxyAddress("http", "p.example", 80, "me", "p@ss")),
        ("socks://p.example:9050/", ProxyAddress("socks", "p.example", 9050)),
        ("socks5://[::1]:1081", ProxyAddress("socks5", "::1", 1081)),
        ("socks5://p.example", ProxyAddress("socks5", "p.example", 1080)),
        (
            "socks5h://a%3Ab:c%3Ad@p.example:1",
            ProxyAddress("socks5h", "p.example", 1, "a:b", "c:d"),
        ),
        ("SOCKS5H://p.example", ProxyAddress("socks5h", "p.example", 1080)),
        ("me:secret@p.example:3128", ProxyAddress("http", "p.example", 3128, "me", "secret")),
    ],
)
def test_addresses_of_proxies(setting: str, expected: ProxyAddress) -> None:
    assert ProxySettings(https=setting).choose("https", "h.example", None) == expected.replace(
        variable="HTTPS_PROXY"
    )


@pytest.mark.parametrize(
    "setting",
    ["http://", "http://p:port", "socks4://me:secret@p:1", "http://me:secret@[::1", "ftp://p"],
)
def test_invalid_settings(setting: str) -> None:
    with pytest.raises(WherryError, match="HTTPS_PROXY") as caught:
        ProxySettings(https=setting).choose("https", "h.example", None)
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_proxys_password_is_not_shown() -> None:
    proxies = ProxySettings("http://me:secret@p", "http://me:secret@p")
    found = proxies.choose("https", "h.example", None)
    assert "secret" not in repr(proxies) + repr(found) + str(found)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.text(alphabet="a.:[]/1*,", max_size=12))
def test_any_setting_gives_a_proxy_or_none_or_a_wherry_error(
    setting: str, host: str, no: str
) -> None:
    try:
        found = ProxySettings(https=setting, no_proxy=no).choose("https", host, None)
    except WherryError as error:
        assert "HTTPS_PROXY" in str(error)  # noqa: PT017 - either outcome is allowed
    else:
        assert found is None or (found.host and 0 < found.port < 2**16)
