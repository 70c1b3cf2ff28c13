"""URLs that a request can be sent to, and redirects that leave TLS."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.registry.http.private_address import is_private
from wherry.registry.http.redirect import is_http_url, leaves_tls

QUICK = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.example/token", "file:///etc/passwd", "//a.example/token", "a.example/token"),
        *("a.example:443/token", "/token", "token", "", "https://", "https:///token"),
        *("https://b:0/", "https://[::1", "https://b:port/", "https://b:99999/"),
    ],
)
def test_other_texts_are_not_http_urls(url: str) -> None:
    assert not is_http_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://b.example:8443/t?x=y", "http://127.0.0.1:5001/token", "HTTP://a/t", "https://[::1]"],
)
def test_http_urls_with_a_host_are_usable(url: str) -> None:
    assert is_http_url(url)


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
    assert leaves_tls(registry, realm) is leaves


@QUICK
@given(st.one_of(st.text(max_size=30), st.text(alphabet="htps:/[]@.%1a\\?#", max_size=30)))
def test_any_text_is_judged_without_an_error(url: str) -> None:
    """A realm comes from the server, so it may be any text."""
    if is_http_url(url):
        parts = urlsplit(url)
        assert parts.scheme in {"http", "https"}
        assert parts.hostname
        is_private(parts.hostname)
