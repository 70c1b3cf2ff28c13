import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dray.model.reference import Reference
from dray.registry.hosts import Endpoint, endpoints, is_loopback


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("alpine", Endpoint("docker.io", "registry-1.docker.io")),
        ("index.docker.io/o/r", Endpoint("docker.io", "registry-1.docker.io")),
        ("ghcr.io/o/r", Endpoint("ghcr.io", "ghcr.io")),
        ("h.example:5000/r", Endpoint("h.example:5000", "h.example:5000")),
        ("localhost:5000/r", Endpoint("localhost:5000", "localhost:5000", ("http", "https"))),
        ("localhost/r", Endpoint("localhost", "localhost", ("http", "https"))),
        ("127.0.0.1:5000/r", Endpoint("127.0.0.1:5000", "127.0.0.1:5000", ("http", "https"))),
        ("[::1]:5000/r", Endpoint("[::1]:5000", "[::1]:5000", ("http", "https"))),
    ],
)
def test_where_a_repository_is(reference: str, expected: Endpoint):
    """SPEC: "its endpoint is `registry-1.docker.io`"; "Loopback hosts: http, and https …"."""
    assert endpoints(Reference.parse(reference)) == (expected,)


@pytest.mark.parametrize("reference", ["ghcr.io/o/r", "localhost:5000/r", "alpine"])
def test_an_insecure_host_gets_https_without_verification_first(reference: str):
    """SPEC: "https without verification first, http only if the peer does not speak TLS"."""
    (found,) = endpoints(Reference.parse(reference), insecure=True)
    assert found.schemes == ("https", "http")
    assert not found.verify


@pytest.mark.parametrize("reference", ["ghcr.io/o/r", "10.0.0.1:5000/r", "alpine"])
def test_a_host_that_is_not_insecure_is_never_asked_in_plain_http(reference: str):
    (found,) = endpoints(Reference.parse(reference))
    assert found.schemes == ("https",)
    assert found.verify


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.255.0.9:1", True),
        ("[::1]", True),
        ("[::1]:443", True),
        ("localhost.example", False),
        ("localhost.example:5000", False),
        ("127.0.0.1.example", False),
        ("127.0.0.1.example:80", False),
        ("128.0.0.1", False),
        ("10.0.0.1:5000", False),
        ("[::2]:443", False),
        ("[fe80::1]", False),
        ("0.0.0.1", False),
        ("ghcr.io", False),
        ("", False),
    ],
)
def test_loopback_hosts(host: str, *, loopback: bool):
    assert is_loopback(host) is loopback


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=20), st.text(alphabet="[]:.1localhost", max_size=20)))
def test_any_host_is_loopback_or_not(host: str):
    """What is no address and not `localhost` is another machine."""
    if is_loopback(host):
        assert (
            "localhost" in host or "127." in host or ":1]" in host or "::1" in host or "0" in host
        )
